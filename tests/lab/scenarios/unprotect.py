"""Protection ends on purpose, by Delete and by the agent's SIGTERM: nothing is left behind, no packet is lost."""

import pathlib
import time

from lab import backends, contenders, failover, inventory, metrics, programs, protected_pair, suspend_watch, vif_drops
from lab.lab import GUEST

IN_CI = True
BREAKS = {
    "agent-killed": "the agent is killed instead of told to end: what it has made stays, on purpose",
    "lost-answers": "alpha's card loses one packet in twenty",
    "regrafted": "the vif's qdisc is exchanged again and again while the guest is protected",
}
VIF = "vif-ledger"
HOOK = pathlib.Path(__file__).resolve().parents[3] / "deploy/xen/vif-post.d/romulus.hook"


def run(story):
    built = programs.build([contenders.FLOOR])
    # A machine that is busy with other work must not lose the session: that is secondary-loss' part.
    with protected_pair.agents_up(story, protected_pair.Settings(link_timeout_ms=15_000)) as pair:
        alpha = pair.lab.alpha
        drops = vif_drops.VifDrops(alpha, VIF)
        others = suspend_watch.Others(alpha, alpha.domains()[GUEST][0], built)
        client = pair.lab.start_client(rate=50)
        client.wait_connected()
        if story.broken == "lost-answers":
            alpha.sh("tc qdisc add dev eth0 root netem loss 5%")

        story.check(others.monitors(), "the guest has no xl monitor, which its protection could end")
        _protect_and_end(story, pair, client, others, "DeleteProtection", pair.delete)
        port = others.suspend_port()
        # The kernel drops what is on its way to the guest while a clsact qdisc comes or goes (netbuf/README.md).
        allowed = drops.count()
        _prepare(alpha)
        prepared = drops.count()
        end = (lambda: pair.primary.signal("KILL")) if story.broken == "agent-killed" else pair.primary.stop
        _protect_and_end(story, pair, client, others, "SIGTERM", end)
        story.check(others.suspend_port() == port, f"the guest had event channel {port} for its suspends, and now has "
                    f"{others.suspend_port()}: it gets another in each session")

        client.fall_silent()
        verdict = client.stop()
        story.figures["client"] = verdict
        story.check(verdict["ok"], verdict["why"])
        lost = verdict["udp"]
        story.figures["dropped_by_vif"] = {"unprepared": allowed, "preparing": prepared - allowed,
                                           "prepared": drops.count() - prepared}
        story.check(lost["answers_lost"] == 0, f"{lost['answers_lost']} answers were lost: {lost}")
        story.check(drops.count() == prepared, "a vif with a clsact qdisc from the start dropped: "
                    f"{story.figures['dropped_by_vif']}")
        story.check(lost["questions_lost"] == prepared, f"{lost['questions_lost']} questions were lost, and the vif "
                    f"dropped {prepared} while it had no clsact qdisc from the start: {lost}")


def _prepare(host):
    """What the hook that Romulus brings for Xen's vif scripts does when a vif appears."""
    host.put("/tmp/romulus.hook", HOOK.read_bytes())
    host.sh(f"type_if=vif; command=online; dev={VIF}; . /tmp/romulus.hook")
    if "clsact" not in host.out(f"tc qdisc show dev {VIF}"):
        raise RuntimeError(f"{HOOK.name} made no clsact qdisc")


