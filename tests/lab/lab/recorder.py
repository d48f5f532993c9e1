"""Recorders: processes of their own that watch a network device and write one line per thing seen into a file.

`serve` is the process' side: `record(packet)` is called for every packet until the driver closes stdin. `Recorder` is
the driver's. A recorder that could not keep up says so and fails, rather than to show less than there was.
"""

import json
import pathlib
import select
import subprocess
import sys

from . import packet_socket, process

_LAB = pathlib.Path(__file__).resolve().parent.parent


def serve(interface, record, most_bytes=65536 + 64):
    packets = packet_socket.PacketSocket(interface, most_bytes)
    print("ready", flush=True)
    ending = False
    while True:
        readable, _, _ = select.select([packets, *([] if ending else [sys.stdin])], [], [], 0 if ending else None)
        if sys.stdin in readable:
            ending = True  # what has come by now still counts
        while (packet := packets.read()) is not None:
            record(packet)
        if ending:
            break
    if dropped := packets.dropped():
        sys.exit(f"{interface}: {dropped} packets found no room")


class Recorder:
    """Runs the module `module` of this package with `arguments` and the file to write to. `enter`: a command line
    prefix that puts it into a namespace."""

    def __init__(self, module, arguments, file, enter=()):
        self._file = file
        self._program = subprocess.Popen(
            [*enter, sys.executable, "-B", "-m", f"lab.{module}", *arguments, str(file)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, cwd=_LAB, preexec_fn=process.die_with_parent)
        if self._program.stdout.readline().strip() != "ready":
            raise RuntimeError(f"the recorder {module} did not start")

    def lines(self):
        """What it has seen so far (lists of JSON values)."""
        with open(self._file) as lines:
            return [json.loads(line) for line in lines if line.endswith("\n")]

    def stop(self):
        """Ends it; returns all that it saw."""
        self._program.communicate(timeout=120)
        if self._program.returncode != 0:
            raise RuntimeError(f"a recorder ended with status {self._program.returncode}: it saw less than there was")
        return self.lines()

