"""A guest floods a small egress buffer: early checkpoints spare it drops; the times held are those of the wire."""

import re
import time

from lab import control, echo_flood, protected_pair

BREAKS = {"no-pressure": "the agent that is to take early checkpoints is told not to"}

INTERVAL_MS = 16_000
BUFFER_BYTES = 128 << 10
# The buffer takes 3.6 seconds of this: an early checkpoint has half of that, and takes so long, emulated on a busy
# machine. The interval is far too long for it.
PER_SECOND = 40
ECHO_BYTES = 900
FLOOD_S = 64
# For the times held: so few that nothing presses.
QUIET_INTERVAL_MS = 1000
QUIET_PER_SECOND = 10
QUIET_S = 30
# The meter is accurate to a period of looking. That is 10 ms where looking is cheap; emulated, on a busy machine, it is
# not, and one packet in a hundred is one of three here.
HELD_TOLERANCE_MS = 60
HELD_TOLERANCE_SHARE = {"p50": 0.1, "p99": 0.25}
VIF = "vif-ledger"


def run(story):
    pressed = _flood(story, pressed=not story.broken)
    plain = _flood(story, pressed=False)
    story.figures.update(without_pressure=plain, with_pressure=pressed)
    story.check(plain["dropped"] > 200, f"the flood is too small to show anything: {plain}")
    story.check(plain["early_checkpoints"] == 0, f"early checkpoints where they are switched off: {plain}")
    story.check(pressed["early_checkpoints"] >= 5, f"there were no early checkpoints: {pressed}")
    # By what the client misses: while much is held, answers are also lost before they reach the buffer (in the guest,
    # most likely: what is on its way counts against its sockets' room).
    story.figures["loss_ratio"] = round(pressed["lost_share"] / plain["lost_share"], 3)
    story.figures["drop_ratio"] = round(pressed["dropped"] / plain["dropped"], 3)
    story.step(f"with pressure, {story.figures['loss_ratio']} of the losses without; of drops by the egress buffer, "
               f"{story.figures['drop_ratio']}")
    story.check(story.figures["loss_ratio"] < 0.5 and story.figures["drop_ratio"] < 0.8,
                f"early checkpoints spare few losses: {story.figures}")


def _flood(story, pressed):
    """One side: a fresh lab, a protection, a flood."""
    with protected_pair.agents_up(story, protected_pair.Settings(interval_ms=QUIET_INTERVAL_MS)) as pair:
        if not pressed:
            pair.primary.stop()
            pair.primary.start(prefix="sh -c 'exec \"$0\" \"$@\" --egress_high_water_percent=1000'")
        settings = pair.settings.message()
        settings.egress_buffer_bytes = BUFFER_BYTES
        pair.create(settings=settings)
        pair.wait_protected()
        if pressed:
            _check_times_held(story, pair)
        _set_interval(pair, INTERVAL_MS)

        story.step(f"flooding, output pressure {'on' if pressed else 'off'}")
        before = pair.protection().status
        flood = echo_flood.EchoFlood(pair.lab.network, PER_SECOND, ECHO_BYTES)
        time.sleep(FLOOD_S)
        echoes = flood.stop()
        after = pair.protection().status
        dropped = after.egress.dropped_packets - before.egress.dropped_packets
        unanswered = echoes["sent"] - echoes["answered"]
        figures = {**echoes, "lost_share": round(unanswered / echoes["sent"], 4), "dropped": dropped,
                   "checkpoints": after.checkpoints_committed - before.checkpoints_committed,
                   "early_checkpoints": after.egress.early_checkpoints - before.egress.early_checkpoints}
        story.step(f"{figures}")
        story.check(dropped <= unanswered + 10, f"{unanswered} echoes were not answered, and "
                    f"{dropped} packets are said to have been dropped")
        (vif,) = after.egress.vifs
        story.check(vif.vif == VIF and vif.limit_bytes == BUFFER_BYTES, f"the status says {vif}")
        if dropped:
            story.check(f"egress buffer of {VIF}" in pair.primary.log(), "the agent's log says nothing of drops")
        return figures


def _set_interval(pair, interval_ms):
    protection = pair.protection()
    protection.settings.interval.CopyFrom(control.duration(interval_ms))
    request = control.protection_service_pb2.UpdateProtectionRequest(protection=protection)
    request.update_mask.paths.append("settings.interval")
    pair.primary.control.protections.UpdateProtection(request, timeout=20)


def _check_times_held(story, pair):
    """What the agent says of the times held, against captures before and behind the buffer."""
    alpha = pair.lab.alpha
    story.step("watching packets before and behind the egress buffer")
    alpha.sh("grep -qs root /etc/passwd || echo 'root:x:0:0::/:/bin/sh' >>/etc/passwd")  # tcpdump asks for its user
    for device in (VIF, "eth0"):
        alpha.start_daemon(f"capture-{device}", f"tcpdump -Z root -tt -n -l -i {device} 'icmp[icmptype] == icmp-echoreply'")
    story.eventually(lambda: all("listening on" in alpha.log(f"capture-{device}") for device in (VIF, "eth0")),
                     "tcpdump does not start")
    flood = echo_flood.EchoFlood(pair.lab.network, QUIET_PER_SECOND, ECHO_BYTES)
    time.sleep(QUIET_S)
    flood.stop()
    came, left = (_replies(alpha.log(f"capture-{device}")) for device in (VIF, "eth0"))
    alpha.sh("killall tcpdump", check=False)
    times = sorted((left[number] - came[number]) * 1000 for number in came.keys() & left.keys())
    story.check(len(times) > QUIET_PER_SECOND * QUIET_S * 0.8, f"only {len(times)} replies were captured twice")
    held = pair.protection().status.egress.vifs[0].time_held
    figures = {}
    for name, said, share in (("p50", held.p50, 0.5), ("p99", held.p99, 0.99)):
        seen = times[min(len(times) - 1, int(len(times) * share))]
        figures[name] = {"said_ms": round(said.ToMilliseconds(), 1), "seen_ms": round(seen, 1)}
    story.figures["time_held"] = {**figures, "packets": len(times)}
    story.step(f"times held: {story.figures['time_held']}")
    for name, each in figures.items():
        story.check(abs(each["said_ms"] - each["seen_ms"]) <= HELD_TOLERANCE_MS + HELD_TOLERANCE_SHARE[name] * each["seen_ms"],
                    f"times held, {name}: {each}")


def _replies(log):
    """{sequence number: seconds} of tcpdump's lines."""
    found = {}
    for seconds, number in re.findall(r"^(\d+\.\d+) IP .* echo reply, id \d+, seq (\d+),", log, re.MULTILINE):
        found.setdefault(int(number), float(seconds))
    return found
