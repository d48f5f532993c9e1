"""A takeover with the standby's vif prepared, against one that runs Xen's vif script at the takeover, as Remus does.

Both from a saved moment of their own, in turn, so that a drift of the machine's speed meets both. Figures in
milliseconds of the emulated host; the difference is what the preparation is worth here.
"""

import contextlib
import pathlib
import statistics
import tempfile

from lab import failover, programs, protected_pair

BREAKS = {"swapped": "each of the two secondaries is measured as the other"}
TAKEOVERS = 5  # of each; --cuts
RATE = 50

SECONDARIES = {"prepared": programs.SECONDARY, "script_at_takeover": programs.SECONDARY_LATE_VIFS}
COMPARED = ("activate", "first_reply")


def run(story):
    built = programs.build([*programs.AGENTS, programs.SECONDARY_LATE_VIFS])
    measured = {name: [] for name in SECONDARIES}
    with story.lab() as lab, contextlib.ExitStack() as kept:
        moments = {}
        secondaries = dict(zip(SECONDARIES, reversed(SECONDARIES.values()))) if story.broken else SECONDARIES
        for name, secondary in secondaries.items():
            lab.restart()
            pair = protected_pair.ProtectedPair(lab, built, secondary=secondary)
            story.step(f"{name}: protecting the guest")
            pair.start_agents()
            pair.protect()
            pair.wait_checkpoints(5)
            states = pathlib.Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="romulus-lab-", dir=lab.folder)))
            lab.save(states)
            pair.disconnect()
            moments[name] = (pair, states)
        for number in range(1, (story.cuts or TAKEOVERS) + 1):
            order = list(moments) if number % 2 else list(reversed(moments))
            for name in order:
                figures = one_takeover(story, lab, *moments[name])
                measured[name].append(figures["failover_ms"])
                story.step(f"takeover {number}, {name}: {figures['failover_ms']}")
    story.figures.update({name: {"takeovers": runs, "p50": medians(runs)} for name, runs in measured.items()})
    saved = {key: round(story.figures["script_at_takeover"]["p50"][key] - story.figures["prepared"]["p50"][key], 1)
             for key in COMPARED}
    story.figures["saved_ms"] = saved
    story.step(f"prepared {story.figures['prepared']['p50']}, script at the takeover "
               f"{story.figures['script_at_takeover']['p50']}: {saved} ms saved")
    story.check(saved["activate"] > 0, f"an activation with a prepared vif is no faster: {saved}")


def medians(runs):
    return {key: round(statistics.median(each[key] for each in runs), 1) for key in COMPARED}


def one_takeover(story, lab, pair, states):
    lab.restart(states)
    pair.generation = 1
    pair.reconnect()
    pair.wait_protected()
    client = lab.start_client(rate=RATE)
    client.wait_connected()
    client.wait_answers(RATE // 2)
    takeover = failover.Failover(pair, client)
    takeover.cut()
    takeover.take_over()
    client.wait_answers(20)
    verdict = client.stop()
    pair.disconnect()
    story.check(verdict["ok"], verdict["why"])
    return takeover.figures(verdict)
