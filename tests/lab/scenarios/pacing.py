"""Pacing goals, set while a guest is protected: the interval follows, the status says what binds, and nothing is lost."""

from lab import control, epoch_trace, metrics, protected_pair

INTERVAL_MS = 400
# From one epoch to the next the interval grows by an eighth at most: time to get where it shall be, and some to look.
SETTLE = 15
LOOK = 25
# A busy machine takes seconds for an epoch.
PATIENCE_S = 900

# Under emulation a pause takes some hundred milliseconds: goals that hardware keeps with ease are out of reach. So they
# follow from what the fixed interval shows.
BREAKS = {
    "no-goal": "the goals are not sent: the interval stays, and the checks must fail",
}

_pb = control.protection_service_pb2


def run(story):
    settings = protected_pair.Settings(interval_ms=INTERVAL_MS, link_timeout_ms=10_000)
    with protected_pair.agents_up(story, settings) as pair:
        client = pair.lab.start_client(tcp=2, udp=1, rate=20)
        client.wait_connected()
        pair.protect()
        with epoch_trace.follow(pair) as trace:
            pair.wait_more_checkpoints(SETTLE + LOOK, timeout_s=PATIENCE_S)
            fixed = pair.protection().status
            _say(story, trace, "fixed", fixed)
            story.check(fixed.pacing.bound == _pb.FIXED_INTERVAL and
                        control.milliseconds(fixed.pacing.interval) == INTERVAL_MS, f"fixed: {fixed.pacing}")
            share = _pause_share(trace)
            _parts_make_the_pause(story, trace)

            # Half as much paused takes longer intervals; output that waits half as long, shorter ones.
            long = _pace(story, pair, trace, "pause_share", pause_share=share / 2, interval_max=control.duration(5000))
            story.check(long.bound == _pb.PAUSE_SHARE_GOAL, f"what binds is not the pause share: {long}")
            story.check(control.milliseconds(long.interval) > 1.4 * INTERVAL_MS,
                        f"half the pause share ({share:.2f}) takes longer intervals: {long}")
            story.check(_pause_share(trace) < 0.75 * share,
                        f"the guest was paused for {share:.2f} before, now for {_pause_share(trace):.2f}")

            delay = control.milliseconds(fixed.output_delay.p50)
            short = _pace(story, pair, trace, "output_delay", output_delay_p99=control.duration(delay))
            story.check(short.bound in (_pb.OUTPUT_DELAY_GOAL, _pb.FLOOR), f"what binds is not the delay: {short}")
            story.check(control.milliseconds(short.interval) < INTERVAL_MS,
                        f"a p99 of what was the median ({delay:.0f} ms) takes shorter intervals: {short}")
            story.check(trace.missed == 0 and not trace.gaps(), f"missed {trace.missed}, gaps {trace.gaps()}")

            read = metrics.read(pair.lab.alpha, metrics.PRIMARY_PORT)
            bound = _pb.PacingBound.Name(pair.protection().status.pacing.bound)
            story.check(read[("romulus_pacing_bound", "bound", bound, "protection", protected_pair.ID)] == 1,
                        f"metrics: {bound}, {read}")

        client.fall_silent()
        verdict = client.stop()
        story.figures["client"] = verdict
        story.check(verdict["ok"], verdict["why"])


def _pace(story, pair, trace, name, **goal):
    """Sets the goal; the pacing's status when the interval has followed."""
    asked = _pb.UpdateProtectionRequest(request_id=f"pace-{name}")
    asked.protection.name = pair.name
    asked.protection.generation = pair.generation
    asked.update_mask.paths.append("settings.pacing_goal")
    if story.broken != "no-goal":
        asked.protection.settings.pacing_goal.CopyFrom(_pb.PacingGoal(**goal))
    pair.primary.control.protections.UpdateProtection(asked)
    first = len(trace.epochs)
    pair.wait_more_checkpoints(SETTLE + LOOK, timeout_s=PATIENCE_S)
    status = pair.protection().status
    _say(story, trace, name, status, first)
    return status.pacing


def _pause_share(trace):
    """Of the last epochs."""
    paused = sum(control.milliseconds(each.pause) for each in trace.epochs[-LOOK:])
    lasted = sum(control.milliseconds(part) for each in trace.epochs[-LOOK:]
                 for part in (each.ran, each.pause_parts.acknowledge, each.pause_parts.suspend))
    return paused / lasted


def _say(story, trace, name, status, first=0):
    pacing = status.pacing
    story.figures[name] = {
        "interval_ms": control.milliseconds(pacing.interval), "bound": _pb.PacingBound.Name(pacing.bound),
        "missed": [_pb.PacingBound.Name(each) for each in pacing.missed], "pause_share": round(pacing.pause_share, 3),
        "epochs": trace.spreads(first)}
    story.step(f"{name}: {story.figures[name]['interval_ms']:.0f} ms, {story.figures[name]['bound']}, paused for "
               f"{pacing.pause_share:.2f}, missed {story.figures[name]['missed']}\n{trace.summary(first)}")


def _parts_make_the_pause(story, trace):
    for epoch in trace.epochs:
        parts = epoch.pause_parts
        inside = sum(control.milliseconds(getattr(parts, name)) for name in
                     ("acknowledge", "suspend", "dirty_bitmap", "page_copy", "vcpu_state", "permit_wait", "resume"))
        pause = control.milliseconds(epoch.pause)
        story.check(inside <= pause + 0.1, f"the parts are {inside} ms: {epoch_trace.line(epoch)}")
        story.check(inside >= 0.8 * pause - 5, f"the parts are but {inside} ms: {epoch_trace.line(epoch)}")
        story.check(epoch.bytes > 0 and epoch.wire_bytes > 0 and epoch.dirty_pages > 0, epoch_trace.line(epoch))
