"""Stock `xl remus -n` from alpha to beta, measured: what Romulus is compared with.

-n because Debian's libxenlight has no network buffering: output is not held back, so what the client received in the
last epoch is expected to be forgotten. Its replication stream goes over plain TCP with the fastest keepalive that TCP
has, or a power cut would never be noticed.
"""

import re
import time

from . import command, progress

PORT = 8002
_WATCH_LOG = "/run/remus-epochs"


def _quantile(values, quantile):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else None


class XlRemus:
    """`xl remus` of the lab's guest. start(), wait_running(), measure(), then cut alpha's power."""

    def __init__(self, lab, guest, interval_ms):
        self._lab = lab
        self._guest = guest
        self._interval_ms = interval_ms

    def start(self, watched=False):
        """`watched`: somebody else watches the guest's suspends; then wait_running() needs his count, and measure() has
        nothing to go by."""
        if not watched:
            self._watch_suspends()
        # nofork: else socat kills the receiver with SIGTERM when the link dies, instead of letting it take over.
        self._lab.beta.start_daemon(
            "xl-receive", f"socat TCP-LISTEN:{PORT},reuseaddr,nodelay,keepalive,keepidle=1,keepintvl=1,keepcnt=2 "
                          "'EXEC:xl migrate-receive -r,nofork'")
        time.sleep(0.5)
        # -F -n -d: Debian's libxl can't buffer the network and there is no DRBD, so xl wants to hear that this is unsafe.
        # With an empty -s, xl takes the host argument for the shell command to talk to.
        sender = f"exec socat - TCP:{self._lab.beta.replication_address}:{PORT},nodelay"
        self._sender_pid = self._lab.alpha.start_daemon(
            "xl-remus", f"xl -v remus -F -n -d -i {self._interval_ms} -s '' {self._guest} '{sender}'")

    def _watch_suspends(self):
        domain_id = self._lab.alpha.domains()[self._guest][0]
        # Each checkpoint writes "suspend" here once; the shell notes when (EPOCHREALTIME costs no process).
        self._lab.alpha.put("/run/watch-epochs", (
            "#!/bin/bash\n"
            f"xenstore-watch /local/domain/{domain_id}/control/shutdown | while read -r _; do\n"
            f"  echo $EPOCHREALTIME; done >{_WATCH_LOG}\n").encode(), mode="755")
        self._lab.alpha.start_daemon("watch-epochs", "/run/watch-epochs")

    def wait_running(self, count_suspends=None, timeout_s=300):
        """Waits for the third checkpoint: the first carries what changed while the whole memory was copied.
        `count_suspends()`: how many there were ever, where it was started as watched."""
        if count_suspends is None:
            aim, count_suspends = 3, lambda: len(self._suspends())
        else:
            aim = 3 + count_suspends()
        deadline = time.monotonic() + timeout_s
        next_report = time.monotonic() + 10
        while count_suspends() < aim:
            if time.monotonic() > next_report:
                sent = int(self._lab.alpha.out("cat /sys/class/net/eth1/statistics/tx_bytes"))
                progress.say(f"xl remus: {sent >> 20} MiB sent")
                next_report += 10
            if time.monotonic() > deadline or self._sender_ended():
                raise RuntimeError("xl remus does not run:\n" + self._lab.alpha.log("xl-remus")[-1000:] +
                                   self._lab.beta.log("xl-receive")[-1000:])
            time.sleep(2)  # each look costs the emulated host some 50 ms

    def _sender_ended(self):
        return self._lab.alpha.sh(f"kill -0 {self._sender_pid}", check=False).status != 0

    def _suspends(self):
        """When each checkpoint asked the guest to suspend, in dom0's seconds.

        The node changes twice per checkpoint: written by xl, emptied by the guest within some 50 ms."""
        times = [float(line) for line in self._lab.alpha.sh(f"cat {_WATCH_LOG}", check=False).stdout.split()]
        return times[1::2]  # the first event is the watch's own

    def measure(self, seconds):
        """Lets it run and returns {"checkpoints", "checkpoints_per_second", "pause_ms", "pages_per_checkpoint"}.

        The pause is what a period takes beyond the interval that xl sleeps: suspend, copy, send and resume."""
        before = len(self._suspends())
        time.sleep(seconds)
        suspends = self._suspends()[before - 1:]
        if len(suspends) < 3:
            raise RuntimeError(f"xl remus made {len(suspends)} checkpoints in {seconds} s")
        periods_ms = [(after - first) * 1000 for first, after in zip(suspends, suspends[1:])]
        pauses_ms = [max(0.0, period - self._interval_ms) for period in periods_ms]
        pages = [int(count) for count in re.findall(r"Checkpointed save: (\d+)/\1 ", self._lab.alpha.log("xl-remus"))]
        return {
            "pages_per_checkpoint": {"p50": _quantile(pages[-len(periods_ms):], 0.5)},
            "checkpoints": len(periods_ms),
            "checkpoints_per_second": round(1000 * len(periods_ms) / sum(periods_ms), 3),
            "pause_ms": {"p50": round(_quantile(pauses_ms, 0.5), 1), "p99": round(_quantile(pauses_ms, 0.99), 1),
                         "max": round(max(pauses_ms), 1)},
        }

    def wait_taken_over(self, timeout_s=60):
        """Waits until beta runs the guest; returns the seconds that took."""
        started = time.monotonic()
        while time.monotonic() - started < timeout_s:
            try:
                states = [state for name, (_, state) in self._lab.beta.domains().items()
                          if re.fullmatch(f"{self._guest}(--incoming)?", name)]
                if any("p" not in state for state in states):
                    return time.monotonic() - started
            except command.CommandError:
                pass
            time.sleep(0.1)
        raise RuntimeError("beta did not take over:\n" + self._lab.beta.log("xl-receive")[-1000:])
