"""Xen's own remus-netbuf-setup chooses ifbs on a host, for made-up domains, while Romulus protects guests there: nobody
may ever get another's.

The pool is one device smaller than the domains that want one, so that somebody always looks for an ifb that is free,
and would take one that Romulus has made and not yet claimed.
"""

import collections
import re
import subprocess

from . import cache, images, xen_netbuf_script

_DOMAINS = (900, 901)
_POOL = ("ifb0",)
_CLAIMANT = "/opt/lab/ifb_claimant"
_STOP = "/run/ifb-contest-ends"
_STANDS_STILL_MOST_S = 60
_COMPILE = ["g++", "-std=gnu++20", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-s", "-static-libstdc++",
            "-static-libgcc"]

# Few processes: each costs an emulated host a tenth of a second. What belongs to Romulus stands still meanwhile.
_LOOK = """
xenstore-ls -f /libxl | sed -n 's,/libxl/\\(.*\\)/remus/netbuf/\\(.*\\)/ifb = "\\(.*\\)",claim \\1/\\2 \\3,p'
tc qdisc show | sed -n 's/^qdisc plug [^ ]* dev \\([^ ]*\\) .*/plug \\1/p'
for vif in $(ls /sys/class/net | grep ^vif); do
  tc filter show dev $vif ingress | sed -n "s/.*Redirect to device \\([^)]*\\)).*/redirect $vif \\1/p"
done
"""

State = collections.namedtuple("State", "claims plugs redirects")


class IfbContest:
    def __init__(self, host):
        self._host = host
        self._files = {}

    def start(self):
        host = self._host
        xen_netbuf_script.install(host)
        host.put(_CLAIMANT, (images.LAB / "dom0/ifb_claimant").read_bytes(), mode="755")
        host.sh(f"rm -f {_STOP}; " + "; ".join(f"ip link add {ifb} type ifb" for ifb in _POOL))
        for domid in _DOMAINS:
            name = f"ifb_claimant-{domid}"
            self._files[domid] = f"/opt/romulus/log/{name}.log"
            host.start_daemon(name, f"{_CLAIMANT} {domid} {_STOP}")

    def lines(self):
        return [line for file in self._files.values() for line in self._host.get(file).splitlines()]

    def check(self, story, vifs):
        """What must hold while Romulus protects a guest with these vifs."""
        state = self._look()
        for vif in vifs:
            story.check(len(state.redirects[vif]) == 1, f"{vif} is not redirected: {state}")
            (ifb,) = state.redirects[vif]
            others = [other for other, to in state.redirects.items() if other != vif and ifb in to]
            story.check(not others, f"{vif} shares {ifb} with {others}: {state}")
            story.check(ifb in state.plugs, f"{vif} is redirected to {ifb}, which has lost its plug: {state}")
            claims = [claim for claim, claimed in state.claims.items() if claimed == ifb]
            story.check(len(claims) == 1, f"{ifb} of {vif} is claimed by {claims or 'nobody'}: {state}")
        self._check_lines(story)

    def _look(self):
        state = State({}, set(), collections.defaultdict(list))
        for line in self._host.out(_LOOK, timeout_s=120).splitlines():
            kind, *words = line.split()
            if kind == "claim":
                state.claims[words[0]] = words[1]
            elif kind == "plug":
                state.plugs.add(words[0])
            else:
                state.redirects[words[0]].append(words[1])
        return state

    def _check_lines(self, story):
        for line in self.lines():
            if found := re.match(r"(held|none) (ifb\S+)", line):
                story.check(found.group(2) in _POOL, f"Xen's script chose {found.group(2)}, which Romulus had made")
            story.check(not line.startswith("disturbed"), f"of Xen's own buffer: {line}")

    def stop(self, story, timeout_s=300):
        """Ends the others; returns how often they had an ifb and how often they found none."""
        self._host.sh(f"touch {_STOP}")
        story.eventually(lambda: self.lines().count("ended") == len(_DOMAINS), "Xen's script does not end", timeout_s, 1)
        self._check_lines(story)
        self._host.sh("; ".join(f"ip link del {ifb}" for ifb in _POOL))
        lines = self.lines()
        return {"xen_had_one": sum(line.startswith("held") for line in lines),
                "xen_found_none": sum(line.startswith("none") for line in lines)}


def slow_start(agent, prefix=""):
    """Starts the agent so that it stands still after it has made a device, until others are about to choose one."""
    source = images.LAB / "dom0/slow_netlink.cc"

    def compile_into(folder):
        subprocess.run([*_COMPILE, "-o", folder / "slow_netlink.so", source], check=True)

    library = cache.built("slow-netlink", [" ".join(_COMPILE), source], compile_into) / "slow_netlink.so"
    agent.host.put("/opt/lab/slow_netlink.so", library.read_bytes())
    agent.start(f"{prefix} env LD_PRELOAD=/opt/lab/slow_netlink.so SLOW_NETLINK_S={_STANDS_STILL_MOST_S}")
