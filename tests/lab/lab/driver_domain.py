"""A driver domain on a lab host: a domU that serves vifs and disks to other guests, as `xl` creates it.

    driver = DriverDomain(lab.alpha, lab.network)
    driver.create()
    driver.sh("ip link")                    # as in a host's dom0
    worker = DeviceGuest(lab.alpha, driver)
    worker.create()                         # stock xl; its vif and its disk have their backends in the driver domain
    worker.wait_up()
    worker.use_devices()
"""

import hashlib
import os
import re
import time

from . import command, driver_images, shell

ADDRESS = "10.80.0.20"  # on dom0's bridge
BRIDGE = "backbr"  # for its guests: 10.83.0.0/24
BRIDGE_ADDRESS = "10.83.0.1"
GUEST_ADDRESS = "10.83.0.10"
_DESTROY_LOG = "/opt/romulus/log/xl-destroy.log"
HOTPLUG_LOG = "/var/log/xen/xen-hotplug.log"

# noearly: looking for AGP bridges that a PVH guest does not have takes an emulated one four seconds.
_EXTRA = "console=hvc0 quiet mitigations=off rdinit=/init net.ifnames=0 pci=noearly"
_DRIVER_CONFIG = f"""\
name = "driver"
type = "pvh"
kernel = "/opt/lab/vmlinux"
ramdisk = "/opt/lab/driver.cpio"
extra = "{_EXTRA} lab.address={ADDRESS}"
memory = 256
vcpus = 1
tsc_mode = "native"
driver_domain = 1
vif = ["mac=00:16:3e:80:00:20,bridge=xenbr0"]
"""

# What a driver domain holds that serving devices could leave behind. /proc/N/exe: kernel threads have none.
_LOOK = r"""
echo "== links"; ls /sys/class/net
echo "== loop devices"; cat /sys/block/loop*/loop/backing_file 2>/dev/null
echo "== xenstore"; self=/local/domain/$(xenstore-read domid)
xenstore-ls -f $self/backend 2>/dev/null; xenstore-ls -f $self/libxl; xenstore-ls -f $self/data
echo "== held locks"; for each in $(ls /run/xen-hotplug 2>/dev/null); do
  flock -n /run/xen-hotplug/$each true || echo $each; done
echo "== processes"; for each in /proc/[0-9]*/exe; do readlink $each; done | grep -v -e command_server -e busybox -e dash
"""


def _wait_answers(machine, timeout_s):
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if machine.sh("test -e /proc/uptime", timeout_s=5, check=False).status == 0:
                return
        except command.CommandError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


class DriverDomain(shell.Shell):
    """One per host. `host` runs it as the domain `driver`."""

    def __init__(self, host, network):
        super().__init__("driver domain", ADDRESS)
        self.host = host
        network.join_guest_network({"10.83.0.0/24": ADDRESS})

    def create(self):
        made = driver_images.driver_images()
        self.host.put("/opt/lab/driver.cpio", made.driver.read_bytes())
        self.host.put("/opt/lab/device_guest.cpio", made.guest.read_bytes())
        self.host.put("/etc/xen/driver.cfg", _DRIVER_CONFIG.encode())
        self.host.sh("xl create /etc/xen/driver.cfg", timeout_s=120)
        _wait_answers(self, 120)
        self.domid = int(self.out("xenstore-read domid"))
        self.add_bridge()

    def destroy(self):
        self.host.sh("xl destroy driver", timeout_s=120)

    def add_bridge(self):
        self.sh(f"ip link add {BRIDGE} type bridge forward_delay 0 stp_state 0 mcast_snooping 0 && "
                f"ip addr add {BRIDGE_ADDRESS}/24 dev {BRIDGE} && ip link set {BRIDGE} up")

    def remove_bridge(self):
        self.sh(f"ip link del {BRIDGE}")

    def inventory(self):
        """{kind: sorted list} of what serving devices could leave behind."""
        kinds = {}
        for line in self.out(_LOOK).splitlines():
            if line.startswith("== "):
                lines = kinds.setdefault(line[3:], [])
            elif line.strip():
                lines.append(line.strip())
        kinds["xenstore"] = [line.split(" = ", 1)[0] for line in kinds["xenstore"]]
        return {kind: sorted(lines) for kind, lines in kinds.items()}

    def wait_devices(self):
        """Waits, without a round trip, until the backend of a vif is described in its xenstore."""
        self.sh("until xenstore-exists backend/vif; do :; done", timeout_s=60)

    def release_loop_devices(self):
        self.sh("for each in $(cd /sys/block; ls -d loop*/loop 2>/dev/null); do losetup -d /dev/${each%/loop}; done",
                check=False)

    def read(self, path):
        """A node of its xenstore, by relative path; None if there is none."""
        result = self.sh(f"xenstore-read {path}", check=False)
        return result.stdout.rstrip("\n") if result.status == 0 else None


