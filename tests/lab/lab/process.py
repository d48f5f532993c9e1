"""Processes that outlive their starter: known by pid and start time, so that a reused pid is never taken for ours."""

import ctypes
import os
import signal
import time

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent():
    """For preexec_fn: a driver that is killed must not leave machines behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start_time(pid):
    """The kernel's start time of a live process, or None if it is gone (or only waits to be reaped)."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        # The first thread of a killed process may be a zombie while others still hold its files, taps among them.
        gone = fields[0] in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if gone else int(fields[19])


class Process:
    def __init__(self, pid, started):
        self.pid = pid
        self.started = started

    @classmethod
    def of(cls, pid):
        return cls(pid, start_time(pid))

    def alive(self):
        return self.started is not None and start_time(self.pid) == self.started

    def kill(self, number=signal.SIGKILL, wait_s=10):
        """Sends the signal and waits for the end. Returns whether it ended."""
        if self.alive():
            os.kill(self.pid, number)
        deadline = time.monotonic() + wait_s
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        return not self.alive()
