"""What can't work is refused with words that say why and what to do, and leaves both hosts as they were."""

import time

from lab import agents, binaries, control, inventory, protected_pair
from lab.story import Failed
from lab.stranger import (ABSURD_RECORD, DOMAIN_HEADER, IMAGE_HEADER, RECORD, Stranger, data, trailer)

# Not what is shown here: long enough for emulated hosts on a busy machine.
LINK_TIMEOUT_MS = 8000
BREAKS = {"forgotten-domain": "a domain stays on beta that nobody asked for: the look at the hosts must see it"}
PV_GUEST = """name = "oldtimer"
type = "pv"
kernel = "/opt/lab/vmlinux"
memory = 96
"""
FILLER = """name = "filler"
type = "pvh"
kernel = "/opt/lab/vmlinux"
memory = {mib}
"""


def run(story):
    with protected_pair.agents_up(story, protected_pair.Settings(link_timeout_ms=LINK_TIMEOUT_MS)) as pair:
        hosts = pair.lab.hosts.values()
        before = {each.name: inventory.take(each) for each in hosts}
        cases = Cases(story, pair, before)
        if story.broken == "forgotten-domain":
            pair.lab.beta.put("/etc/xen/filler.cfg", FILLER.format(mib=32).encode())
            pair.lab.beta.sh("xl create -p /etc/xen/filler.cfg", timeout_s=120)
        wrong_domains(cases)
        wrong_secondaries(cases)
        no_memory(cases)
        no_kernel_module(cases)
        no_privilege(cases)
        unfit_hosts(cases)
        hostile_peers(cases)

        story.figures["refusals"] = cases.texts
        story.check(not cases.wrong, "; ".join(cases.wrong))
        story.step(f"{len(cases.texts)} refusals; and now one that works")
        pair.protect()
        pair.delete()
        inventory.check_same(story, before, hosts)


class Cases:
    def __init__(self, story, pair, before):
        self.story = story
        self.pair = pair
        self.before = before
        self.texts = {}
        self.wrong = []

    def check(self, condition, why):
        """As story.check, but goes on: one run tells of everything that is wrong."""
        if not condition:
            self.story.step(f"WRONG: {why}")
            self.wrong.append(why)

    def refused(self, name, code, words, **fields):
        """CreateProtection with these fields ends with this code and all of the words."""
        started = time.monotonic()
        try:
            self.pair.create(**fields)
        except control.RpcError as error:
            self.ended(name, error.code().name, error.details(), code, words, time.monotonic() - started)
        else:
            self.check(False, f"{name}: was protected")
        self.check(not self.pair.protections(), f"{name}: a protection is left")

    def ended(self, name, got, text, code, words, took_s=0):
        self.story.step(f"{name}: {got}: {text}" + (f" ({took_s:.1f} s)" if took_s > 1 else ""))
        self.texts[name] = f"{got}: {text}"
        self.check(got == code, f"{name}: {got} instead of {code}: {text}")
        for word in words:
            self.check(word in text, f"{name}: no word of '{word}' in: {text}")

    def as_before(self, name):
        try:
            inventory.check_same(self.story, self.before, self.pair.lab.hosts.values())
        except Failed as failure:
            self.check(False, f"after {name}: {failure}")


def wrong_domains(cases):
    alpha = cases.pair.lab.alpha
    cases.refused("unknown domain", "NOT_FOUND", ["nobody"], domain="nobody")
    cases.refused("no domain", "INVALID_ARGUMENT", ["domain"], domain="")
    alpha.put("/etc/xen/oldtimer.cfg", PV_GUEST.encode())
    alpha.sh("xl create -p /etc/xen/oldtimer.cfg", timeout_s=120)
    cases.refused("PV domain", "FAILED_PRECONDITION", ["PV", "shadow paging", 'type="pvh"'], domain="oldtimer")
    alpha.sh("xl destroy oldtimer")
    cases.as_before("wrong domains")


def wrong_secondaries(cases):
    lab = cases.pair.lab
    there = lab.beta.replication_address
    cases.refused("no address", "INVALID_ARGUMENT", ["secondary_address"], secondary_address="beta")
    cases.refused("nothing listens", "UNAVAILABLE", [f"{there}:9"], secondary_address=f"{there}:9")
    cases.refused("no such agent", "FAILED_PRECONDITION", ["no romulus-secondary"],
                  secondary_address=f"{lab.beta.address}:{agents.SECONDARY_CONTROL_PORT}")
    lab.alpha.set_link("replication", "silent")
    cases.refused("silent host", "UNAVAILABLE", [there])
    lab.alpha.set_link("replication", "on")
    cases.as_before("wrong secondaries")


def no_memory(cases):
    beta = cases.pair.lab.beta
    free_mib = int(beta.out("xl info free_memory"))
    beta.put("/etc/xen/filler.cfg", FILLER.format(mib=free_mib - 70).encode())
    beta.sh("xl create -p /etc/xen/filler.cfg", timeout_s=300)
    cases.refused("no memory", "RESOURCE_EXHAUSTED", ["MiB", "free"])
    beta.sh("xl destroy filler")
    cases.as_before("no memory")


