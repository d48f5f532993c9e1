"""Packets as they pass a network device, each with the kernel's time of its passing: one clock, this machine's, for all
devices of a lab."""

import collections
import socket
import struct
import time

_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_ETH_P_ALL = 0x0003
_VLAN_VALID = 1 << 4
_ROOM = 256 << 20  # a busy machine lets the reader wait; what finds no room is counted, and closes the case

# `at_ns`: nanoseconds of CLOCK_REALTIME. `length`: of the whole packet, data may be less. `vlan`: the id of a tag that
# the kernel has taken off, or None. `outgoing`: sent by this machine through the device, not received from it.
Packet = collections.namedtuple("Packet", "at_ns length vlan outgoing data")


class PacketSocket:
    def __init__(self, interface, most_bytes=65536 + 64):
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.bind((interface, _ETH_P_ALL))
        self._most_bytes = most_bytes

    def fileno(self):
        return self._socket.fileno()

    def read(self):
        """The next packet, or None if there is none now."""
        try:
            data, extras, _, (_, _, kind, _, _) = self._socket.recvmsg(self._most_bytes, 256, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        at_ns, length, vlan = None, len(data), None
        for level, name, value in extras:
            if level == socket.SOL_SOCKET and name == _SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("<qq", value)
                at_ns = seconds * 1_000_000_000 + nanoseconds
            elif level == _SOL_PACKET and name == _PACKET_AUXDATA:
                status, length, _, _, _, tag, _ = struct.unpack("<IIIHHHH", value)
                vlan = tag & 0xfff if status & _VLAN_VALID else None
        return Packet(at_ns, length, vlan, kind == socket.PACKET_OUTGOING, data)

    def dropped(self):
        """How many packets found no room since this was asked last."""
        return struct.unpack("<II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]


def now_ns():
    """Of the packets' clock."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)
