"""What a host holds that protection could leave behind: taken before and after, the two must be the same."""

import re
import time

# Few processes: each costs an emulated host a tenth of a second.
_LOOK = r"""
echo "== domains"; xl list
echo "== links"; ls /sys/class/net
echo "== qdiscs and filters"; tc qdisc
for link in $(tc qdisc | sed -n 's/^qdisc \(ingress\|clsact\) .* dev \([^ ]*\) .*/\2/p'); do
  tc filter show dev $link ingress; tc filter show dev $link egress
done
echo "== xenstore"; xenstore-ls -f
echo "== helpers"; pidof romulus-save-helper romulus-restore-helper libxl-save-helper
echo "== log-dirty domains"; xl dmesg -c >/dev/null; xl debug-keys q; xl dmesg
echo "== shared memory"; ls /dev/shm /var/lib/xen
"""

# What a network card has when nobody asked for anything.
_PLAIN_QDISCS = ("noqueue", "pfifo_fast", "fq_codel", "mq")

# Host-wide containers, which the first domain ever makes and libxl may or may not clear away with the last; and what a
# guest keeps of its first protection for the next ones (common/attachments/suspend_port.h).
_IGNORED_NODES = re.compile(r"/(libxl|vm|local/domain/0/backend(/[a-z]+)?|libxl/\d+/romulus(/suspend-port)?)$")


def take(host):
    """{kind: set of lines}."""
    kinds = {}
    lines = None
    for line in host.out(_LOOK, timeout_s=180).splitlines():
        if line.startswith("== "):
            lines = kinds.setdefault(line[3:], [])
        else:
            lines.append(line.strip())
    kinds["domains"] = [" ".join(line.split()[:3]) for line in kinds["domains"][1:]]  # without state and time
    kinds["qdiscs and filters"] = [line for line in kinds["qdiscs and filters"]
                                   if not line.startswith(tuple(f"qdisc {each} " for each in _PLAIN_QDISCS))]
    nodes = (line.split(" = ", 1)[0] for line in kinds["xenstore"])
    kinds["xenstore"] = [node for node in nodes if not _IGNORED_NODES.match(node)]
    kinds["log-dirty domains"] = _log_dirty(kinds["log-dirty domains"])
    return {kind: set(lines) for kind, lines in kinds.items()}


def _log_dirty(lines):
    """The domains whose memory Xen tracks, from what its debug key q prints."""
    found = []
    domain = None
    for line in lines:
        if heading := re.search(r"General information for domain (\d+)", line):
            domain = heading.group(1)
        elif "paging assistance" in line and "log_dirty" in line:
            found.append(domain)
    return found


def difference(before, after):
    """What changed, in words; empty if nothing did."""
    texts = []
    for kind in before:
        appeared = sorted(after[kind] - before[kind])
        gone = sorted(before[kind] - after[kind])
        if appeared:
            texts.append(f"{kind} left behind: {', '.join(appeared)}")
        if gone:
            texts.append(f"{kind} missing: {', '.join(gone)}")
    return "; ".join(texts)


def check_same(story, before, hosts, timeout_s=120):
    """Fails unless each of `hosts` comes to hold what it held. `before`: {host name: its inventory}."""
    deadline = time.monotonic() + timeout_s
    for host in hosts:
        while changed := difference(before[host.name], take(host)):
            story.check(time.monotonic() < deadline, f"{host.name} is not as it was: {changed}")
            time.sleep(1)
