"""What passes between the agents, read from the wire: when each checkpoint had left the primary's host, what the guest
had sent by then according to the guest memory in it, and when each commit was on its way to the primary.

It asks neither agent: it reads the primary's cable, reassembles TCP, HTTP/2 and gRPC, decodes the protocol's messages,
and looks in the checkpoints' bytes for the page of memory in which the guest's numbered sender (guest/numbered_sender.cc)
notes every frame before it sends it. For that the checkpoints have to be sent RAW.
"""

import collections
import json
import struct
import sys

from . import agents, byte_stream, network, recorder

MOST_CARDS = 8
_MAGIC = bytes(0xa5 ^ (i * 37 + 11) & 0xff for i in range(32))
_MARKER = struct.Struct(f"<{len(_MAGIC)}s{MOST_CARDS}Q")

# kind: "opened" (OpenSession), "checkpoint" (its trailer was sent: it is whole), "commit", "stopped" (SessionStopped),
# "failed" (StandbyFailed). `known`: of a checkpoint, by card, the last frame that it knows of.
Event = collections.namedtuple("Event", "at_ns kind epoch known")


def record(lab, file):
    """A recorder at the primary's cable; its lines are for `events`. To be started before the agents connect."""
    return recorder.Recorder("replication_tap", [network.tap("alpha", "replication")], file,
                             enter=["nsenter", f"--net=/run/netns/{lab.network.switch}"])


def events(lines):
    return [Event(*line) for line in lines]


class Session:
    """One connection. `emit(Event)` is called in the order in which things were seen."""

    def __init__(self, emit, replication_pb):
        self._emit = emit
        self._pb = replication_pb
        to_secondary = byte_stream.GrpcMessages(self._from_primary, from_client=True)
        to_primary = byte_stream.GrpcMessages(self._from_secondary, from_client=False)
        self.to_secondary = byte_stream.TcpStream(to_secondary.take)
        self.to_primary = byte_stream.TcpStream(to_primary.take)
        self._known = [0] * MOST_CARDS
        self._end = b""  # of the checkpoint's bytes so far: a page may lie in two messages

    def _from_primary(self, data, at_ns):
        message = self._pb.PrimaryMessage.FromString(data)
        kind = message.WhichOneof("body")
        if kind == "open_session":
            self._emit(Event(at_ns, "opened", 0, []))
        elif kind == "checkpoint_data":
            self._look(self._end + message.checkpoint_data.payload)
            if message.checkpoint_data.HasField("trailer"):
                self._whole(message.checkpoint_data.epoch, at_ns)
        elif kind == "checkpoint_trailer":
            self._whole(message.checkpoint_trailer.epoch, at_ns)

    def _whole(self, epoch, at_ns):
        self._end = b""
        self._emit(Event(at_ns, "checkpoint", epoch, list(self._known)))

    def _look(self, data):
        at = -1
        while (at := data.find(_MAGIC, at + 1)) >= 0:
            if at + _MARKER.size > len(data):
                break
            # A page may have left older copies of itself behind.
            self._known = [max(each) for each in zip(self._known, _MARKER.unpack_from(data, at)[1:])]
        self._end = data[-_MARKER.size + 1:]

    def _from_secondary(self, data, at_ns):
        message = self._pb.SecondaryMessage.FromString(data)
        kind = message.WhichOneof("body")
        if kind == "checkpoint_commit":
            self._emit(Event(at_ns, "commit", message.checkpoint_commit.epoch, []))
        elif kind == "session_stopped":
            self._emit(Event(at_ns, "stopped", 0, []))
        elif kind == "standby_failed":
            self._emit(Event(at_ns, "failed", 0, []))


def _main(interface, file):
    from . import control  # not before: it generates code, and starts gRPC's threads

    sessions = {}
    with open(file, "w", buffering=1) as out:

        def emit(event):
            out.write(json.dumps(event) + "\n")

        def take(packet):
            segment = byte_stream.tcp_segment(packet.data)
            if segment is None or agents.REPLICATION_PORT not in segment[0]:
                return
            (source, target), sequence, syn, payload = segment
            from_primary = target == agents.REPLICATION_PORT
            port = source if from_primary else target
            if from_primary and syn:
                sessions[port] = Session(emit, control.replication_pb2)
            if port not in sessions:
                return
            session = sessions[port]
            stream = session.to_secondary if from_primary else session.to_primary
            stream.take(sequence, syn, payload, packet.at_ns)

        recorder.serve(interface, take)


if __name__ == "__main__":
    _main(*sys.argv[1:])
