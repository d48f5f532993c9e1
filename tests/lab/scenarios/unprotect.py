"""Protection ends on purpose, by Delete and by the agent's SIGTERM: nothing is left behind, no packet is lost."""

import time

from lab import failover, inventory, protected_pair

BREAKS = {"agent-killed": "the agent is killed instead of told to end: what it has made stays, on purpose"}
# A datagram may get lost on a busy network: only near the end of a protection is it the protection's doing.
END_BEGINS_MS = 10_000


def run(story):
    with protected_pair.agents_up(story) as pair:
        lab = pair.lab
        hosts = lab.hosts.values()
        before = {each.name: inventory.take(each) for each in hosts}
        client = lab.start_client(rate=50)
        client.wait_connected()
        asking_since = time.monotonic()

        ends = [("DeleteProtection", pair.delete), ("SIGTERM", pair.primary.stop)]
        if story.broken:
            ends = [("SIGKILL", lambda: pair.primary.signal("KILL"))]
        for way, end in ends:
            story.step(f"protecting the guest, to end it by {way}")
            pair.create()
            pair.wait_protected()
            pair.wait_checkpoints(10)
            last = pair.protection()
            story.step(failover.status_line(last))
            story.check(last.status.egress.dropped_packets == 0, f"the egress buffer dropped packets: {last}")
            held = inventory.difference(before["alpha"], inventory.take(lab.alpha))
            story.check("ifb" in held and "log-dirty" in held, f"the inventory does not see protection: {held}")
            started = time.monotonic()
            end()
            story.figures[f"{way}_at_ms"] = round((started - asking_since) * 1000)
            story.figures[f"{way}_ms"] = round((time.monotonic() - started) * 1000)
            story.step(f"{way} took {story.figures[f'{way}_ms']} ms; looking for what it left")
            client.wait_answers(20)
            inventory.check_same(story, before, hosts)
        story.check(not pair.standbys(), f"beta still knows standbys: {pair.standbys()}")

        # No question in the last seconds: what has no answer now was lost.
        client.set_rate(0.05)
        time.sleep(5)
        verdict = client.stop()
        story.figures["client"] = verdict
        story.check(verdict["ok"], verdict["why"])
        for way, _ in ends:
            ended_at = story.figures[f"{way}_at_ms"]
            lost = [at for at in verdict["udp_unanswered_at_ms"]
                    if -END_BEGINS_MS < at - ended_at < story.figures[f"{way}_ms"]]
            story.check(not lost, f"{len(lost)} questions got no answer as {way} ended the protection")
