"""A primary host that was taken for dead comes back: its copy of the guest is stopped for good, no client sees it."""

from lab import failover, owners, protected_pair

# Not what is shown here: long enough for emulated hosts on a busy machine.
LINK_TIMEOUT_MS = 8000
BREAKS = {"run-unprotected": "the loss policy releases the output of a host that does not own its guest any more"}


def run(story):
    policy = "RUN_UNPROTECTED" if story.broken == "run-unprotected" else "HOLD_OUTPUT"
    settings = protected_pair.Settings(secondary_loss_policy=policy, link_timeout_ms=LINK_TIMEOUT_MS)
    with protected_pair.protected(story, settings) as pair:
        alpha = pair.lab.alpha
        client = pair.lab.start_client(rate=20)
        client.wait_connected()
        pair.wait_checkpoints(10)
        story.step(f"{failover.status_line(pair.protection())}; alpha stands still")
        following = pair.watch_standby()
        alpha.stall()
        client.mark()
        story.check(following.wait(lambda each: not each.link_alive, 30), "the secondary never noticed")
        following.stop()
        pair.activate(primary_fenced=True)
        client.wait_answers(20)
        story.step("beta runs the guest; alpha goes on as if nothing had happened")
        alpha.resume()
        pair.primary.connect()
        fenced = pair.wait_phase("FENCED", timeout_s=60)
        story.step(f"alpha: {fenced.status.last_error}")
        stopped_for_good(story, pair)
        client.wait_answers(20)

        story.step("killing alpha's agent and starting it again")
        pair.primary.signal("KILL")
        pair.primary.start()
        pair.wait_phase("FENCED", timeout_s=60)
        stopped_for_good(story, pair)
        client.wait_answers(20)
        verdict = client.stop()
        story.figures["client"] = verdict
        story.check(verdict["ok"], verdict["why"])
        stopped_for_good(story, pair)


def stopped_for_good(story, pair):
    story.check(not owners.running(pair.lab.alpha) and "ledger" in pair.lab.alpha.domains(),
                f"alpha has {pair.lab.alpha.domains()}, not a paused ledger")
    story.check(owners.running(pair.lab.beta).keys() == {"ledger"}, f"beta has {pair.lab.beta.domains()}")
