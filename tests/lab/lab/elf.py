"""Finds the shared libraries that a set of programs needs, and unpacks kernels."""

import lzma
import re
import subprocess
import zlib


def needed(paths):
    """The DT_NEEDED names and the interpreters of all the ELF files among `paths`, in one set."""
    elves = [path for path in paths if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
    if not elves:
        return set()
    output = subprocess.run(["readelf", "-dlW", *elves], capture_output=True, text=True).stdout
    names = set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.*?)\]", output))
    names.update(path.rsplit("/", 1)[1] for path in re.findall(r"program interpreter: (.*?)\]", output))
    return names


def vmlinux_of(bzimage):
    """The kernel's ELF out of a Debian vmlinuz: Xen boots it as it is, and nothing is decompressed under emulation."""
    for magic, decompress in (
        (b"\xfd7zXZ\0", lambda data: lzma.LZMADecompressor().decompress(data)),
        (b"\x1f\x8b\x08", lambda data: zlib.decompressobj(31).decompress(data)),
    ):
        at = bzimage.find(magic)
        while at >= 0:
            try:
                image = decompress(bzimage[at:])
                if image[:4] == b"\x7fELF":
                    return image
            except (lzma.LZMAError, zlib.error):
                pass
            at = bzimage.find(magic, at + 1)
    raise ValueError("no compressed ELF in the kernel image that xz or gzip can read")
