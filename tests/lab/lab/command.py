"""Runs shell commands in dom0 through its command server (dom0/command_server.cc has the protocol)."""

import collections
import select
import socket
import struct
import time

PORT = 2222
_HEADER = struct.Struct("<II")
_CHUNK = 256 * 1024

Result = collections.namedtuple("Result", "status stdout stderr")


class CommandError(RuntimeError):
    """A command that failed, timed out or lost its host."""


def _read_frames(buffer):
    """Takes the whole frames out of the bytearray `buffer`."""
    while len(buffer) >= _HEADER.size:
        kind, length = _HEADER.unpack_from(buffer)
        if len(buffer) < _HEADER.size + length:
            return
        payload = bytes(buffer[_HEADER.size:_HEADER.size + length])
        del buffer[:_HEADER.size + length]
        yield kind, payload


def run(address, command, stdin=b"", timeout_s=60, on_output=None):
    """Runs `command` by /bin/sh at `address`. Returns its Result with decoded output; raises CommandError if it could
    not be run or did not end in time (it is killed then). `on_output(is_stderr, bytes)` gets the output as it comes."""
    deadline = time.monotonic() + timeout_s
    outputs = {1: [], 2: []}
    try:
        with socket.create_connection((address, PORT), timeout=min(5, timeout_s)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            line = command.encode()
            to_send = bytearray(_HEADER.pack(1, len(line)) + line)
            for at in range(0, len(stdin), _CHUNK):
                chunk = stdin[at:at + _CHUNK]
                to_send += _HEADER.pack(2, len(chunk)) + chunk
            to_send += _HEADER.pack(3, 0)
            unsent = memoryview(bytes(to_send))
            received = bytearray()
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise CommandError(f"no end after {timeout_s} s: {command}")
                readable, writable, _ = select.select([connection], [connection] if unsent else [], [], left)
                if writable:
                    unsent = unsent[connection.send(unsent[:_CHUNK]):]
                if not readable:
                    continue
                data = connection.recv(_CHUNK)
                if not data:
                    raise CommandError(f"the host hung up during: {command}")
                received += data
                for kind, payload in _read_frames(received):
                    if kind == 3:
                        text = [b"".join(outputs[each]).decode(errors="replace") for each in (1, 2)]
                        return Result(struct.unpack("<i", payload)[0], *text)
                    outputs[kind].append(payload)
                    if on_output:
                        on_output(kind == 2, payload)
    except OSError as error:
        raise CommandError(f"{address}: {error}: {command}") from error
