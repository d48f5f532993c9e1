"""Policy ON_LINK_LOSS: the primary host loses power, and the guest goes on at the other host without being asked."""

from lab import failover, protected_pair

POLICY = protected_pair.Settings(failover_policy="ON_LINK_LOSS")


def run(story):
    with protected_pair.protected(story, POLICY) as pair:
        client = pair.lab.start_client(rate=50)
        client.wait_connected()
        pair.wait_checkpoints(20, on_status=lambda each: story.step(failover.status_line(each)))
        takeover = failover.Failover(pair, client, story.step)
        takeover.cut()
        takeover.wait_active()
        client.wait_answers(50, timeout_s=60)
        verdict = client.stop()
        story.figures.update(takeover.figures(verdict))
        story.check(verdict["ok"], verdict["why"])
