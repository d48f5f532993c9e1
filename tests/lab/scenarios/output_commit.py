"""Power cuts at random moments under load: no client ever received an answer that the takeover does not know."""

import pathlib
import random
import tempfile
import time

from lab import failover, programs, protected_pair

IN_CI = True
BREAKS = {"release-early": "the primary releases each epoch's output when it is captured, not when it is committed"}
CUTS = 10
# On a machine so busy with other work that they would take longer than this, fewer do.
ENOUGH_S = 900
CUTS_AT_LEAST = 4
SEED = 1  # of the moments; which microsecond it hits is for the machine to say
RATE = 100
# Hosts that go on from a saved state have both been silent for a while, and on a machine that is busy with other work
# they fall silent again and again.
LINK_TIMEOUT_MS = 20_000
# What the primary sends is so long on its way. Between capture and commit is where an answer that left too early is
# forgotten: without this that is a twentieth of all moments, and a few cuts would mostly miss it.
WAY_MS = 150


def run(story):
    cuts = story.cuts or CUTS
    started = time.monotonic()
    primary = programs.PRIMARY_RELEASE_EARLY if story.broken else programs.PRIMARY
    moments = random.Random(SEED)
    story.figures["cuts"] = []
    settings = protected_pair.Settings(interval_ms=200, link_timeout_ms=LINK_TIMEOUT_MS)
    with protected_pair.protected(story, settings, primary) as pair:
        pair.wait_checkpoints(5)
        pair.lab.alpha.delay_outgoing("replication", WAY_MS)
        with tempfile.TemporaryDirectory(prefix="romulus-lab-", dir=pair.lab.folder) as folder:
            states = pathlib.Path(folder)
            pair.lab.save(states)
            for number in range(1, cuts + 1):
                pair.lab.restart(states)
                pair.generation = 1
                pair.reconnect()
                # It goes on where it was; a machine too busy for that seeds anew.
                pair.wait_protected()
                figures = one_cut(story, pair, moments.uniform(1, 4))
                story.figures["cuts"].append(figures)
                story.step(f"cut {number} of {cuts}: {figures['client']}")
                if figures["client"]["forgotten"]:
                    break
                if number >= CUTS_AT_LEAST and time.monotonic() - started > ENOUGH_S and not story.cuts:
                    story.step(f"that took {time.monotonic() - started:.0f} s: no more cuts")
                    break
    totals = {key: sum(each["client"][key] for each in story.figures["cuts"]) for key in ("forgotten", "contradicted")}
    story.figures.update(totals)
    story.check(totals["forgotten"] == 0, f"forgotten {totals['forgotten']} answers in {number} cuts")
    story.check(totals["contradicted"] == 0, f"contradicted {totals['contradicted']} answers in {number} cuts")
    for each in story.figures["cuts"]:
        story.check(each["client"]["tcp_connection_survived"], each["why"])


def one_cut(story, pair, load_s):
    """Load for `load_s` seconds from the first answer on, then the cut; the figures of the failover."""
    client = pair.lab.start_client(rate=RATE)
    client.wait_connected()
    client.wait_answers(RATE // 2)
    time.sleep(load_s)
    takeover = failover.Failover(pair, client)
    takeover.cut()
    takeover.take_over(detected=False)
    client.wait_answers(50)
    verdict = client.stop()
    return {**takeover.figures(verdict), "why": verdict["why"]}
