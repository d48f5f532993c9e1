"""A peer that is no primary agent: a machine on the replication network that says to a secondary whatever it likes."""

import os
import queue
import struct
import subprocess

import grpc

from . import agents, control

ADDRESS = "10.81.0.254"
ID = "stranger"
METHOD = "/romulus.replication.v1.ReplicationService/Replicate"

_pb = control.replication_pb2

# The beginning of a migration stream: image header, domain header, two records of which the first is cut short below.
IMAGE_HEADER = b"\xff" * 8 + struct.pack(">II", 0x58454E46, 3) + bytes(8)
DOMAIN_HEADER = struct.pack("<IHHII", 2, 12, 0, 4, 17)
RECORD = struct.pack("<II", 0x11, 24) + bytes(24)
ABSURD_RECORD = struct.pack("<II", 0x01, 0xFFFFFFF0)


class Stranger:
    """`compatibility`: what it says of its host; that of the secondary's own fits."""

    def __init__(self, lab, compatibility):
        subprocess.run(["ip", "-n", lab.network.switch, "addr", "add", f"{ADDRESS}/24", "dev", "br-repli"], check=True)
        self._target = f"{lab.beta.replication_address}:{agents.REPLICATION_PORT}"
        self._compatibility = compatibility

    def opening(self, **changes):
        """The OpenSession of a small PVH guest that fits; `changes` replace its fields."""
        pb = control.domain_pb2
        domain = pb.DomainDescription(
            uuid=os.urandom(16), name=ID, type=pb.PVH, vcpu_count=1, memory_static_max_kib=64 << 10,
            memory_target_kib=64 << 10, memory_max_kib=65 << 10, gpfn_count=0xFF000, create_flags=3, emulation_flags=1,
            tsc_mode=2, console=pb.Console(type="xenconsoled", output="pty", limit_bytes=1 << 20), domid=7)
        fields = {"protection": f"protections/{ID}", "stream_mode": _pb.REMUS, "domain": domain,
                  "primary_host": self._compatibility, "codecs": [_pb.RAW], "failover_policy": _pb.BY_REQUEST,
                  "heartbeat_interval_ms": 1000, "link_timeout_ms": 20_000}
        fields.update(changes)
        return _pb.PrimaryMessage(generation=1, open_session=_pb.OpenSession(**fields))

    def compatibility(self, **changes):
        made = control.domain_pb2.HostCompatibility()
        made.CopyFrom(self._compatibility)
        for field, value in changes.items():
            if field == "cpu_feature_words":
                del made.cpu_feature_words[:]
                made.cpu_feature_words.extend(value)
            else:
                setattr(made, field, value)
        return made

    def say(self, first, then=(), hang_up=False):
        """Opens a call with the messages `first`, says `then` once it was accepted, and with hang_up ends the stream.
        Messages are PrimaryMessages or raw bytes. Returns the code and the text that the call ends with."""
        outgoing = queue.Queue()
        for message in first:
            outgoing.put(message)
        if hang_up and not then:
            outgoing.put(None)
        with grpc.insecure_channel(self._target) as channel:
            replicate = channel.stream_stream(METHOD, request_serializer=_bytes,
                                              response_deserializer=_pb.SecondaryMessage.FromString)
            call = replicate(iter(outgoing.get, None), timeout=60)
            try:
                for answer in call:
                    if answer.HasField("session_accepted") and then:
                        for message in then:
                            outgoing.put(message)
                        if hang_up:
                            outgoing.put(None)
                    if answer.HasField("standby_failed"):
                        return "StandbyFailed", answer.standby_failed.reason
                return call.code().name, call.details()
            except grpc.RpcError as error:
                return error.code().name, error.details()
            finally:
                outgoing.put(None)
                call.cancel()


def _bytes(message):
    return message if isinstance(message, bytes) else message.SerializeToString()


def data(payload, epoch=1, offset=0):
    return _pb.PrimaryMessage(generation=1,
                              checkpoint_data=_pb.CheckpointData(epoch=epoch, offset=offset, payload=payload))


def trailer(length, epoch=1, digest=0):
    return _pb.PrimaryMessage(generation=1, checkpoint_trailer=_pb.CheckpointTrailer(
        epoch=epoch, length=length, page_count=0, digest_xxh3=digest))
