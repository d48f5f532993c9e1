"""One Xen host: a QEMU machine that runs Debian's hypervisor and dom0, started afresh or from a snapshot."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import time

from . import command, network, process, qmp, shell

MEMORY_MIB = 1536

# eager-fpu is essential: QEMU's XSAVE ignores lazy FPU switching, and dom0's memory copies turn to garbage without it.
XEN_ARGUMENTS = (
    "com1=115200,8n1 console=com1 loglvl=warning guest_loglvl=warning dom0_mem=832M,max:832M dom0_max_vcpus=1 "
    "spec-ctrl=no,eager-fpu xpti=0 pv-l1tf=0 smep=0 smap=0 pcid=0 noreboot cpufreq=none watchdog=0"
)
DOM0_ARGUMENTS = "console=hvc0 quiet mitigations=off rdinit=/init net.ifnames=0"

# The card of each network in dom0, in the order in which QEMU gets them.
CARDS = {name: f"eth{index}" for index, name in enumerate(network.NETWORKS)}

# Where x86-64 Xen and Linux are linked to.
_XEN_CODE = 0xffff82d040000000
_LINUX_CODE = 0xffffffff80000000


def machine_arguments(name, images):
    """QEMU's arguments that a snapshot depends on: the same for making it and for starting from it."""
    dom0 = f"{images.kernel} {DOM0_ARGUMENTS} lab.host={name} lab.index={network.HOST_INDEX[name]}"
    arguments = [
        "qemu-system-x86_64", "-M", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1",
        "-m", str(MEMORY_MIB), "-nodefaults", "-vga", "none", "-display", "none", "-no-reboot",
        "-kernel", str(images.hypervisor), "-append", XEN_ARGUMENTS,
        "-initrd", f"{dom0.replace(',', ',,')},{images.dom0}",
    ]
    for each in network.NETWORKS:
        arguments += [
            "-netdev", f"tap,id={each},ifname={network.tap(name, each)},script=no,downscript=no,vhost=off",
            "-device", f"virtio-net-pci,id={each}-card,netdev={each},mac={network.mac(name, each)},romfile=",
        ]
    return arguments


