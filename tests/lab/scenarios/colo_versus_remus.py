"""COLO beside Remus mode at 100 ms in one run: same hosts, same guest, same client; how long its output and its answers
wait, how many checkpoints it takes, and how fast the other host takes over.

The service keeps an account per connection: two copies that get the same questions give the same answers. What a
service does that is not so can be seen with --only remus,colo,ledger: one ledger of all connections.

--cuts N: how many rounds of both, each with a power cut (1). --only colo: one mode alone, nothing compared.
"""

import statistics
import time

from lab import control, failover, programs, progress, protected_pair

MEASURED_S = 60
SETTLE_S = 15
# Of Remus mode's, at most.
HELD_AT_MOST = 1 / 5
TAKEOVER_AT_MOST = 1 / 3
# Questions per second, as far as the connections are not waiting for an answer.
RATE = 30
MODES = ("REMUS", "COLO")


def run(story):
    asked = story.only or ["remus", "colo"]
    modes = [mode for mode in MODES if mode.lower() in asked]
    accounts = "ledger" not in asked
    built = programs.build()
    rounds = {mode: [] for mode in modes}
    with story.lab() as lab:
        for turn in range(story.cuts or 1):
            for mode in modes if turn % 2 == 0 else reversed(modes):
                lab.restart()
                rounds[mode].append(_one(story, lab, built, mode, accounts))
    both = {mode.lower(): _together(each) for mode, each in rounds.items()}
    story.figures.update(both)
    if len(both) == len(MODES):
        compare(story, **both)


def _one(story, lab, built, mode, accounts):
    pair = protected_pair.ProtectedPair(lab, built, protected_pair.Settings(stream_mode=mode))
    pair.start_agents()
    client = lab.start_client(rate=10, most_outstanding=1, accounts=accounts)
    client.wait_connected()
    story.step(f"{mode}: copying the guest's memory to beta")
    pair.protect()
    pair.wait_checkpoints(3)
    client.set_rate(RATE)
    time.sleep(SETTLE_S)

    story.step(f"{mode}: measuring for {MEASURED_S} s")
    begun_at, begun = time.monotonic(), pair.protection()
    client.begin_window()
    while time.monotonic() - begun_at < MEASURED_S:
        time.sleep(5)
        progress.say(_line(pair.protection().status))
    window = client.end_window()
    ended_at, ended = time.monotonic(), pair.protection()
    measured_s = ended_at - begun_at

    standby = pair.standby()

    takeover = failover.Failover(pair, client, story.step)
    takeover.cut()
    takeover.take_over()
    client.wait_answers(50)
    verdict = client.stop()
    story.check(verdict["ok"], f"{mode}: {verdict['why']}")
    held = ended.status.egress.vifs[0].time_held
    figures = takeover.figures(verdict)
    parts = takeover.standby.activation
    figures["activation_ms"] = {key: round(control.milliseconds(getattr(parts, key)), 1)
                                for key in ("restore", "devices", "total")}
    figures.update({
        "checkpoints_per_second": round((ended.status.checkpoints_committed - begun.status.checkpoints_committed) /
                                        measured_s, 3),
        "answers_per_second": round(window["answers"] / measured_s, 1),
        "rtt_ms": window["rtt_ms"],
        "held_ms": {key: round(control.milliseconds(getattr(held, key)), 1) for key in ("p50", "p99")}})
    if mode == "COLO":
        before, after = begun.status.lockstep, ended.status.lockstep
        figures["lockstep"] = {
            "runs": after.runs - before.runs, "share_of_time": round(after.share_of_time, 3),
            "left_by_comparison": after.frames_released_by_comparison - before.frames_released_by_comparison,
            "left_by_commit": after.frames_released_by_commit - before.frames_released_by_commit,
            "differences": {each.reason: each.count for each in after.differences},
            "checkpoint_ms": {key: round(control.milliseconds(getattr(after.checkpoint, key)), 1) for key in ("p50", "max")},
            "standby_gap_ms": _gap(standby)}
    story.step(f"{mode}: {figures}")
    return figures


def _gap(standby):
    """The mean of the standby's gaps, from its suspend until it ran again with its network, and of their parts."""
    gaps = standby.gaps
    return {"count": gaps.count, **{field.name: round(control.milliseconds(value) / max(gaps.count, 1), 1)
                                    for field, value in gaps.sum.ListFields()}}


def _line(status):
    held = status.egress.vifs[0].time_held
    said = f"held for {control.milliseconds(held.p50):.0f} ms (p50), checkpoint {status.committed_epoch}"
    lockstep = status.lockstep
    if not lockstep.runs:
        return said
    return (f"{said}; {lockstep.runs} runs, {'in one now' if lockstep.running else 'none now'}; last difference: "
            f"{lockstep.last_difference or 'none'}")


def _together(rounds):
    """The first round's figures, with the medians of those that are compared."""

    def median(*path):
        values = []
        for each in rounds:
            for key in path:
                each = each[key]
            values.append(each)
        return statistics.median(values)

    return {**rounds[0], "rounds": len(rounds), "answers_per_second": median("answers_per_second"),
            "checkpoints_per_second": median("checkpoints_per_second"),
            "held_ms": {key: median("held_ms", key) for key in ("p50", "p99")},
            "rtt_ms": {key: median("rtt_ms", key) for key in ("p50", "p99")},
            "activation_ms": {key: median("activation_ms", key) for key in ("restore", "devices", "total")},
            "failover_ms": {key: median("failover_ms", key) for key in ("detect", "activate", "first_reply")}}


def compare(story, remus, colo):
    held = colo["held_ms"]["p50"] / remus["held_ms"]["p50"]
    # From the decision until the guest ran and was announced; `activate` has the control plane's call around it.
    takeover = colo["activation_ms"]["total"] / remus["activation_ms"]["total"]
    story.figures["ratios"] = {
        "held_p50": round(held, 3), "held_p99": round(colo["held_ms"]["p99"] / remus["held_ms"]["p99"], 3),
        "rtt_p50": round(colo["rtt_ms"]["p50"] / remus["rtt_ms"]["p50"], 3),
        "rtt_p99": round(colo["rtt_ms"]["p99"] / remus["rtt_ms"]["p99"], 3),
        "answers_per_second": round(colo["answers_per_second"] / remus["answers_per_second"], 3),
        "takeover": round(takeover, 3),
        "activate": round(colo["failover_ms"]["activate"] / remus["failover_ms"]["activate"], 3)}
    story.step(f"COLO's to Remus mode's: {story.figures['ratios']}")
    story.check(held <= HELD_AT_MOST, f"half of the packets are held for {held:.2f} of Remus mode's time")
    story.check(takeover <= TAKEOVER_AT_MOST, f"the takeover takes {takeover:.2f} of Remus mode's time")
