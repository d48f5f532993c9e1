"""What a host's processor and replication network have been used for, between two looks."""

import re

from . import host as hosts
from . import programs

PROGRAM = "//tests/lab/dom0:domain_times"
_DOM0 = 0
_TICKS_PER_SECOND = 100


class Look:
    """One look at `host`, which has the program (install())."""

    def __init__(self, host):
        card = hosts.CARDS["replication"]
        text = host.out(f"cat /sys/class/net/{card}/statistics/tx_bytes; "
                        f"cat /proc/[0-9]*/stat 2>/dev/null; /opt/romulus/bin/{programs.name(PROGRAM)}; true")
        lines = text.splitlines()
        self.sent_bytes = int(lines[0])
        self.processes = {}
        domains = {}
        for at, line in enumerate(lines[1:], 1):
            if "(" not in line:
                self.at_ns, *rows = lines[at:]
                domains = {int(domain): int(ns) for domain, ns in (row.split() for row in rows)}
                break
            pid, name, rest = re.fullmatch(r"(\d+) \((.*)\) (.*)", line).groups()
            fields = rest.split()
            self.processes[(int(pid), name)] = int(fields[11]) + int(fields[12])
        self.at_ns = int(self.at_ns)
        self.domains_ns = domains


def install(host, built):
    host.install([built[PROGRAM]])


class Between:
    """What happened from one Look to a later one."""

    def __init__(self, before, after):
        self.seconds = (after.at_ns - before.at_ns) / 1e9
        self.sent_bytes = after.sent_bytes - before.sent_bytes
        self.dom0_ms = (after.domains_ns[_DOM0] - before.domains_ns[_DOM0]) / 1e6
        self._processes_ms = {}
        for key, ticks in after.processes.items():
            used = (ticks - before.processes.get(key, 0)) * 1000 / _TICKS_PER_SECOND
            if used:
                self._processes_ms[key[1]] = self._processes_ms.get(key[1], 0) + used

    def processes_ms(self, names):
        """Of the processes with these names. The kernel of a PV dom0 counts time that the hypervisor gave to others as
        theirs: so each gets its share of what the hypervisor says that dom0 had."""
        kept = {each[:15] for each in names}  # that many characters the kernel keeps
        everything = sum(self._processes_ms.values())
        share = min(1.0, self.dom0_ms / everything) if everything else 1.0
        return share * sum(ms for name, ms in self._processes_ms.items() if name in kept)
