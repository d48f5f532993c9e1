"""The QEMU that Debian's Xen serves qdisks with, and its libraries, for a driver domain: a small archive, cached.

Its packages are a set of their own: dom0 and most driver domains don't need them.
"""

import io
import pathlib
import shutil
import subprocess
import tarfile

from . import cache, elf, progress

PROGRAM = "/usr/libexec/xen-qemu-system-i386"  # where Debian's libxenlight looks for it, too
_LIBRARIES = "usr/lib/qemu-libraries"
_PACKAGES = ["qemu-system-xen"]


def _apt(arguments):
    ran = subprocess.run(["apt-get", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ran.returncode != 0:
        raise RuntimeError(f"apt-get could not fetch {', '.join(_PACKAGES)}:\n{ran.stdout[-2000:]}")


def _build(folder):
    archives = folder / "archives"
    (archives / "partial").mkdir(parents=True)
    (folder / "status").touch()  # an empty one: the whole closure is wanted, whatever is installed here
    with progress.phase("downloading Xen's QEMU with all its libraries"):
        _apt(["install", "--download-only", "--yes", "--no-install-recommends",
              "-o", f"Dir::State::status={folder}/status", "-o", f"Dir::Cache::archives={archives}/",
              "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", *_PACKAGES])
    tree = folder / "tree"
    tree.mkdir()
    for package in sorted(archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
    _pack(tree, folder / "qemu.tar")
    for each in (archives, tree):
        shutil.rmtree(each)


def _pack(tree, target):
    libraries = {}
    for place in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "lib64"):
        for path in (tree / place).rglob("*.so*"):
            libraries.setdefault(path.name, path)
    program = tree / PROGRAM.lstrip("/")
    wanted = elf.needed([program])
    done = set()
    while wanted - done:
        found = [libraries[name].resolve() for name in sorted(wanted - done)]
        done |= wanted
        wanted |= elf.needed(found)
    # In a folder of their own: the driver domain's programs keep theirs.
    loader = next(name for name in done if name.startswith("ld-linux"))
    start = (f"#!/bin/sh\nexec /{_LIBRARIES}/{loader} --argv0 $0 --library-path /{_LIBRARIES} "
             f"/{_LIBRARIES}/{program.name} \"$@\"\n").encode()
    with tarfile.open(target, "w") as packed:
        for name in sorted(done):
            packed.add(libraries[name].resolve(), f"{_LIBRARIES}/{name}")
        packed.add(program, f"{_LIBRARIES}/{program.name}")
        entry = tarfile.TarInfo(PROGRAM.lstrip("/"))
        entry.size, entry.mode = len(start), 0o755
        packed.addfile(entry, io.BytesIO(start))


def install(machine):
    """Puts it where Xen looks for it."""
    made = cache.built("xen-qemu", [pathlib.Path(__file__), pathlib.Path(elf.__file__)], _build)
    machine.sh("tar -x -C /", stdin=(made / "qemu.tar").read_bytes(), timeout_s=300)
