"""Policy ON_LINK_LOSS: the primary host loses power, and the guest goes on at the other host without being asked."""

from lab import failover, protected_pair

BREAKS = {"by-request": "the policy is BY_REQUEST, and nobody asks"}


def run(story):
    policy = "BY_REQUEST" if story.broken else "ON_LINK_LOSS"
    with protected_pair.protected(story, protected_pair.Settings(failover_policy=policy)) as pair:
        client = pair.lab.start_client(rate=50)
        client.wait_connected()
        pair.wait_checkpoints(20, on_status=lambda each: story.step(failover.status_line(each)))
        takeover = failover.Failover(pair, client, story.step)
        takeover.cut()
        takeover.wait_active()
        client.wait_answers(50)
        verdict = client.stop()
        story.figures.update(takeover.figures(verdict))
        story.check(verdict["ok"], verdict["why"])
