"""What the hosts boot: the hypervisor, the kernel, dom0's initramfs and the guest's.

Everything comes from Debian packages and the sources beside this file. dom0 holds Debian's Xen tools as they are, the
modules and tools that protection needs, and the shared libraries that Romulus' agents link against, as an installed
host would. Kept small: its size is boot time and snapshot size.
"""

import collections
import gzip
import pathlib
import re
import shutil
import subprocess

from . import archive, binaries, cache, elf, packages, progress

LAB = pathlib.Path(__file__).resolve().parent.parent

Images = collections.namedtuple("Images", "hypervisor kernel dom0 directory")

GUEST_CONFIG = """\
name = "ledger"
type = "pvh"
kernel = "/opt/lab/vmlinux"
ramdisk = "/opt/lab/guest.cpio"
extra = "console=hvc0 quiet mitigations=off rdinit=/init"
memory = 128
vcpus = 1
# Without native, RDTSCP crashes a PVH guest under QEMU's emulation.
tsc_mode = "native"
vif = ["mac=00:16:3e:80:00:10,bridge=xenbr0,vifname=vif-ledger"]
on_crash = "preserve"
"""

# Programs taken from the packages, by name, wherever they lie. The real one wins over a busybox applet.
PROGRAMS = """
bash dash flock stat ip tc bridge ss brctl ping arping socat tcpdump strace ifconfig gawk awk timeout setsid nsenter
xenstore xenstore-ls xenstore-read xenstore-write xenstore-rm xenstore-exists xenstore-list xenstore-watch
xenstore-chmod
""".split()

XEN_BIN = "usr/lib/xen-4.17/bin"
XEN_PROGRAMS = """
xl xenstored xen-init-dom0 xenconsoled xenconsole libxl-save-helper xen-diag xen-hvmctx xenctx
""".split()

# Libraries that the agents link, beside what the programs above need; with all that they need in turn.
AGENT_LIBRARIES = """
libgrpc++.so.1.51 libgrpc++_reflection.so.1.51 libprotobuf.so.32 libnl-3.so.200 libnl-route-3.so.200 libxxhash.so.0
libstdc++.so.6 libxenctrl.so.4.17 libxenguest.so.4.17 libxencall.so.1 libxenstore.so.4 libxenevtchn.so.1
libxenforeignmemory.so.1 libxengnttab.so.1 libxendevicemodel.so.1 libxentoollog.so.1 libxentoolcore.so.1
libxenlight.so.4.17 libgcc_s.so.1 libprometheus-cpp-core.so.1.0 libprometheus-cpp-pull.so.1.0
""".split()

DOM0_MODULES = """
virtio_pci virtio_net virtio_blk xenfs xen-privcmd xen-evtchn xen-gntdev xen-gntalloc bridge xen-netback xen-blkback
loop ifb tun veth sch_plug act_mirred act_gact act_skbedit cls_fw cls_u32 cls_matchall sch_ingress sch_netem sch_prio
""".split()
GUEST_MODULES = ["xen-netfront", "xen-blkfront"]
GUEST_APPLETS = "sh mount cat insmod ip sleep echo".split()


class Modules:
    """The kernel modules of the unpacked packages and their order of loading."""

    def __init__(self, tree):
        (self.release,) = [path.name for path in (tree / "lib/modules").iterdir()]
        self.root = tree / "lib/modules" / self.release
        self._paths = {path.stem.replace("-", "_"): path for path in self.root.rglob("*.ko")}
        self._built_in = (self.root / "modules.builtin").read_text()

    def path(self, name):
        return self._paths.get(name.replace("-", "_"))

    def depends(self, name):
        data = self.path(name).read_bytes()
        found = re.search(rb"\0depends=([^\0]*)\0", data)
        return [each for each in found.group(1).decode().split(",") if each] if found else []

    def closure(self, names):
        """The modules and what they need, each after what it needs. Built-in ones are left out."""
        order = []

        def visit(name):
            name = name.replace("-", "_")
            if self.path(name) is None:
                if not re.search(rf"/{name.replace('_', '[-_]')}\.ko", self._built_in):
                    raise RuntimeError(f"no kernel module {name} in {self.release}")
                return
            if name not in order:
                for needed in self.depends(name):
                    visit(needed)
                order.append(name)

        for name in names:
            visit(name)
        return order

    def dependency_file(self, names):
        """modules.dep, as depmod would write it, for `names`, whose dependencies are among them."""
        lines = []
        for name in names:
            needed = [each for each in reversed(self.closure([name])) if each != name]
            paths = [str(self.path(each).relative_to(self.root)) for each in [name, *needed]]
            lines.append(f"{paths[0]}: {' '.join(paths[1:])}\n")
        return "".join(lines)


def _merged(path):
    """Where a package's file lies on a system with merged /usr."""
    first = path.split("/", 1)[0]
    return f"usr/{path}" if first in ("bin", "sbin", "lib", "lib64") else path