class DeviceGuest(shell.Shell):
    """A guest with a vif and a disk, both served by `driver`. Commands reach it through that vif."""

    def __init__(self, host, driver, name="worker", disk_format="raw", backend_type=None):
        super().__init__(name, GUEST_ADDRESS)
        self._host = host
        self._driver = driver
        self.image = f"/srv/disks/{name}.img"
        backend_type = f",backendtype={backend_type}" if backend_type else ""
        self._config = f"""\
name = "{name}"
type = "pvh"
kernel = "/opt/lab/vmlinux"
ramdisk = "/opt/lab/device_guest.cpio"
extra = "{_EXTRA} lab.address={GUEST_ADDRESS}"
memory = 96
vcpus = 1
tsc_mode = "native"
vif = ["mac=00:16:3e:83:00:10,backend=driver,bridge={BRIDGE}"]
disk = ["backend=driver,vdev=xvda,format={disk_format}{backend_type},target={self.image}"]
on_crash = "destroy"
"""
        self.domid = None

    def prepare(self):
        """Makes its disk, 4 MiB of noise, and its configuration."""
        self._content = os.urandom(4 << 20)
        self._driver.put(self.image, self._content)
        self._host.put(f"/etc/xen/{self.name}.cfg", self._config.encode())

    def create(self):
        """Returns what xl had to say."""
        said = self._host.sh(f"xl create /etc/xen/{self.name}.cfg", timeout_s=120)
        self.domid = self._host.domains()[self.name][0]
        return said.stderr

    def start_create(self):
        """Begins to create it; created() says when that has ended."""
        self._xl = self._host.start_daemon("xl-create", f"xl create /etc/xen/{self.name}.cfg")

    def created(self):
        if self._host.sh(f"kill -0 {self._xl}", check=False).status == 0:
            return False
        self.domid = self._host.domains()[self.name][0]
        return True

    def destroy(self):
        self._host.sh(f"xl destroy {self.name} 2>>{_DESTROY_LOG}", timeout_s=120)

    def start_destroy(self):
        self._host.start_daemon("xl-destroy", f"xl destroy {self.name}")

    def xl_gave_up(self):
        """Whether xl has waited for the driver domain in vain since the last time: for 10 s, then it removes the
        devices' nodes by itself."""
        said = self._host.sh(f"cat {_DESTROY_LOG}; : >{_DESTROY_LOG}", check=False).stdout
        return "timed out while waiting for" in said

    def vif(self):
        return f"backend/vif/{self.domid}/0"

    def vbd(self):
        return f"backend/vbd/{self.domid}/51712"

    def wait_up(self, timeout_s=120):
        _wait_answers(self, timeout_s)

    def use_devices(self):
        """Sends commands over the vif that read the disk and write to it. Returns what is wrong, or ""."""
        part = 64 << 10
        begin = (int.from_bytes(os.urandom(1), "little") % 60) * part
        wanted = hashlib.sha256(self._content[begin:begin + part]).hexdigest()
        got = self.out(f"echo 3 >/proc/sys/vm/drop_caches; "
                       f"dd if=/dev/xvda bs={part} skip={begin // part} count=1 2>/dev/null | sha256sum").split()[0]
        if got != wanted:
            return f"{self.name} read {got} from its disk instead of {wanted}"
        fresh = os.urandom(part)
        self.sh(f"dd of=/dev/xvda bs={part} seek=62 iflag=fullblock conv=fsync 2>/dev/null", stdin=fresh)
        got = self._driver.out(f"dd if={self.image} bs={part} skip=62 count=1 2>/dev/null | sha256sum").split()[0]
        if got != hashlib.sha256(fresh).hexdigest():
            return f"what {self.name} wrote to its disk has not arrived in {self.image}"
        return ""


class Listener:
    """The program in the driver domain that serves devices: by default the daemon of Romulus."""

    PROGRAM = "romulus-backendd"
    LINE = "/opt/romulus/bin/romulus-backendd"

    def __init__(self, driver):
        self._driver = driver
        self.pid = None
        self.starts = 0

    def start(self):
        self.starts += 1
        self.pid = self._driver.start_daemon(self.PROGRAM, self.LINE)

    def kill(self):
        """SIGKILL; what it had started goes on. One round trip."""
        self._driver.sh(f"kill -9 {self.pid}")

    def restart_after(self, seconds):
        """Kills it and starts it again `seconds` later: timed in the driver domain, not by round trips."""
        self.starts += 1
        self.pid = int(self._driver.out(
            f"kill -9 {self.pid}; sleep {seconds}; "
            f"setsid {self.LINE} </dev/null >>/opt/romulus/log/{self.PROGRAM}.log 2>&1 & echo $!", timeout_s=90))

    def came_too_late(self):
        """Whether, when it was last started, there was nothing left to find."""
        started = [line for line in self.log().splitlines() if "listens in domain" in line]
        return bool(started) and " to 0 devices" in started[-1]

    def running(self):
        return self._driver.sh(f"kill -0 {self.pid}", check=False).status == 0

    def ready(self):
        return self.running()

    def processor_ticks(self):
        """The processor time that it has used so far, in hundredths of a second."""
        return sum(map(int, self._driver.out(f"cat /proc/{self.pid}/stat").rsplit(")", 1)[1].split()[11:13]))

    def open_files(self):
        return int(self._driver.out(f"ls /proc/{self.pid}/fd | wc -l"))

    def log(self):
        return self._driver.log(self.PROGRAM)


class XlDevd(Listener):
    """Xen's own, to compare with."""

    PROGRAM = "xl-devd"
    LINE = "xl devd -F"

    def came_too_late(self):
        return False



def difference(before, after):
    """What changed between two inventories, in words."""
    texts = []
    for kind in before:
        left = list(after[kind])
        missing = []
        for each in before[kind]:
            left.remove(each) if each in left else missing.append(each)
        if left:
            texts.append(f"{kind} left behind: {', '.join(left)}")
        if missing:
            texts.append(f"{kind} missing: {', '.join(missing)}")
    return "; ".join(texts)