def _protect_and_end(story, pair, client, others, way, end):
    hosts = pair.lab.hosts.values()
    before = {each.name: inventory.take(each) for each in hosts}
    story.step(f"protecting the guest, to end it by {way}")
    watch = backends.Watch(pair.secondary.control)
    pair.protect()
    others.listen()
    pair.wait_checkpoints(10)
    story.check(not others.heard(), "while the guest is protected, xenstored tells everybody of its suspends")
    last = pair.protection()
    story.step(failover.status_line(last))
    story.check(last.status.egress.dropped_packets == 0, f"the egress buffer dropped packets: {last}")
    _check_metrics(story, pair, last)
    standby_vif = _check_backends(story, pair, last)
    held = inventory.difference(before["alpha"], inventory.take(pair.lab.alpha))
    story.check("ifb" in held and "log-dirty" in held, f"the inventory does not see protection: {held}")
    if story.broken == "regrafted":
        exchange = f"qdisc replace dev {VIF} root pfifo\nqdisc del dev {VIF} root\n"
        pair.lab.alpha.sh("tc -batch -", stdin=(exchange * 200).encode(), timeout_s=120)
    started = time.monotonic()
    end()
    story.figures[f"{way}_ms"] = round((time.monotonic() - started) * 1000)
    story.step(f"{way} took {story.figures[f'{way}_ms']} ms; looking for what it left")
    client.wait_answers(20)
    inventory.check_same(story, before, hosts)
    if way == "DeleteProtection":
        story.check(others.monitors(), "the guest has lost its xl monitor")
    # Which may be the end of the monitor.
    with others.suspending():
        story.eventually(others.heard, "nobody is told any more when somebody else suspends the guest")
    client.wait_answers(20)
    story.check(not pair.standbys(), f"beta still knows standbys: {pair.standbys()}")
    story.eventually(lambda: watch.of(standby_vif)[-1][0] == "DELETED", f"the watch does not see {standby_vif} go")
    watch.close()
    story.check([each[0] for each in watch.events].count("SYNCED") == 1 and watch.of(standby_vif)[0][0] == "CREATED" and
                ("CHANGED", "CONNECTED") in watch.of(standby_vif), f"watched: {watch.of(standby_vif)}")


def _check_backends(story, pair, last):
    """Both agents list the vifs of their hosts; beta's is its own work. Returns the name of that."""
    on_alpha = backends.listed(pair.primary.control)
    guests = on_alpha.get(f"backends/vif-{last.status.domid}-0")
    story.check(guests is not None and guests.state == "Connected" and not guests.managed, f"alpha lists {on_alpha}")
    on_beta = backends.listed(pair.secondary.control)
    made = [each for each in on_beta.values() if each.managed]
    story.check(len(made) == 1 and made[0].kind == "vif" and made[0].state == "InitWait" and
                made[0].phase == made[0].CONNECTED and made[0].script_outcome == made[0].OK, f"beta lists {on_beta}")
    return made[0].name


def _check_metrics(story, pair, last):
    """Both agents' metrics say of a protection what the API has just said, or what has come since."""
    primary = metrics.read(pair.lab.alpha, metrics.PRIMARY_PORT)
    secondary = metrics.read(pair.lab.beta, metrics.SECONDARY_PORT)
    of_protection = ("protection", protected_pair.ID)
    of_vif = (*of_protection, "vif", VIF)
    story.check(primary[("romulus_protection_phase", "phase", "PROTECTED", *of_protection)] == 1 and
                secondary[("romulus_standby_phase", "phase", "STANDBY_READY", *of_protection)] == 1, "phases")
    for name, least in (("romulus_checkpoints_committed_total", last.status.checkpoints_committed),
                        ("romulus_committed_epoch", last.status.committed_epoch),
                        ("romulus_sent_bytes_total", last.status.sent_bytes)):
        story.check(least <= primary[(name, *of_protection)] < 2 * least + 1000, f"{name}: {primary}, API {least}")
    (vif,) = last.status.egress.vifs
    story.check(primary[("romulus_egress_limit_bytes", *of_vif)] == vif.limit_bytes > 0, f"limit: {primary}")
    story.check(primary[("romulus_egress_sent_packets_total", *of_vif)] >= vif.sent_packets > 0, f"sent: {primary}")
    story.check(primary[("romulus_egress_dropped_packets_total", *of_vif)] == 0, f"dropped: {primary}")
    p50, p99 = (primary[("romulus_egress_time_held_seconds", *of_protection, "quantile", each, "vif", VIF)]
                for each in ("0.5", "0.99"))
    # No packet is held for longer than its epoch's output delay.
    delay = primary[("romulus_output_delay_seconds", *of_protection, "quantile", "1")]
    story.check(0 < p50 <= p99 <= delay + 0.05, f"times held {p50} and {p99} s, output delay at most {delay} s")
    story.check(secondary[("romulus_standby_committed_epoch", *of_protection)] >= last.status.committed_epoch and
                secondary[("romulus_standby_link_alive", *of_protection)] == 1, f"secondary: {secondary}")
    story.figures["metrics"] = {"primary": len(primary), "secondary": len(secondary)}
