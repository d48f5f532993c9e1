"""The link between the agents is silent for 10 s, both hosts alive: never two running guests, and protection returns."""

import time

from lab import control, failover, owners, protected_pair

STALL_S = 10
BREAKS = {"activate-blindly": "the control plane claims during the stall that the primary is fenced, though it runs"}


def both_ways(lab, silent):
    lab.alpha.set_link("replication", "silent" if silent else "on")


def towards_the_primary(lab, silent):
    lab.alpha.drop_incoming("replication", silent)


def run(story):
    with protected_pair.protected(story) as pair, owners.OwnerWatch(pair.lab) as watched:
        client = pair.lab.start_client(rate=20)
        client.wait_connected()
        for way in (both_ways, towards_the_primary):
            stall(story, pair, client, way, watched)
            watched.check(story)
        takeover_over_a_live_link(story, pair, client)
        verdict = client.stop()
        watched.check(story)
        story.figures.update({"client": verdict, "looks": watched.looks})
        story.check(verdict["ok"], verdict["why"])


def stall(story, pair, client, way, watched):
    pair.wait_more_checkpoints(5)
    before = pair.protection()
    story.step(f"{failover.status_line(before)}; {STALL_S} s of silence {way.__name__.replace('_', ' ')}")
    following = pair.watch_standby()
    began = time.monotonic()
    way(pair.lab, True)
    story.check(following.wait(lambda each: not each.link_alive, 30), "the secondary never noticed the silence")
    story.step(f"the secondary knows after {time.monotonic() - began:.1f} s")
    if story.broken == "activate-blindly":
        pair.activate(primary_fenced=True)
    else:
        refused_without_fencing(story, pair)
    time.sleep(max(0, began + STALL_S - time.monotonic()))
    watched.check(story)
    waiting_standby(story, pair)
    following.stop()

    way(pair.lab, False)
    story.step("the link is back")
    again = pair.wait_protected_again(before)
    story.figures[f"restored_after_{way.__name__}_s"] = round(time.monotonic() - began - STALL_S, 1)
    story.step(f"protected again: {failover.status_line(again)}")
    client.wait_answers(20)


def refused_without_fencing(story, pair):
    try:
        pair.activate(primary_fenced=False)
    except control.RpcError as error:
        story.step(f"refused: {error.details()}")
        story.check(error.code().name == "FAILED_PRECONDITION", f"ActivateStandby: {error.code()}")
        story.check("primary_fenced" in error.details(), "the refusal does not say what to do")
    else:
        story.check(False, "the standby was activated though its primary runs")


def waiting_standby(story, pair):
    standby = pair.standby()
    phase = protected_pair.standby_phase_name(standby.phase)
    story.check(phase == "STANDBY_READY" and not standby.link_alive,
                f"in the silence the standby is {phase}, link alive: {standby.link_alive}")
    domains = pair.lab.beta.domains()
    story.check(len(domains) == 1 and not owners.running(pair.lab.beta), f"beta has {domains}, not one paused standby")
    story.check("ledger" in owners.running(pair.lab.alpha), f"alpha has {pair.lab.alpha.domains()}")


def takeover_over_a_live_link(story, pair, client):
    """The secondary has the primary stop the guest itself: nobody needs to vouch for anything."""
    pair.wait_more_checkpoints(5)
    story.step("planned takeover")
    client.mark()
    standby = pair.activate(primary_fenced=False)
    fenced = pair.protection()
    story.step(f"beta runs the guest as domain {standby.domid}; alpha: {fenced.status.last_error}")
    story.check(protected_pair.standby_phase_name(standby.phase) == "STANDBY_ACTIVE", f"the standby is {standby.phase}")
    story.check(protected_pair.phase_name(fenced.status.phase) == "FENCED",
                f"alpha's protection is {protected_pair.phase_name(fenced.status.phase)}")
    story.check("ledger" in owners.running(pair.lab.beta), f"beta has {pair.lab.beta.domains()}")
    story.check("p" in pair.lab.alpha.domains()["ledger"][1], f"alpha has {pair.lab.alpha.domains()}, not paused")
    client.wait_answers(20)
