"""How much memory the agents and their helpers have, looked at again and again, and whether it grows."""

from . import pause_watch

_FIELDS = ("Pss", "Anonymous")


def look(host, names):
    """{(name, pid): {"Pss": KiB, "Anonymous": KiB}} of the processes with these names on `host`, and under
    ("dom0", 0) what the whole of dom0 has in use: {"Used": KiB}."""
    program = " ".join(names)
    text = host.out(
        f"for name in {program}; do for pid in $(pidof $name); do echo $name $pid "
        f"$(awk '/^Pss:/ {{ pss = $2 }} /^Anonymous:/ {{ anonymous = $2 }} END {{ print pss, anonymous }}' "
        "/proc/$pid/smaps_rollup); done; done; "
        "awk '/^MemTotal:/ { total = $2 } /^MemAvailable:/ { print \"dom0 0\", total - $2 }' /proc/meminfo")
    found = {}
    for row in text.splitlines():
        name, pid, *numbers = row.split()
        fields = ("Used",) if name == "dom0" else _FIELDS
        found[(name, int(pid))] = dict(zip(fields, map(int, numbers)))
    return found


class History:
    """Looks at several hosts. `names`: {host: the programs that are to be looked at}."""

    def __init__(self, names):
        self._names = names
        self.looks = []

    def look(self):
        self.looks.append({(host.name, *process): values for host, names in self._names.items()
                           for process, values in look(host, names).items()})

    def changes(self):
        """Processes that were not there in every look: {(host, name, pid)}."""
        return set().union(*self.looks) - set.intersection(*map(set, self.looks))

    def growth(self):
        """{(host, name, pid, field): (median of the second quarter, of the last)}, in KiB. The first quarter is left
        out: pools and caches fill."""
        quarter = len(self.looks) // 4
        second, last = self.looks[quarter:2 * quarter], self.looks[-quarter:]
        found = {}
        for process in set.intersection(*map(set, self.looks)):
            for field in self.looks[0][process]:
                found[(*process, field)] = tuple(pause_watch.quantile([each[process][field] for each in looks], 0.5)
                                                 for looks in (second, last))
        return found
