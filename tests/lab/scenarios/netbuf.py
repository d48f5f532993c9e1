"""Every EtherType, packet by packet: none leaves before its commit, none is lost or reordered; IFBs are never shared."""

import time

from lab import (control, ifb_contest, inventory, numbered_frames, numbered_guest, output_verdict, programs,
                 protected_pair, replication_tap, xen_netbuf_script)

IN_CI = True
BREAKS = {
    "release-early": "the primary releases each epoch's output when it is captured, not when it is committed",
    "ipv4-only": "the redirect takes IPv4 alone, as that of Xen's own script: all else leaves at once",
    "own-lock": "Romulus takes a lock of its own to choose ifbs, not the one that Xen's script takes",
    "lossy": "alpha's card loses one packet in a hundred",
    "reordering": "alpha's card lets one packet in a hundred overtake others",
}
# A host that dozens of processes of Xen's script slow down is not dead.
# RAW: the tap looks for the guest's memory in what passes.
SETTINGS = protected_pair.Settings(interval_ms=100, link_timeout_ms=15_000, encoding="RAW")
GUEST_VIF = "vif-ledger"
# Starts what follows where /run/xen-hotplug is another folder than the one that all others see.
OWN_LOCK = "unshare --mount sh -c 'mkdir -p /run/xen-hotplug; mount -t tmpfs own /run/xen-hotplug; exec \"$0\" \"$@\"'"
EPOCHS = 200
EPOCHS_BROKEN = 40
CONTESTS = 3


def run(story):
    primary = programs.PRIMARY_RELEASE_EARLY if story.broken == "release-early" else programs.PRIMARY
    xen_netbuf_script.fetch()
    with protected_pair.agents_up(story, SETTINGS, primary) as pair:
        if story.broken in (None, "own-lock"):
            _choose_ifbs_together(story, pair)
        if story.broken != "own-lock":
            _send_every_ethertype(story, pair)


def _choose_ifbs_together(story, pair):
    """Romulus protects and unprotects a guest while Xen's own script chooses ifbs on the same host."""
    alpha = pair.lab.alpha
    before = {"alpha": inventory.take(alpha)}
    contest = ifb_contest.IfbContest(alpha)
    story.step("Xen's own script chooses ifbs beside Romulus")
    contest.start()
    pair.primary.stop()
    ifb_contest.slow_start(pair.primary, OWN_LOCK if story.broken else "")
    story.eventually(lambda: any(each.startswith("held") for each in contest.lines()), "Xen's script does not work",
                     timeout_s=300, every_s=1)
    waits = 0
    for number in range(1, CONTESTS + 1):
        waits += _create(story, pair)
        contest.check(story, [GUEST_VIF])
        pair.delete()
        contest.check(story, [])
        story.step(f"protected and unprotected, {number} of {CONTESTS}")
    story.figures["ifbs"] = {"romulus_protected": CONTESTS, "romulus_had_to_retry": waits, **contest.stop(story)}
    story.check(story.figures["ifbs"]["xen_found_none"] > 0, "Xen's script was never in want of an ifb")
    inventory.check_same(story, before, [alpha])
    story.step(f"ifbs: {story.figures['ifbs']}")
    pair.primary.stop()
    pair.primary.start()


def _create(story, pair):
    """Returns how often it had to be asked again, because the others took longer over their choice than Romulus
    waits."""
    refusals = []

    def created():
        try:
            return pair.create()
        except control.RpcError as error:
            if error.code().name != "UNAVAILABLE":
                raise
            refusals.append(error.details())
            return None

    story.eventually(created, "the guest can't be protected", timeout_s=300)
    return len(refusals)


def _send_every_ethertype(story, pair):
    lab = pair.lab
    epochs = EPOCHS_BROKEN if story.broken else EPOCHS
    story.step("starting the guest that sends numbered frames")
    numbered_guest.let_jumbo_pass(lab)
    at_client = numbered_frames.record_at_client(lab.network, lab.folder / "frames")
    tap = replication_tap.record(lab, lab.folder / "replication")
    numbered_guest.replace_usual(lab)
    story.eventually(lambda: _all_kinds(at_client), "the guest does not send", timeout_s=300, every_s=1)
    if story.broken in ("lossy", "reordering"):
        _spoil(lab.alpha, story.broken)

    story.step("protecting it")
    pair.create(domain=numbered_guest.NAME)
    if story.broken == "ipv4-only":
        _let_all_but_ipv4_by(lab.alpha)
    pair.wait_protected()
    started = time.monotonic()
    last = pair.wait_checkpoints(epochs, timeout_s=900)
    story.figures["epochs_per_second"] = round(epochs / (time.monotonic() - started), 2)
    story.check(last.status.egress.dropped_packets == 0, f"the egress buffer dropped packets: {last.status.egress}")
    story.step("ending protection")
    pair.delete()
    time.sleep(3)  # of plain traffic: what is missing before it, is lost

    frames = numbered_frames.frames(at_client.stop())
    events = replication_tap.events(tap.stop())
    verdict = output_verdict.judge(frames, events)
    story.figures.update(verdict)
    story.step(f"{verdict['frames']} frames in {verdict['epochs']} epochs: {verdict['output']}")
    story.check(not verdict["errors"], "; ".join(verdict["errors"]))
    story.check(verdict["epochs"] >= epochs, f"only {verdict['epochs']} commits were seen on the wire")


def _all_kinds(recorder):
    seen = {(each.card, each.kind) for each in numbered_frames.frames(recorder.lines())}
    return len(seen) == numbered_guest.CARDS * len(numbered_frames.KINDS)


def _spoil(host, how):
    netem = {"lossy": "loss 1%", "reordering": "delay 20ms reorder 99%"}[how]
    host.sh(f"tc qdisc replace dev eth0 root netem {netem} limit 100000")


def _let_all_but_ipv4_by(host):
    """Romulus' own redirect is left as it is: what it takes and is not IPv4, is taken on from its ifb to the wire."""
    for link in host.out("ls /sys/class/net").split():
        if not link.startswith("ifb"):
            continue
        host.sh(f"tc qdisc add dev {link} clsact")
        for protocol in ("ipv6", "arp", "802.1q"):
            host.sh(f"tc filter add dev {link} egress protocol {protocol} matchall action mirred egress redirect "
                    "dev eth0")
