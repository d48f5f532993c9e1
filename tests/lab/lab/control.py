"""The control plane's side: calls the agents' gRPC services with code generated from the repository's protos.

The driver's process is in the switch's network namespace (Lab.up), so the agents' management addresses are plain
addresses to it. Import this module after that: gRPC's threads stay in the namespace that they are started in.
"""

import pathlib
import subprocess
import sys
import time

import grpc

from . import cache

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]


def _generate(directory):
    protos = sorted(path.relative_to(REPOSITORY) for path in _protos())
    subprocess.run(["protoc", f"-I{REPOSITORY}", f"--python_out={directory}", f"--grpc_out={directory}",
                    "--plugin=protoc-gen-grpc=/usr/bin/grpc_python_plugin", *map(str, protos)],
                   check=True, cwd=REPOSITORY)


def _protos():
    return [path for folder in ("control", "replication") for path in (REPOSITORY / "proto" / folder).rglob("*.proto")]


sys.path.insert(0, str(cache.built("control-stubs", [pathlib.Path(__file__), *sorted(_protos())], _generate)))

# Importable only now: they are what was just generated.
from google.protobuf import duration_pb2, field_mask_pb2  # noqa: E402
from proto.control.v1 import (common_pb2, host_service_pb2, host_service_pb2_grpc,  # noqa: E402
                              protection_service_pb2, protection_service_pb2_grpc, standby_service_pb2,
                              standby_service_pb2_grpc)
from proto.replication.v1 import domain_pb2, replication_pb2  # noqa: E402

RpcError = grpc.RpcError

__all__ = ["AgentChannel", "RpcError", "common_pb2", "domain_pb2", "duration", "field_mask_pb2", "host_service_pb2",
           "milliseconds", "protection_service_pb2", "replication_pb2", "standby_service_pb2"]


def duration(milliseconds):
    """A google.protobuf.Duration."""
    made = duration_pb2.Duration()
    made.FromMicroseconds(round(milliseconds * 1000))
    return made


def milliseconds(value):
    """A google.protobuf.Duration in milliseconds, with fractions."""
    return value.seconds * 1e3 + value.nanos / 1e6


class AgentChannel:
    """One agent's services: `protections`, `standbys` and `hosts` are gRPC stubs; calls take timeout=SECONDS."""

    def __init__(self, target):
        self.target = target
        # Reconnect at once: agents are restarted and hosts come back within a scenario. The least backoff is also how
        # long a connection may take to come about, which emulation stretches.
        self._channel = grpc.insecure_channel(target, options=[
            ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 5000),
            ("grpc.max_reconnect_backoff_ms", 500)])
        self.protections = protection_service_pb2_grpc.ProtectionServiceStub(self._channel)
        self.standbys = standby_service_pb2_grpc.StandbyServiceStub(self._channel)
        self.hosts = host_service_pb2_grpc.HostServiceStub(self._channel)

    def wait_ready(self, timeout_s=120):
        """Waits until the agent takes calls."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                grpc.channel_ready_future(self._channel).result(timeout=0.5)
                return
            except grpc.FutureTimeoutError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no agent answers at {self.target} after {timeout_s} s") from None

    def close(self):
        self._channel.close()
