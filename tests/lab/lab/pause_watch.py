"""A guest's suspends, measured from outside by dom0/pause_watch.cc: the same measure for whoever asks for them."""

import time

from . import programs

PROGRAM = "//tests/lab/dom0:pause_watch"


def quantile(values, which):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(which * len(ordered)))] if ordered else None


def spread(values, digits=1):
    """{"p50", "p99", "max"}; None where there are no values."""
    found = {"p50": quantile(values, 0.5), "p99": quantile(values, 0.99), "max": max(values, default=None)}
    return {key: None if value is None else round(value, digits) for key, value in found.items()}


class PauseWatch:
    """From its creation on; of one domain of `host`. `built`: what programs.build([PROGRAM]) gave, or more."""

    def __init__(self, host, domain_id, built):
        self._host = host
        self._log = f"/opt/romulus/log/{programs.name(PROGRAM)}-{domain_id}.log"
        host.install([built[PROGRAM]])
        self._pid = host.start_daemon(f"{programs.name(PROGRAM)}-{domain_id}",
                                      f"/opt/romulus/bin/{programs.name(PROGRAM)} {domain_id}")

    def count(self):
        """How many have ended; some may not be counted yet."""
        return int(self._host.out(f"wc -l <{self._log}"))

    def wait_more(self, count, timeout_s=300):
        """Waits until so many more than now have ended."""
        aim = self.count() + count
        deadline = time.monotonic() + timeout_s
        while self.count() < aim:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not {count} suspends in {timeout_s} s: {self._host.get(self._log)[-500:]}")
            time.sleep(1)  # each look costs the emulated host some 50 ms

    def pauses_ms(self, begun_ns, ended_ns):
        """How long each took that ended between these moments of dom0's monotonic clock: from the request to the guest's
        running again."""
        time.sleep(1.5)  # it writes in batches
        rows = [[int(each) for each in line.split()] for line in self._host.get(self._log).splitlines()]
        return [row[2] / 1000 for row in rows if begun_ns <= row[0] * 1000 < ended_ns]

    def stop(self):
        self._host.sh(f"kill {self._pid}")
