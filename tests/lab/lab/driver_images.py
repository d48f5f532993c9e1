"""What a driver domain boots, and a guest whose devices it serves: an initramfs for each, from the hosts' packages.

A driver domain is a domU: it needs Xen's hotplug scripts with the tools that they call, the backends' modules and
libxenstore, but no rights over the host. Its memory is its initramfs' and little more, so only what is used is in it.
"""

import collections
import pathlib

from . import binaries, cache, images, packages, progress

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

    LIBRARIES = LIBRARIES
    MODULES = MODULES

    def programs(self):
        for name in PROGRAMS:
            found = self._found["gawk" if name == "awk" else name]
            self.add(f"usr/bin/{name}", found)
        self.add(f"{images.XEN_BIN}/xl", self._tree / images.XEN_BIN / "xl")
        self._cpio.link("usr/sbin/xl", f"/{images.XEN_BIN}/xl")
        self.scripts_and_shell()


def _driver_cpio(path, tree, modules):
    driver = DriverBuilder(tree, path)
    driver.layout()
    driver.bytes("init", (LAB / "driver/init").read_bytes(), executable=True)
    driver.bytes("opt/lab/command_server", binaries.build("command_server").read_bytes(), executable=True)
    driver.programs()
    driver.libraries()
    driver.modules(modules)
    driver.close()


def _build(directory):
    tree = packages.tree()
    modules = images.Modules(tree)
    with progress.phase("making the driver domain's images"):
        _driver_cpio(directory / "driver.cpio", tree, modules)
        images.guest_cpio(directory / "device_guest.cpio", modules, tree / "bin/busybox", "driver/guest_init",
                          GUEST_APPLETS, "command_server")


def _inputs():
    here = pathlib.Path(__file__).parent
    return [
        *(here / name for name in ("driver_images.py", "images.py", "archive.py", "elf.py", "packages.py")),
        LAB / "driver/init", LAB / "driver/guest_init", binaries.key("command_server"),
    ]


def driver_images():
    directory = cache.built("driver-images", _inputs(), _build)
    return DriverImages(directory / "driver.cpio", directory / "device_guest.cpio")
