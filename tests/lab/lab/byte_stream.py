"""From packets to messages: a TCP connection's bytes, the HTTP/2 frames in them, the gRPC messages in those. Only what
a faithful observer of one unencrypted connection needs."""

import struct

_IPV4 = 0x0800
_TCP = 6
_DATA = 0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_MOST_OUT_OF_ORDER = 256 << 20


def tcp_segment(data):
    """((source port, destination port), sequence number, SYN?, payload) of a packet, or None if it is no TCP."""
    if len(data) < 54 or struct.unpack_from(">H", data, 12)[0] != _IPV4 or data[23] != _TCP:
        return None
    ip_bytes = (data[14] & 15) * 4
    length = struct.unpack_from(">H", data, 16)[0]
    tcp = 14 + ip_bytes
    ports = struct.unpack_from(">HH", data, tcp)
    sequence = struct.unpack_from(">I", data, tcp + 4)[0]
    payload = tcp + (data[tcp + 12] >> 4) * 4
    return ports, sequence, bool(data[tcp + 13] & 2), data[payload:14 + length]


class TcpStream:
    """One direction: gives its bytes to `sink(bytes, at_ns)`, in order, each when it was seen first."""

    def __init__(self, sink):
        self._sink = sink
        self._next = None
        self._waiting = {}  # sequence number -> (payload, at_ns)
        self._waiting_bytes = 0

    def take(self, sequence, syn, payload, at_ns):
        if syn:
            self._next = sequence + 1 & 0xffffffff
        if self._next is None:
            return  # a connection from before we looked
        if payload and sequence not in self._waiting:
            self._waiting[sequence] = payload, at_ns
            self._waiting_bytes += len(payload)
        if self._waiting_bytes > _MOST_OUT_OF_ORDER:
            raise RuntimeError("a piece of the TCP stream was not seen")
        progress = True
        while progress and self._waiting:
            progress = False
            for start in sorted(self._waiting, key=lambda each: self._ahead(each)):
                if self._ahead(start) > 0:
                    break
                data, seen_ns = self._waiting.pop(start)
                self._waiting_bytes -= len(data)
                fresh = data[-self._ahead(start):]
                if fresh:
                    self._next = self._next + len(fresh) & 0xffffffff
                    self._sink(fresh, seen_ns)
                progress = True

    def _ahead(self, sequence):
        """How far `sequence` is ahead of what comes next; negative: behind."""
        return (sequence - self._next + 0x80000000 & 0xffffffff) - 0x80000000


class GrpcMessages:
    """The messages of one direction of an HTTP/2 connection, whatever call they belong to: to `sink(bytes, at_ns)`."""

    def __init__(self, sink, from_client):
        self._sink = sink
        self._skip = len(_PREFACE) if from_client else 0
        self._bytes = bytearray()
        self._calls = {}

    def take(self, data, at_ns):
        self._bytes += data
        if self._skip:
            if len(self._bytes) < self._skip:
                return
            if self._bytes[:self._skip] != _PREFACE:
                raise RuntimeError("the connection is not HTTP/2 in the clear")
            del self._bytes[:self._skip]
            self._skip = 0
        while len(self._bytes) >= 9:
            length = int.from_bytes(self._bytes[:3], "big")
            if len(self._bytes) < 9 + length:
                return
            kind, flags, call = struct.unpack_from(">BBI", self._bytes, 3)
            payload = bytes(self._bytes[9:9 + length])
            del self._bytes[:9 + length]
            if kind == _DATA:
                if flags & 8:
                    raise RuntimeError("padded DATA frames are not expected")
                self._data(self._calls.setdefault(call, bytearray()), payload, at_ns)

    def _data(self, pending, payload, at_ns):
        pending += payload
        while len(pending) >= 5:
            compressed, length = struct.unpack_from(">BI", pending)
            if compressed:
                raise RuntimeError("compressed messages are not expected")
            if len(pending) < 5 + length:
                return
            self._sink(bytes(pending[5:5 + length]), at_ns)
            del pending[:5 + length]
