"""The lab's own programs: for the guest, for dom0 and for the client's namespace.

Built by the compiler directly, static, keyed by their sources, rather than by Bazel: an image must change only when a
source changes, and several labs may start at once without waiting for one Bazel server.
"""

import pathlib
import subprocess

from . import cache, progress

LAB = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = LAB.parent.parent

SOURCES = {
    "ledger_service": ["guest/ledger_service.cc", "guest/memory_dirtier.cc"],
    "numbered_sender": ["guest/numbered_sender.cc"],
    "ledger_client": ["client/ledger_client.cc", "ledger/checker.cc"],
    "command_server": ["dom0/command_server.cc"],
    "as_user": ["dom0/as_user.cc"],
}
HEADERS = {
    "ledger_service": ["ledger/protocol.h", "guest/memory_dirtier.h"],
    "numbered_sender": [],
    "ledger_client": ["ledger/protocol.h", "ledger/checker.h"],
    "command_server": [],
    "as_user": [],
}
COMPILE = ["g++", "-std=gnu++20", "-O2", "-Wall", "-Wextra", "-static", "-s"]


def _inputs(name):
    return [" ".join(COMPILE), *(LAB / source for source in SOURCES[name] + HEADERS[name])]


def key(name):
    return cache.key_of(_inputs(name))


def build(name):
    """The path of the program, built if its sources changed."""

    def compile_into(directory):
        with progress.phase(f"compiling {name}"):
            sources = [str(LAB / source) for source in SOURCES[name]]
            subprocess.run([*COMPILE, f"-I{REPOSITORY}", "-o", str(directory / name), *sources], check=True)

    return cache.built(name, _inputs(name), compile_into) / name
