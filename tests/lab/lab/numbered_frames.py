"""The frames of the guest's numbered sender (guest/numbered_sender.cc), recorded where they arrive."""

import collections
import json
import struct
import sys

from . import recorder

KINDS = ("IPv4", "IPv6", "ARP", "VLAN", "jumbo", "GSO")

_MAGIC = b"RmlsNmbr"
_HEADER = struct.Struct("<8sBBHIQQ")
_HEAD_BYTES = 192  # the deepest header lies behind Ethernet, IPv6 and UDP
_VLAN_ID = 80
_LARGEST_PLAIN = 1514  # with Ethernet's header

# One packet as it arrived. `number` counts the frames of this kind and card, `order` all frames of this card. A GSO
# frame may arrive in pieces of whole segments: `segment` is the first of this one.
Frame = collections.namedtuple("Frame", "at_ns card kind number order segment segments length as_kind")


def _parse(packet):
    at = packet.data.find(_MAGIC)
    if at < 0 or len(packet.data) < at + _HEADER.size:
        return None
    _, card, kind, segment, segments, number, order = _HEADER.unpack_from(packet.data, at)
    return Frame(packet.at_ns, card, KINDS[kind], number, order, segment, segments, packet.length,
                 _is(KINDS[kind], packet))


def _is(kind, packet):
    """Whether the packet is on the wire what it says it is."""
    ethertype = struct.unpack_from(">H", packet.data, 12)[0]
    plain_ipv4 = ethertype == 0x0800 and packet.vlan is None
    return {
        "IPv4": plain_ipv4 and packet.length <= _LARGEST_PLAIN,
        "IPv6": ethertype == 0x86dd and packet.vlan is None,
        "ARP": ethertype == 0x0806 and packet.vlan is None,
        "VLAN": packet.vlan == _VLAN_ID or ethertype == 0x8100,
        "jumbo": plain_ipv4 and packet.length > _LARGEST_PLAIN,
        "GSO": plain_ipv4,
    }[kind]


def record_at_client(switch, file):
    """A recorder of what arrives at the client of the lab's network; end it with `frames`."""
    return recorder.Recorder("numbered_frames", ["eth0"], file, enter=switch.in_client([]))


def frames(lines):
    return [Frame(*line) for line in lines]


def _main(interface, file):
    with open(file, "w", buffering=1) as out:

        def record(packet):
            if not packet.outgoing and (frame := _parse(packet)) is not None:
                out.write(json.dumps(frame) + "\n")

        recorder.serve(interface, record, _HEAD_BYTES)


if __name__ == "__main__":
    _main(*sys.argv[1:])
