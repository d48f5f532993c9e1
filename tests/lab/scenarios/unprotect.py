"""Protection ends on purpose, by Delete and by the agent's SIGTERM: nothing is left behind, no packet is lost."""

import time

from lab import failover, inventory, protected_pair

IN_CI = True


def run(story):
    with protected_pair.agents_up(story) as pair:
        lab = pair.lab
        hosts = lab.hosts.values()
        before = {each.name: inventory.take(each) for each in hosts}
        client = lab.start_client(rate=50)
        client.wait_connected()

        for way, end in (("DeleteProtection", pair.delete), ("SIGTERM", pair.primary.stop)):
            story.step(f"protecting the guest, to end it by {way}")
            pair.create()
            pair.wait_protected()
            pair.wait_checkpoints(10)
            story.step(failover.status_line(pair.protection()))
            held = inventory.difference(before["alpha"], inventory.take(lab.alpha))
            story.check("ifb" in held and "log-dirty" in held, f"the inventory does not see protection: {held}")
            started = time.monotonic()
            end()
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
        story.check(verdict["asked"] == verdict["answers"],
                    f"{verdict['asked'] - verdict['answers']} of {verdict['asked']} questions got no answer")