class Host(shell.Shell):
    """A host of a running lab. Any process may hold a Host for it; `folder` has its files:
    monitor (QMP socket), serial.log (Xen's and dom0's console), qemu.log, process.json."""

    def __init__(self, name, folder, switch):
        super().__init__(name, network.address(name, "management"))
        self.folder = pathlib.Path(folder)
        self._switch = switch  # network.Network
        self.replication_address = network.address(name, "replication")

    # --- the machine ---

    def start(self, images, snapshot=None, detached=False):
        """Powers the machine on. From a snapshot it stands still: wait_loaded(), resume()."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "monitor").unlink(missing_ok=True)
        arguments = machine_arguments(self.name, images) + [
            "-serial", f"file:{self.folder}/serial.log",
            "-qmp", f"unix:{self.folder}/monitor,server=on,wait=off",
        ]
        if snapshot:
            arguments += ["-S", "-incoming", f"exec:cat {shlex.quote(str(snapshot))}"]
        with open(self.folder / "qemu.log", "w") as log:
            machine = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True,
                                       preexec_fn=None if detached else process.die_with_parent)
        self._child = machine  # kept, so that it is reaped
        self._process = process.Process.of(machine.pid)
        (self.folder / "process.json").write_text(
            json.dumps({"pid": machine.pid, "started": self._process.started}))

    @property
    def process(self):
        if getattr(self, "_process", None) is None:
            saved = json.loads((self.folder / "process.json").read_text())
            self._process = process.Process(saved["pid"], saved["started"])
        return self._process

    def powered(self):
        try:
            return self.process.alive()
        except FileNotFoundError:
            return False

    def monitor(self, command_name, /, **arguments):
        return qmp.execute(self.folder / "monitor", command_name, **arguments)

    def wait_loaded(self, timeout_s=180):
        """Waits until the snapshot that start() was given is in the machine's memory; resume() lets it go on."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if self.monitor("query-status")["status"] != "inmigrate":
                    break
            except (OSError, qmp.MonitorError):
                if not self.powered():
                    raise RuntimeError(f"{self.name}: QEMU ended: {self._qemu_log()}") from None
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: its snapshot did not load in {timeout_s} s")
            time.sleep(0.02)

    def stall_in_host_mode(self):
        """Stalls the host at a moment when its processor runs the hypervisor or dom0. What it would save while it runs
        an HVM or PVH guest, QEMU's emulation refuses to load again."""
        for _ in range(1000):
            self.stall()
            registers = self.monitor("human-monitor-command", **{"command-line": "info registers"})
            address = int(re.search(r"RIP=([0-9a-f]+)", registers).group(1), 16)
            privilege = int(re.search(r"CPL=(\d)", registers).group(1))
            # A PV dom0's kernel runs with user privilege; that of an HVM or PVH guest does not.
            if privilege == 0 and address >> 40 == _XEN_CODE >> 40 or privilege == 3 and address >= _LINUX_CODE:
                return
            self.resume()
            time.sleep(0.005)
        raise RuntimeError(f"{self.name}: never seen outside of its guests")

    def save_snapshot(self, path):
        """Stops the machine and writes its whole state to `path`."""
        self.stall_in_host_mode()
        self.monitor("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.monitor("migrate", uri=f"exec:cat > {shlex.quote(str(path))}")
        while (status := self.monitor("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled"):
                raise RuntimeError(f"{self.name}: QEMU could not save its state")
            time.sleep(0.05)

    def power_cut(self):
        """The host is gone at once, as if its power cable were pulled."""
        self.process.kill()

    def stall(self):
        """The host stands still, and its clocks with it, until resume()."""
        self.monitor("stop")

    def resume(self):
        self.monitor("cont")

    def set_link(self, which, state):
        """The cable of network `which`: "on", "off" (the card loses its carrier) or "silent" (the card sees nothing,
        its packets vanish at the switch, both ways)."""
        self._switch.plug(self.name, which, state != "silent")
        self.monitor("set_link", name=which, up=state != "off")

    def drop_incoming(self, which, drop=True):
        """One half of a partition: what network `which` brings is lost, what the host sends still leaves."""
        card = CARDS[which]
        if drop:
            self.sh(f"tc qdisc add dev {card} clsact && tc filter add dev {card} ingress matchall action drop")
        else:
            self.sh(f"tc qdisc del dev {card} clsact")

    def delay_outgoing(self, which, milliseconds):
        """Everything the host sends on network `which` leaves this much later; 0 ends it."""
        self.sh(f"tc qdisc del dev {CARDS[which]} root 2>/dev/null", check=False)
        if milliseconds:
            self.sh(f"tc qdisc add dev {CARDS[which]} root netem delay {milliseconds}ms limit 100000")

    def _qemu_log(self):
        return (self.folder / "qemu.log").read_text(errors="replace").strip()[-500:]

    # --- dom0 ---

    def wait_ready(self, timeout_s=600):
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if command.run(self.address, "test -e /run/lab-ready", timeout_s=5).status == 0:
                    return
            except command.CommandError:
                pass
            if not self.powered():
                raise RuntimeError(f"{self.name} ended while it booted: {self._qemu_log()}")
            if time.monotonic() > deadline:
                console = (self.folder / "serial.log").read_text(errors="replace")[-1500:]
                raise RuntimeError(f"{self.name} is not up after {timeout_s} s; its console ends:\n{console}")
            time.sleep(0.1)

    def set_clock(self):
        """dom0's clock stands at the snapshot's time until it is told."""
        self.wait_ready()
        self.sh(f"date -u -s @{time.time():.0f} >/dev/null")

    def domains(self):
        """{name: (id, state)} as `xl list` shows it, dom0 left out."""
        rows = [line.split() for line in self.out("xl list").splitlines()[2:]]
        return {row[0]: (int(row[1]), row[4]) for row in rows}
