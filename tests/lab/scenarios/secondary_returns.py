"""The secondary host comes back after a power cut: the guest is protected again without being asked."""

from lab import failover, protected_pair


def run(story):
    with protected_pair.protected(story) as pair:
        lab = pair.lab
        client = lab.start_client(rate=20)
        client.wait_connected()
        lab.beta.power_cut()
        pair.wait_phase("UNPROTECTED", timeout_s=30)
        story.step("beta has no power; switching it on again")
        lab.power_on(lab.beta)
        pair.start_secondary_agent()
        protection = pair.wait_protected()
        story.check(protection.status.sessions >= 2, f"{protection.status.sessions} session")
        story.step(failover.status_line(protection))

        takeover = failover.Failover(pair, client, story.step)
        takeover.cut()
        takeover.take_over()
        client.wait_answers(20)
        verdict = client.stop()
        story.figures.update(takeover.figures(verdict))
        story.check(verdict["ok"], verdict["why"])