class Dom0Builder:
    LIBRARIES = AGENT_LIBRARIES
    MODULES = DOM0_MODULES

    def __init__(self, tree, cpio_path):
        self._tree = tree
        self._cpio = archive.Archive(cpio_path)
        self._found = {}
        for folder in ("usr/sbin", "sbin", "usr/bin", "bin"):
            for path in (tree / folder).iterdir():
                self._found[path.name] = path
        self._libraries = {}
        for folder in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "lib64"):
            for path in (tree / folder).glob("*.so*"):
                self._libraries.setdefault(path.name, path)
        self._elves = []

    def layout(self):
        for name in ("bin", "sbin", "lib", "lib64"):
            self._cpio.directory(f"usr/{name}")
            self._cpio.link(name, f"usr/{name}")
        for name in ("proc", "sys", "dev", "run", "tmp", "root", "var/log", "etc/romulus", "opt/romulus/bin"):
            self._cpio.directory(name)
        self._cpio.link("var/run", "/run")
        self._cpio.link("var/lock", "/run/lock")

    def add(self, name, source, executable=None):
        """Adds the file that `source` is, following links."""
        if name in self._cpio:
            return
        source = source.resolve()
        if executable is None:
            executable = bool(source.stat().st_mode & 0o100)
        self._cpio.file(name, source.read_bytes(), executable)
        self._elves.append(source)

    def programs(self):
        for name in PROGRAMS:
            target = "gawk" if name == "awk" else name
            if target not in self._found:
                raise RuntimeError(f"no program {target} in the packages")
            self.add(_merged(str(self._found[target].relative_to(self._tree).with_name(name))), self._found[target])
        for name in XEN_PROGRAMS:
            self.add(f"{XEN_BIN}/{name}", self._tree / XEN_BIN / name)
        self._cpio.link("usr/sbin/xl", f"/{XEN_BIN}/xl")
        self._cpio.file("etc/xen/xl.conf", b"autoballoon=0\n")
        self.scripts_and_shell()

    def scripts_and_shell(self):
        """Xen's hotplug scripts, and all of busybox that no real program is there for."""
        for script in sorted((self._tree / "etc/xen/scripts").iterdir()):
            self.add(f"etc/xen/scripts/{script.name}", script)
        # Not busybox' shell: Debian's prefers its own applets to the real programs (ip, tc, awk).
        self._cpio.link("usr/bin/sh", "dash")
        busybox = self._found["busybox"]
        self.add("usr/bin/busybox", busybox)
        applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for applet in applets:
            if f"usr/bin/{applet}" not in self._cpio and f"usr/sbin/{applet}" not in self._cpio:
                self._cpio.link(f"usr/bin/{applet}", "/usr/bin/busybox")

    def libraries(self):
        # Which of Abseil's many libraries a program pulls in changes with every line of it: take the package whole.
        abseil = {name for name in self._libraries if re.fullmatch(r"libabsl_.*\.so\.20220623", name)}
        wanted = set(self.LIBRARIES) | abseil | elf.needed(self._elves)
        done = set()
        while wanted - done:
            batch = [self._libraries[name] for name in sorted(wanted - done) if name in self._libraries]
            missing = [name for name in wanted - done if name not in self._libraries]
            if missing:
                raise RuntimeError(f"no library {', '.join(missing)} in the packages")
            done |= wanted
            wanted |= elf.needed([path.resolve() for path in batch])
        for name in sorted(done):
            folder = "usr/lib64" if name.startswith("ld-linux") else "usr/lib/x86_64-linux-gnu"
            self.add(f"{folder}/{name}", self._libraries[name], executable=True)

    def modules(self, modules):
        order = modules.closure(self.MODULES)
        base = f"usr/lib/modules/{modules.release}"
        for name in order:
            self.add(f"{base}/{modules.path(name).relative_to(modules.root)}", modules.path(name))
        self._cpio.file(f"{base}/modules.dep", modules.dependency_file(order).encode())

    def bytes(self, name, data, executable=False):
        self._cpio.file(name, data, executable)

    def close(self):
        self._cpio.close()


def guest_cpio(path, modules, busybox, init, applets, program):
    """A guest's initramfs: `init` runs what `program` names, which is compiled for it."""
    cpio = archive.Archive(path)
    for name in ("proc", "sys", "dev", "tmp"):
        cpio.directory(name)
    cpio.file("init", (LAB / init).read_bytes(), executable=True)
    cpio.file("bin/busybox", busybox.read_bytes(), executable=True)
    for applet in applets:
        cpio.link(f"bin/{applet}", "busybox")
    cpio.file(f"bin/{program}", binaries.build(program).read_bytes(), executable=True)
    order = modules.closure(GUEST_MODULES)
    for name in order:
        cpio.file(f"modules/{name}.ko", modules.path(name).read_bytes())
    cpio.file("modules/order", "".join(f"{name}.ko\n" for name in order).encode())
    cpio.close()


def _build(directory):
    tree = packages.tree()
    modules = Modules(tree)
    with progress.phase("making the hosts' images"):
        with gzip.open(tree / "boot/xen-4.17-amd64.gz") as packed, open(directory / "xen", "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        kernel = elf.vmlinux_of((tree / f"boot/vmlinuz-{modules.release}").read_bytes())
        (directory / "vmlinux").write_bytes(kernel)
        guest_cpio(directory / "guest.cpio", modules, tree / "bin/busybox", "guest/init", GUEST_APPLETS, "ledger_service")
        dom0 = Dom0Builder(tree, directory / "dom0.cpio")
        dom0.layout()
        dom0.bytes("init", (LAB / "dom0/init").read_bytes(), executable=True)
        dom0.bytes("opt/lab/command_server", binaries.build("command_server").read_bytes(), executable=True)
        dom0.bytes("opt/lab/vmlinux", kernel)
        dom0.bytes("opt/lab/guest.cpio", (directory / "guest.cpio").read_bytes())
        dom0.bytes("etc/xen/ledger.cfg", GUEST_CONFIG.encode())
        dom0.programs()
        dom0.libraries()
        dom0.modules(modules)
        dom0.close()


def _inputs():
    here = pathlib.Path(__file__).parent
    return [
        *(here / name for name in ("images.py", "archive.py", "elf.py", "packages.py")),
        LAB / "dom0/init", LAB / "guest/init",
        binaries.key("ledger_service"), binaries.key("command_server"),
    ]


def images():
    directory = cache.built("images", _inputs(), _build)
    return Images(directory / "xen", directory / "vmlinux", directory / "dom0.cpio", directory)
