"""What a host holds that protection could leave behind: taken before and after, the two must be the same."""

import re
import time

_LOOK = r"""
echo "== domains"; xl list | tail -n +2 | awk '{print $1, $2, $3}'
echo "== links"; ip -o link | sed 's/^[0-9]*: //; s/[:@].*//' | sort
echo "== qdiscs and filters"
for link in $(ls /sys/class/net); do
  tc qdisc show dev $link | grep -vE 'noqueue|pfifo_fast|fq_codel| mq ' | sed "s/ [0-9a-f]*: / /"
  for way in ingress egress; do tc filter show dev $link $way 2>/dev/null | sed "s/^/$link $way: /"; done
done
echo "== xenstore"; xenstore-ls -f | sed 's/ = .*//' | sort
echo "== helpers"; for pid in $(pidof romulus-save-helper romulus-restore-helper libxl-save-helper); do echo $pid; done
echo "== log-dirty domains"; xl dmesg -c >/dev/null; xl debug-keys q; xl dmesg
echo "== shared memory"; ls /dev/shm /var/lib/xen
"""

# Host-wide containers, which the first domain ever makes and libxl may or may not clear away with the last.
_IGNORED_NODES = re.compile(r"/(libxl|vm|local/domain/0/backend(/[a-z]+)?)$")


def take(host):
    """{kind: set of lines}."""
    kinds = {}
    lines = None
    for line in host.out(_LOOK, timeout_s=60).splitlines():
        if line.startswith("== "):
            lines = kinds.setdefault(line[3:], [])
        else:
            lines.append(line.strip())
    kinds["log-dirty domains"] = _log_dirty(kinds["log-dirty domains"])
    return {kind: {line for line in lines if not _IGNORED_NODES.match(line)} for kind, lines in kinds.items()}


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


def check_same(story, before, hosts, timeout_s=10):
    """Fails unless each of `hosts` comes to hold what it held. `before`: {host name: its inventory}."""
    deadline = time.monotonic() + timeout_s
    for host in hosts:
        while changed := difference(before[host.name], take(host)):
            story.check(time.monotonic() < deadline, f"{host.name} is not as it was: {changed}")
            time.sleep(1)