def no_kernel_module(cases):
    pair = cases.pair
    alpha = pair.lab.alpha
    # Without a modprobe the kernel can't load it by itself.
    modprobe = alpha.out("cat /proc/sys/kernel/modprobe")
    alpha.sh("rmmod sch_plug; echo /bin/false >/proc/sys/kernel/modprobe")
    found = pair.primary.control.hosts.CheckReadiness(control.host_service_pb2.CheckReadinessRequest(), timeout=20)
    missing = [each for each in found.checks if not each.holds]
    cases.story.step(f"readiness without sch_plug: {[f'{each.name}: {each.finding}; {each.remedy}' for each in missing]}")
    cases.check(not found.ready and ["sch_plug" in each.name and "modprobe" in each.remedy for each in missing] ==
                      [True], f"CheckReadiness says {found}")
    cases.refused("no sch_plug", "FAILED_PRECONDITION", ["sch_plug", "modprobe"])
    alpha.sh(f"echo {modprobe} >/proc/sys/kernel/modprobe; modprobe sch_plug")
    found = pair.primary.control.hosts.CheckReadiness(control.host_service_pb2.CheckReadinessRequest(), timeout=20)
    cases.check(found.ready, f"not ready with all there: {found}")
    cases.as_before("no kernel module")


def no_privilege(cases):
    lab = cases.pair.lab
    as_user = binaries.build("as_user").read_bytes()
    for host, program in ((lab.alpha, "romulus-primary"), (lab.beta, "romulus-secondary")):
        host.put("/opt/lab/as_user", as_user, mode="755")
        host.sh("mkdir -p /run/nobody && chown 65534 /run/nobody && chmod 755 /opt/romulus /opt/romulus/bin")
        ended = host.sh(f"/opt/lab/as_user 65534 /opt/romulus/bin/{program} --control_address=127.0.0.1:7999 "
                        "--state_dir=/run/nobody", timeout_s=20, check=False)
        cases.ended(f"{program} without privilege", f"exit {ended.status}", ended.stderr.strip(), "exit 1", ["root"])
    cases.as_before("no privilege")


def stranger(cases):
    host = cases.pair.secondary.control.hosts.GetHost(control.host_service_pb2.GetHostRequest(), timeout=20)
    return Stranger(cases.pair.lab, host.compatibility)


def unfit_hosts(cases):
    cases.peer = stranger(cases)
    words = list(cases.peer.compatibility().cpu_feature_words)
    more = [word | 0xFF for word in words]
    for name, changes, said in (
            ("newer Xen", {"xen_minor": 99}, ["4.99", "older"]),
            ("other processor", {"cpu_vendor": "GenuineIntel" if "AMD" in cases.peer.compatibility().cpu_vendor
                                 else "AuthenticAMD"}, ["GenuineIntel", "AuthenticAMD"]),
            ("more features", {"cpu_feature_words": more}, ["features", "*32+"])):
        code, text = cases.peer.say([cases.peer.opening(primary_host=cases.peer.compatibility(**changes))])
        cases.ended(name, code, text, "FAILED_PRECONDITION", said)
    code, text = cases.peer.say([cases.peer.opening(stream_mode=control.replication_pb2.COLO)])
    cases.ended("COLO", code, text, "FAILED_PRECONDITION", ["stream mode"])
    cases.as_before("unfit hosts")


def hostile_peers(cases):
    peer = cases.peer
    head = IMAGE_HEADER + DOMAIN_HEADER
    opened = [peer.opening()]
    invalid = "INVALID_ARGUMENT"
    heartbeat = control.replication_pb2.PrimaryMessage(generation=1, heartbeat=control.replication_pb2.Heartbeat())
    anonymous = peer.opening()
    anonymous.generation = 0
    for name, first, then, code, said in (
            ("wrong first message", [heartbeat], [], invalid, ["OpenSession"]),
            ("no generation", [anonymous], [], invalid, ["generation"]),
            ("malformed message", [b"\xff\xff\xff\xff"], [], invalid, ["could not be read"]),
            ("oversize first message", [b"\x0a" + b"x" * (8 << 20)], [], "RESOURCE_EXHAUSTED", ["larger than max"]),
            ("nonsense for a name", [peer.opening(protection="../../etc/passwd")], [], invalid, ["protection"]),
            ("path for an id", [peer.opening(protection="protections/../../x")], [], invalid, ["id"]),
            ("no times", [peer.opening(link_timeout_ms=0)], [], invalid, ["link_timeout_ms"]),
            ("OpenSession twice", opened, opened, invalid, ["twice"]),
            ("no stream at all", opened, [data(b"This is not Xen's migration stream." * 9)], invalid, ["checkpoint 1", "at byte"]),
            ("absurd record", opened, [data(head + ABSURD_RECORD)], invalid, ["checkpoint 1", "at byte"]),
            ("oversize chunk", opened, [data(bytes(8 << 20))], "RESOURCE_EXHAUSTED", ["larger than max"]),
            ("a gap", opened, [data(head), data(RECORD, offset=len(head) + 8)], invalid, ["expected byte"]),
            ("epoch 2 first", opened, [data(head, epoch=2)], invalid, ["out of order"]),
            ("trailer within a record", opened, [data(head + RECORD[:20]), trailer(len(head) + 20)], None, [])):
        got, text = peer.say(first, then)
        cases.ended(name, got, text, code or got, said)
        cases.check(got not in ("OK", "DEADLINE_EXCEEDED", "UNKNOWN"), f"{name}: {got}")
    cases.as_before("hostile peers")

    stream = head + RECORD + RECORD
    for cut in (10, len(IMAGE_HEADER), len(head), len(head) + 4, len(head) + 20, len(head) + len(RECORD)):
        got, text = peer.say(opened, [data(stream[:cut])], hang_up=True)
        cases.ended(f"a stream cut after {cut} bytes", got, text, invalid, ["StopSession"])
        left = cases.pair.standbys()
        phases = {protected_pair.standby_phase_name(each.phase) for each in left}
        cases.check(phases <= {"STANDBY_FAILED"}, f"cut after {cut} bytes: the standby is {left}")
    cases.as_before("cut streams")
    cases.check(cases.pair.secondary.running(), "beta's agent is gone")
