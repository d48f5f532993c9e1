"""What a driver domain boots, and a guest whose devices it serves: an initramfs for each, from the hosts' packages.

A driver domain is a domU: it needs Xen's hotplug scripts with the tools that they call, the backends' modules and
libxenstore, but no rights over the host. Its memory is its initramfs' and little more, so only what is used is in it.
"""

import collections
import pathlib
import re
import subprocess

from . import archive, binaries, cache, elf, images, packages, progress

LAB = pathlib.Path(__file__).resolve().parent.parent

DriverImages = collections.namedtuple("DriverImages", "driver guest")

PROGRAMS = """
bash dash flock stat ip tc bridge brctl gawk awk timeout setsid strace
xenstore xenstore-ls xenstore-read xenstore-write xenstore-rm xenstore-exists xenstore-list xenstore-watch
""".split()

# Beside what the programs need: what romulus-backendd links, and what pthread_cancel opens.
LIBRARIES = "libxenstore.so.4 libstdc++.so.6 libgcc_s.so.1".split()

MODULES = """
xenfs xen-privcmd xen-evtchn xen-gntdev xen-gntalloc xen-netfront xen-netback xen-blkback bridge loop
""".split()

GUEST_APPLETS = "sh mount cat insmod ip sleep echo dd sha256sum ping ls sync head".split()


class DriverBuilder(images.Dom0Builder):
    """The same layout as dom0's, with less in it."""

    def programs(self):
        for name in PROGRAMS:
            found = self._found["gawk" if name == "awk" else name]
            self.add(f"usr/bin/{name}", found)
        self.add(f"{images.XEN_BIN}/xl", self._tree / images.XEN_BIN / "xl")
        self._cpio.link("usr/sbin/xl", f"/{images.XEN_BIN}/xl")
        for script in sorted((self._tree / "etc/xen/scripts").iterdir()):
            self.add(f"etc/xen/scripts/{script.name}", script)
        self._cpio.link("usr/bin/sh", "dash")
        busybox = self._found["busybox"]
        self.add("usr/bin/busybox", busybox)
        applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for applet in applets:
            if f"usr/bin/{applet}" not in self._cpio:
                self._cpio.link(f"usr/bin/{applet}", "busybox")

    def libraries(self):
        abseil = {name for name in self._libraries if re.fullmatch(r"libabsl_.*\.so\.20220623", name)}
        wanted = set(LIBRARIES) | abseil | elf.needed(self._elves)
        done = set()
        while wanted - done:
            found = [self._libraries[name].resolve() for name in sorted(wanted - done)]
            done |= wanted
            wanted |= elf.needed(found)
        for name in sorted(done):
            folder = "usr/lib64" if name.startswith("ld-linux") else "usr/lib/x86_64-linux-gnu"
            self.add(f"{folder}/{name}", self._libraries[name], executable=True)

    def modules(self, modules):
        order = modules.closure(MODULES)
        base = f"usr/lib/modules/{modules.release}"
        for name in order:
            self.add(f"{base}/{modules.path(name).relative_to(modules.root)}", modules.path(name))
        self._cpio.file(f"{base}/modules.dep", modules.dependency_file(order).encode())


def _driver_cpio(path, tree, modules):
    driver = DriverBuilder(tree, path)
    driver.layout()
    driver.bytes("init", (LAB / "driver/init").read_bytes(), executable=True)
    driver.bytes("opt/lab/command_server", binaries.build("command_server").read_bytes(), executable=True)
    driver.programs()
    driver.libraries()
    driver.modules(modules)
    driver.close()


def _guest_cpio(path, tree, modules):
    cpio = archive.Archive(path)
    for name in ("proc", "sys", "dev", "tmp"):
        cpio.directory(name)
    cpio.file("init", (LAB / "driver/guest_init").read_bytes(), executable=True)
    cpio.file("bin/busybox", (tree / "bin/busybox").read_bytes(), executable=True)
    for applet in GUEST_APPLETS:
        cpio.link(f"bin/{applet}", "busybox")
    cpio.file("bin/command_server", binaries.build("command_server").read_bytes(), executable=True)
    order = modules.closure(images.GUEST_MODULES)
    for name in order:
        cpio.file(f"modules/{name}.ko", modules.path(name).read_bytes())
    cpio.file("modules/order", "".join(f"{name}.ko\n" for name in order).encode())
    cpio.close()


def _build(directory):
    tree = packages.tree()
    modules = images.Modules(tree)
    with progress.phase("making the driver domain's images"):
        _driver_cpio(directory / "driver.cpio", tree, modules)
        _guest_cpio(directory / "device_guest.cpio", tree, modules)


def _inputs():
    here = pathlib.Path(__file__).parent
    return [
        *(here / name for name in ("driver_images.py", "images.py", "archive.py", "elf.py", "packages.py")),
        LAB / "driver/init", LAB / "driver/guest_init", binaries.key("command_server"),
    ]


def driver_images():
    directory = cache.built("driver-images", _inputs(), _build)
    return DriverImages(directory / "driver.cpio", directory / "device_guest.cpio")
