"""How much memory the agents and their helpers have, looked at again and again, and whether it grows."""

import collections

from . import pause_watch

# `what`: "Pss" or "Anonymous" of a process, "Used" of the whole of a dom0, whose program is "dom0".
Subject = collections.namedtuple("Subject", "host program pid what")

_DOM0 = "dom0"


class History:
    """Looks at the processes that run when it is made. `names`: {host: the programs that are to be looked at}."""

    def __init__(self, names):
        self._programs = {}  # {host: {pid: program}}
        for host, programs in names.items():
            self._programs[host] = {int(pid): program for program in programs
                                    for pid in host.sh(f"pidof {program}", check=False).stdout.split()}
        self.looks = []  # {Subject: KiB}

    def look(self):
        self.looks.append({subject: kib for host in self._programs for subject, kib in self._look(host)})

    def _look(self, host):
        # One process: each costs the emulated host some milliseconds.
        files = " ".join(f"/proc/{pid}/smaps_rollup" for pid in self._programs[host])
        text = host.sh(f"grep -HE '^(Pss|Anonymous|MemTotal|MemAvailable):' {files} /proc/meminfo", check=False).stdout
        total = 0
        for row in text.splitlines():
            file, what, kib = row.split(":")
            kib = int(kib.split()[0])
            if what == "MemTotal":
                total = kib
            elif what == "MemAvailable":
                yield Subject(host.name, _DOM0, 0, "Used"), total - kib
            else:
                pid = int(file.split("/")[2])
                yield Subject(host.name, self._programs[host][pid], pid, what), kib

    def gone(self):
        """The processes that ended meanwhile."""
        return sorted({subject[:3] for subject in set(self.looks[0]) - set(self.looks[-1])})

    def growth(self):
        """{Subject: (median of the second quarter, of the last)}, in KiB, of those that are still there. The first quarter
        is left out: pools and caches fill."""
        quarter = len(self.looks) // 4
        second, last = self.looks[quarter:2 * quarter], self.looks[-quarter:]
        return {subject: tuple(pause_watch.quantile([each[subject] for each in looks], 0.5) for looks in (second, last))
                for subject in sorted(self.looks[-1])}
