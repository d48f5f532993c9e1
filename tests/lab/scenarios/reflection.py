"""A client without any proto file of ours finds both agents' services by reflection, and calls one."""

import json
import pathlib
import subprocess
import sys

from lab import protected_pair

CLIENT = pathlib.Path(__file__).resolve().parents[1] / "reflection/client.py"
HOST = "romulus.control.v1.HostService"
PROTECTION = "romulus.control.v1.ProtectionService"
STANDBY = "romulus.control.v1.StandbyService"
COMMON = {HOST, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
# --break one-agent: the client is sent to the same agent twice.
BREAKS = {"one-agent": "both times the primary agent is asked: the secondary's services are not there"}


def ask(address, *call):
    """What the client, a process of its own, prints."""
    asked = subprocess.run([sys.executable, "-B", str(CLIENT), address, *call], capture_output=True, text=True,
                           timeout=120)
    if asked.returncode != 0:
        raise RuntimeError(f"the reflection client at {address}: {asked.stderr[-1500:]}")
    return json.loads(asked.stdout)


def run(story):
    with protected_pair.agents_up(story) as pair:
        primary = ask(pair.primary.address)
        secondary = ask((pair.primary if story.broken else pair.secondary).address)
        expect(story, "alpha", primary, PROTECTION,
               {"CreateProtection", "GetProtection", "ListProtections", "UpdateProtection", "DeleteProtection",
                "FenceProtection", "WatchProtections"})
        expect(story, "beta", secondary, STANDBY,
               {"GetStandby", "ListStandbys", "WatchStandbys", "ActivateStandby", "DeleteStandby"})
        fields = set(primary["services"][PROTECTION]["CreateProtection"]["request"])
        story.check(fields == {"protection_id", "protection", "request_id", "validate_only"},
                    f"CreateProtection takes {fields}")

        story.step("calling with messages known by reflection only")
        host = ask(pair.primary.address, HOST, "GetHost")
        story.check(host.get("xenVersion", "").startswith("4.17") and host["role"] == "PRIMARY", f"GetHost: {host}")
        checked = ask(pair.primary.address, PROTECTION, "CreateProtection",
                      json.dumps({"validate_only": True, "protection": {"domain": "ledger", "secondary_address": "10.81.0.2:7452"}}))
        story.check(checked.get("name") == "protections/ledger", f"CreateProtection, validate_only: {checked}")
        story.figures["services"] = {"alpha": sorted(primary["services"]), "beta": sorted(secondary["services"])}


def expect(story, name, found, service, methods):
    story.step(f"{name}: {found['health']}, {', '.join(found['services'])}")
    story.check(found["health"] == "SERVING", f"{name} is {found['health']}")
    story.check(COMMON | {service} <= set(found["services"]), f"{name} serves {found['services']}")
    story.check(set(found["services"][service]) == methods, f"{name}: {service} has {found['services'][service]}")
