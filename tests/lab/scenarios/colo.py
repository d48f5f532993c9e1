"""Both guests run (COLO): what both have produced leaves at once, and a power cut loses no word of it.

Each cut is a life of the hosts of its own, at a random moment of a checkpoint or a run. The service has, in turns, an
account per connection, where both guests produce the same for as long as they may, and one ledger of all connections,
where the order of questions across connections makes the answers different, and checkpoints many. --cuts N: how many
cuts (1).
"""

import dataclasses
import random
import time

from lab import failover, progress, protected_pair

BREAKS = {"waits": "the protection is in stream mode REMUS: no standby runs along, and nothing leaves by comparison"}
# Before the cut, with accounts and with one ledger: runs are as long as they may in the one case.
RUNS = {True: 2, False: 5}
CUTS = 1


def run(story):
    cuts = story.cuts or CUTS
    for cut in range(1, cuts + 1):
        figures = _cut(story, accounts=cut % 2 == 1)
        story.figures[f"cut_{cut}"] = figures
        story.step(f"cut {cut} of {cuts}: {figures['client']}, {figures['lockstep']}")


def _cut(story, accounts):
    settings = protected_pair.Settings(stream_mode="REMUS" if story.broken else "COLO")
    with protected_pair.agents_up(story, settings) as pair:
        if accounts:
            story.step("protecting the guest without lockstep first: it keeps an event channel that no standby has")
            pair.protect(settings=dataclasses.replace(settings, stream_mode="REMUS").message())
            pair.wait_checkpoints(2)
            pair.delete()
        pair.protect()
        client = pair.lab.start_client(rate=20, accounts=accounts)
        client.wait_connected()
        story.step(f"protected; the standby is to run along {RUNS[accounts]} times while a client asks over TCP and UDP")
        deadline = time.monotonic() + (30 if story.broken else 180)
        lockstep = pair.protection().status.lockstep
        while time.monotonic() < deadline and not (lockstep.runs >= RUNS[accounts] and lockstep.frames_released_by_comparison):
            time.sleep(5)
            lockstep = pair.protection().status.lockstep
            progress.say(f"{lockstep.runs} runs, in lockstep {lockstep.share_of_time:.0%} of the time, left by comparison "
                         f"{lockstep.frames_released_by_comparison}, by commit {lockstep.frames_released_by_commit}; "
                         f"last difference: {lockstep.last_difference or 'none'}")
        story.check(lockstep.runs >= RUNS[accounts], f"the standby has run along {lockstep.runs} times: {lockstep.last_refusal}")
        # A standby whose event channels are not the primary's begins one run anew after the other.
        story.check("event channel" not in lockstep.last_refusal, f"a run could not go on: {lockstep.last_refusal}")
        story.check(lockstep.frames_released_by_comparison > 0, "nothing has left by comparison")
        # A run with accounts lasts for ten seconds.
        time.sleep(random.uniform(0, 12 if accounts else 3))

        takeover = failover.Failover(pair, client, story.step)
        takeover.cut()
        takeover.take_over()
        client.wait_answers(20)
        verdict = client.stop()
        story.check(verdict["ok"], verdict["why"])
        return {**takeover.figures(verdict), "service": "accounts" if accounts else "ledger",
                "lockstep": {"runs": lockstep.runs, "share_of_time": round(lockstep.share_of_time, 3),
                             "left_by_comparison": lockstep.frames_released_by_comparison,
                             "left_by_commit": lockstep.frames_released_by_commit,
                             "differences": {each.reason: each.count for each in lockstep.differences}},
                "client_rtt_ms": verdict["rtt_ms"]}
