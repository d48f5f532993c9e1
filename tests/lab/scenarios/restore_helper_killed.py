"""The restore helper is killed, twice: the primary is told, releases the output, and protects anew by itself."""

from lab import failover, helpers, inventory, protected_pair

# Not what is shown here: long enough for emulated hosts on a busy machine.
LINK_TIMEOUT_MS = 8000
BREAKS = {"agent-too": "the secondary agent dies with its helper: nobody tells the primary"}


def run(story):
    with protected_pair.agents_up(story, protected_pair.Settings(link_timeout_ms=LINK_TIMEOUT_MS)) as pair:
        beta = pair.lab.beta
        before = {each.name: inventory.take(each) for each in pair.lab.hosts.values()}
        client = pair.lab.start_client(rate=20)
        client.wait_connected()
        story.step("protecting the guest")
        pair.protect()

        status = pair.wait_more_checkpoints(5)
        story.step(f"killing it: {failover.status_line(status)}")
        if story.broken == "agent-too":
            pair.secondary.signal("KILL")
        beta.sh(f"kill -KILL {helpers.only(story, beta, helpers.RESTORE)}")
        client.wait_answers(20)
        seeding = pair.wait_phase("SEEDING")
        told(story, seeding)
        story.step("killing it again, while the first copy arrives")
        story.eventually(lambda: helpers.pids(beta, helpers.RESTORE), "there is no new restore helper")
        beta.sh(f"kill -KILL {helpers.only(story, beta, helpers.RESTORE)}")
        client.wait_answers(20)
        again = pair.wait_protected_again(seeding)
        told(story, again)
        helpers.check_one_and_no_zombie(story, beta, helpers.RESTORE)
        domains = beta.domains()
        story.check(len(domains) == 1, f"beta has {domains}, not one standby")

        story.step("ending the protection")
        pair.delete()
        inventory.check_same(story, before, pair.lab.hosts.values())
        client.wait_answers(20)
        verdict = client.stop()
        story.figures["client"] = verdict
        story.check(verdict["ok"], verdict["why"])


def told(story, protection):
    story.step(f"alpha: {protection.status.last_error}")
    story.check("given up its standby" in protection.status.last_error,
                f"the primary was not told by the secondary: {protection.status.last_error}")
