"""Both agents are killed and started again while they protect: the output waits, nothing is lost, and a takeover works."""

import time

from lab import control, failover, helpers, owners, protected_pair

SILENCE_S = 5
# Not what is shown here: long enough for emulated hosts on a busy machine.
LINK_TIMEOUT_MS = 8000
BREAKS = {"no-restart": "the primary agent is not started again: the output stays held"}


def run(story):
    with protected_pair.protected(story, protected_pair.Settings(link_timeout_ms=LINK_TIMEOUT_MS)) as pair:
        client = pair.lab.start_client(rate=20)
        client.wait_connected()
        pair.wait_more_checkpoints(5)
        primary_agent(story, pair, client)
        secondary_agent(story, pair, client)

        story.step("after all that, a power cut")
        takeover = failover.Failover(pair, client, story.step)
        takeover.cut()
        takeover.take_over()
        client.wait_answers(20)
        secondary_agent_of_an_active_guest(story, pair, client, takeover.standby)
        verdict = client.stop()
        story.figures.update(takeover.figures(verdict))
        story.check(verdict["ok"], verdict["why"])


def primary_agent(story, pair, client):
    before = pair.protection()
    story.step(f"killing the primary agent: {failover.status_line(before)}")
    pair.primary.signal("KILL")
    story.eventually(lambda: not helpers.pids(pair.lab.alpha, helpers.SAVE), "the save helper outlives its agent")
    time.sleep(1)  # what had been released is on its way
    answers = client.stats["answers"]
    time.sleep(SILENCE_S)
    story.check(client.stats["answers"] == answers,
                f"{client.stats['answers'] - answers} answers left alpha though nobody takes checkpoints")
    state = pair.lab.alpha.domains()["ledger"][1]
    story.check("s" not in state and "ledger" in owners.running(pair.lab.alpha), f"alpha's guest is {state}")
    story.check(protected_pair.standby_phase_name(pair.standby().phase) == "STANDBY_READY", "the standby is gone")

    if story.broken != "no-restart":
        pair.primary.start()
        story.step("started again")
        pair.wait_protected()
        pair.wait_more_checkpoints(5)
    client.wait_answers(20)
    helpers.only(story, pair.lab.alpha, helpers.SAVE)
    story.step(f"going on: {failover.status_line(pair.protection())}")


def secondary_agent(story, pair, client):
    before = pair.protection()
    story.step("killing the secondary agent")
    pair.secondary.signal("KILL")
    story.eventually(lambda: pair.protection().status.last_error, "the primary never noticed", timeout_s=30)
    client.wait_answers(20)
    pair.secondary.start()
    again = pair.wait_protected_again(before)
    story.step(f"protected again; before: {again.status.last_error}")
    domains = pair.lab.beta.domains()
    story.check(len(domains) == 1, f"beta has {domains}, not one standby")
    helpers.only(story, pair.lab.beta, helpers.RESTORE)
    pair.wait_more_checkpoints(5)
    client.wait_answers(20)


def secondary_agent_of_an_active_guest(story, pair, client, active):
    story.step("killing the secondary agent that has taken over")
    pair.secondary.signal("KILL")
    client.wait_answers(20)
    pair.secondary.start()
    standby = pair.standby()
    story.check(protected_pair.standby_phase_name(standby.phase) == "STANDBY_ACTIVE",
                f"the restarted agent calls it {protected_pair.standby_phase_name(standby.phase)}")
    story.check(standby.generation == active.generation, f"in generation {standby.generation}, not {active.generation}")
    story.check(owners.running(pair.lab.beta).keys() == {"ledger"}, f"beta has {pair.lab.beta.domains()}")
    try:
        pair.activate()
        story.check(False, "the restarted agent activated the guest once more")
    except control.RpcError as error:
        story.step(f"once more is refused: {error.details()}")
        story.check(error.code().name == "FAILED_PRECONDITION", f"ActivateStandby: {error.code()}")
    client.wait_answers(20)
