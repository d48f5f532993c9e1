"""Debian packages as material for images: downloaded with their whole closure and unpacked; nothing is installed."""

import pathlib
import shutil
import subprocess

from . import cache, progress

PACKAGES = """
xen-hypervisor-4.17-amd64 xen-utils-4.17 xenstore-utils linux-image-amd64 kmod bash busybox-static procps iproute2
dash iputils-ping iputils-arping bridge-utils socat util-linux coreutils net-tools tcpdump strace gawk sed grep
libgrpc++1.51 libprotobuf32 libabsl20220623 libnl-3-200 libnl-route-3-200 libxenmisc4.17 libxenstore4 libxxhash0
libprometheus-cpp-core1.0 libprometheus-cpp-pull1.0 libstdc++6 libgcc-s1 libc6
""".split()


def _apt(arguments):
    return subprocess.run(["apt-get", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _download_and_unpack(directory):
    archives = directory / "archives"
    (archives / "partial").mkdir(parents=True)
    status = directory / "status"  # an empty one, so that apt thinks nothing is there and fetches the whole closure
    status.touch()
    download = [
        "install", "--download-only", "--yes", "--no-install-recommends",
        "-o", f"Dir::State::status={status}", "-o", f"Dir::Cache::archives={archives}/", "-o", "Debug::NoLocking=1",
        "-o", "APT::Sandbox::User=root", *PACKAGES,
    ]
    with progress.phase("downloading the Debian packages of the lab's dom0 (130 MB)"):
        result = _apt(download)
        if result.returncode != 0:
            _apt(["update"])
            result = _apt(download)
        if result.returncode != 0:
            raise RuntimeError(f"apt-get could not fetch the lab's packages:\n{result.stdout[-2000:]}")
    tree = directory / "tree"
    tree.mkdir()
    with progress.phase("unpacking them"):
        for package in sorted(archives.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
    shutil.rmtree(archives)


def tree():
    """The root of the unpacked packages. /bin, /sbin and /lib are separate directories in it, as in the packages."""
    return cache.built("packages", [" ".join(PACKAGES), pathlib.Path(__file__)], _download_and_unpack) / "tree"
