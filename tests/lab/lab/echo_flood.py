"""A client that makes the guest send: echo requests at a steady rate, each of which the guest answers with as many bytes.

`serve` is the process' side, in the client's namespace; `EchoFlood` the driver's.
"""

import json
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import time

from . import process
from .network import GUEST_ADDRESS

_LAB = pathlib.Path(__file__).resolve().parent.parent
_HEADER = struct.Struct(">BBHHH")
_REQUEST, _REPLY = 8, 0
_IP_HEADER = 20
_ROOM = 64 << 20
# What is held when the flood ends comes with the next commits: longer than any interval here.
_PATIENCE_S = 25


def _checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


def _request(identity, number, size):
    payload = bytes(size - _HEADER.size)
    checksum = _checksum(_HEADER.pack(_REQUEST, 0, 0, identity, number) + payload)
    return _HEADER.pack(_REQUEST, 0, checksum, identity, number) + payload


def serve(per_second, size):
    """Sends until stdin is closed, then waits for late answers and says what came of it."""
    echo = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    echo.setsockopt(socket.SOL_SOCKET, 33, _ROOM)  # SO_RCVBUFFORCE
    echo.connect((GUEST_ADDRESS, 0))
    echo.setblocking(False)
    identity = os.getpid() & 0xffff
    answered = set()
    sent, last_answer = 0, time.monotonic()
    started = time.monotonic()
    stop_at = None
    print("ready", flush=True)
    while stop_at is None or (time.monotonic() < max(stop_at, last_answer) + _PATIENCE_S and len(answered) < sent):
        due = int((time.monotonic() - started) * per_second) if stop_at is None else sent
        # A driver that could not run does not catch up at once: that would be another flood than was asked for.
        started += max(0, due - sent - 20) / per_second
        for _ in range(min(due - sent, 20)):
            echo.send(_request(identity, sent & 0xffff, size))
            sent += 1
        readable, _, _ = select.select([echo, *([sys.stdin] if stop_at is None else [])], [], [], 0.002)
        if sys.stdin in readable:
            stop_at = time.monotonic()
        try:
            while True:
                kind, _, _, whose, number = _HEADER.unpack_from(echo.recv(65536), _IP_HEADER)
                if kind == _REPLY and whose == identity:
                    answered.add(number)
                    last_answer = time.monotonic()
        except BlockingIOError:
            pass
    print(json.dumps({"sent": sent, "answered": len(answered)}), flush=True)


class EchoFlood:
    """At most 65536 requests: their numbers have 16 bits."""

    def __init__(self, switch, per_second, size):
        command = [sys.executable, "-B", "-m", "lab.echo_flood", str(per_second), str(size)]
        self._program = subprocess.Popen(switch.in_client(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         text=True, cwd=_LAB, preexec_fn=process.die_with_parent)
        if self._program.stdout.readline().strip() != "ready":
            raise RuntimeError("the flood did not start")

    def stop(self):
        """{sent, answered}, once all answers that are still to come have come."""
        output, _ = self._program.communicate(timeout=300)
        if self._program.returncode != 0:
            raise RuntimeError(f"the flood ended with status {self._program.returncode}")
        return json.loads(output)


if __name__ == "__main__":
    serve(float(sys.argv[1]), int(sys.argv[2]))
