"""Both hosts with their agents, and one protection of the lab's guest from alpha to beta.

    pair = ProtectedPair(lab, programs.build(), Settings(interval_ms=200))
    pair.start_agents()
    pair.protect()
    lab.alpha.power_cut()
    pair.activate()

In a scenario, `with protected(story) as pair:` does all but the last two.
"""

import contextlib
import copy
import dataclasses
import time

from google.protobuf import text_format

from . import agents, control, programs, progress, watch
from .lab import GUEST

ID = GUEST
PROTECTION = f"protections/{ID}"
STANDBY = f"standbys/{ID}"

_protection_pb = control.protection_service_pb2
_standby_pb = control.standby_service_pb2


@dataclasses.dataclass(frozen=True)
class Settings:
    """ProtectionSettings; None is the agent's own default."""
    interval_ms: int = 100
    failover_policy: str = "BY_REQUEST"
    secondary_loss_policy: str = "SECONDARY_LOSS_POLICY_UNSPECIFIED"
    heartbeat_interval_ms: int = None
    link_timeout_ms: int = None
    suspend_timeout_ms: int = None
    encoding: str = "ENCODING_UNSPECIFIED"
    stream_mode: str = "STREAM_MODE_UNSPECIFIED"

    def message(self):
        made = _protection_pb.ProtectionSettings(
            failover_policy=control.replication_pb2.FailoverPolicy.Value(self.failover_policy),
            secondary_loss_policy=_protection_pb.SecondaryLossPolicy.Value(self.secondary_loss_policy),
            encoding=_protection_pb.Encoding.Value(self.encoding),
            stream_mode=control.replication_pb2.StreamMode.Value(self.stream_mode))
        for field in ("interval", "heartbeat_interval", "link_timeout", "suspend_timeout"):
            value = getattr(self, f"{field}_ms")
            if value is not None:
                getattr(made, field).CopyFrom(control.duration(value))
        return made


def phase_name(phase):
    return _protection_pb.ProtectionPhase.Name(phase)


def standby_phase_name(phase):
    return _standby_pb.StandbyPhase.Name(phase)


class ProtectedPair:
    """`primary` and `secondary` are the agents (agents.Agent). One per lab; beside() for more guests of it."""

    def __init__(self, lab, built, settings=Settings(), primary=programs.PRIMARY, secondary=programs.SECONDARY):
        self.lab = lab
        self.guest = GUEST
        self.settings = settings
        self.generation = 1
        self._built = built
        self.primary = agents.primary(lab.alpha, programs.name(primary))
        self.secondary = agents.secondary(lab.beta, programs.name(secondary))

    @property
    def name(self):
        return f"protections/{self.guest}"

    @property
    def standby_name(self):
        return f"standbys/{self.guest}"

    def beside(self, guest):
        """The protection of another guest by the same agents."""
        other = copy.copy(self)
        other.guest = guest
        other.generation = 1
        return other

    # --- making it ---

    def start_agents(self):
        with progress.phase("installing and starting the agents"):
            self.start_primary_agent()
            self.start_secondary_agent()

    def start_primary_agent(self):
        self._install(self.lab.alpha, self.primary.program, programs.name(programs.SAVE_HELPER))
        self.primary.start()

    def start_secondary_agent(self):
        """Also on a host that was powered on again and has nothing of before."""
        self._install(self.lab.beta, self.secondary.program, programs.name(programs.RESTORE_HELPER))
        self.secondary.start()

    def _install(self, host, *names):
        host.install([path for label, path in self._built.items() if programs.name(label) in names])

    def reconnect(self):
        """After lab.restart(): the agents came with the saved state, the calls to them did not."""
        self.primary.connect()
        self.secondary.connect()

    def disconnect(self):
        """Before another pair of the same hosts is made: gRPC would take its connections, dead ones too, for theirs."""
        self.primary.control.close()
        self.secondary.control.close()

    def create_request(self, **fields):
        """A CreateProtectionRequest for its guest; `fields` replace those of its Protection."""
        wanted = {"domain": self.guest, "settings": self.settings.message(),
                  "secondary_address": f"{self.lab.hosts['beta'].replication_address}:{agents.REPLICATION_PORT}"}
        wanted.update(fields)
        return _protection_pb.CreateProtectionRequest(protection_id=self.guest,
                                                      protection=_protection_pb.Protection(**wanted))

    def create(self, **fields):
        """CreateProtection: returns once the first copy has begun. Raises control.RpcError."""
        return self.primary.control.protections.CreateProtection(self.create_request(**fields), timeout=300)

    def protect(self, attempts=3, **fields):
        """create() and wait_protected(). Tries again where the secondary did not answer in time: a machine that is busy
        with other work may take half a minute to make a domain. Returns the Protection."""
        for remaining in range(attempts - 1, -1, -1):
            try:
                self.create(**fields)
                return self.wait_protected()
            except control.RpcError as error:
                if error.code().name != "UNAVAILABLE" or not remaining:
                    raise
                progress.say(f"CreateProtection, to be tried again: {error.details()}")

    def wait_phase(self, *phases, timeout_s=1800, say=progress.say):
        """Waits until the protection is in one of `phases` (names), with a line on the way there every 5 seconds.
        Returns the Protection; raises RuntimeError if it does not get there in time, or fails."""
        final = {*phases, "FAILED"}
        started = time.monotonic()

        def tell(protection):
            if protection is None:
                return say(f"no protection after {time.monotonic() - started:.0f} s")
            status = protection.status
            copied = f", {status.sent_bytes >> 20} MiB sent" if status.sent_bytes else ""
            trouble = f" ({status.last_error})" if status.last_error else ""
            say(f"{phase_name(status.phase)} for {time.monotonic() - started:.0f} s{copied}{trouble}")

        following = watch.protection(self.primary, self.name, period_ms=500)
        try:
            reached = following.wait(lambda each: phase_name(each.status.phase) in final, timeout_s, 5, tell)
        finally:
            following.stop()
        if reached is None:
            last = following.value
            raise RuntimeError(f"the protection did not become {' or '.join(phases)} in {timeout_s} s: "
                               f"{phase_name(last.status.phase) if last else following.ended}"
                               f"{' ' + last.status.last_error if last else ''}")
        if phase_name(reached.status.phase) not in phases:
            raise RuntimeError(f"the protection failed: {reached.status.last_error}")
        return reached

    def wait_protected(self, timeout_s=1800, say=progress.say):
        return self.wait_phase("PROTECTED", timeout_s=timeout_s, say=say)

    def wait_protected_again(self, before, timeout_s=1800):
        """Waits until a session newer than that of `before` (a Protection) protects the guest. Returns the
        Protection."""

        def protected_anew(each):
            return each.status.sessions > before.status.sessions and phase_name(each.status.phase) == "PROTECTED"

        following = watch.protection(self.primary, self.name, period_ms=500)
        try:
            reached = following.wait(protected_anew, timeout_s)
        finally:
            following.stop()
        if reached is None:
            last = following.value
            state = f"{phase_name(last.status.phase)} {last.status.last_error}" if last else following.ended
            raise RuntimeError(f"the protection is not PROTECTED in a new session after {timeout_s} s: {state}")
        return reached

    def wait_checkpoints(self, count, timeout_s=1800, on_status=None):
        """Waits until `count` checkpoints are committed; on_status(protection) is called about once per second. Without
        it, a line says every 5 seconds how many there are."""

        def tell(protection):
            got = protection.status.checkpoints_committed if protection else 0
            progress.say(f"{got} of {count} checkpoints")

        following = watch.protection(self.primary, self.name, period_ms=1000, on_change=on_status)
        try:
            reached = following.wait(lambda each: each.status.checkpoints_committed >= count, timeout_s, 5,
                                     None if on_status else tell)
        finally:
            following.stop()
        if reached is None:
            got = following.value.status.checkpoints_committed if following.value else 0
            raise RuntimeError(f"{got} instead of {count} checkpoints in {timeout_s} s; {following.ended or ''}")
        return reached

    def wait_more_checkpoints(self, count, timeout_s=1800):
        """Waits until `count` checkpoints more than now are committed. Returns the Protection."""
        return self.wait_checkpoints(self.protection().status.checkpoints_committed + count, timeout_s)

    # --- looking at it and ending it ---

    def protection(self):
        request = _protection_pb.GetProtectionRequest(name=self.name)
        return self.primary.control.protections.GetProtection(request, timeout=120)

    def standby(self):
        request = _standby_pb.GetStandbyRequest(name=self.standby_name)
        return self.secondary.control.standbys.GetStandby(request, timeout=300)

    def protections(self):
        request = _protection_pb.ListProtectionsRequest()
        return list(self.primary.control.protections.ListProtections(request, timeout=120).protections)

    def standbys(self):
        request = _standby_pb.ListStandbysRequest()
        return list(self.secondary.control.standbys.ListStandbys(request, timeout=120).standbys)

    def watch_standby(self, period_ms=50):
        return watch.standby(self.secondary, self.standby_name, period_ms)

    def activate(self, primary_fenced=True, timeout_s=180):
        """ActivateStandby in the next generation. Returns the Standby; raises control.RpcError."""
        self.generation += 1
        request = _standby_pb.ActivateStandbyRequest(name=self.standby_name, generation=self.generation,
                                                     primary_fenced=primary_fenced)
        return self.secondary.control.standbys.ActivateStandby(request, timeout=timeout_s)

    def delete(self, without_secondary=False, timeout_s=180):
        request = _protection_pb.DeleteProtectionRequest(name=self.name, generation=self.generation,
                                                         unprotect_without_secondary=without_secondary)
        return self.primary.control.protections.DeleteProtection(request, timeout=timeout_s)


@contextlib.contextmanager
def agents_up(story, settings=Settings(), primary=programs.PRIMARY, **lab_options):
    """For scenarios: a fresh lab with both agents, nothing protected yet."""
    labels = [primary if label == programs.PRIMARY else label for label in programs.AGENTS]
    built = programs.build(labels)
    with story.lab(**lab_options) as lab:
        pair = ProtectedPair(lab, built, settings, primary)
        pair.start_agents()
        try:
            yield pair
        except Exception:
            _say_state(pair)
            raise


def _say_state(pair):
    """What both agents have to say when a scenario fails, as far as they can be asked."""
    for agent, ask in ((pair.primary, pair.protections), (pair.secondary, pair.standbys)):
        try:
            for each in ask():
                progress.say(f"{agent.program} at the failure: {text_format.MessageToString(each, as_one_line=True)}")
        except control.RpcError as error:
            progress.say(f"{agent.program} at the failure: {error.code().name}: {error.details()}")


@contextlib.contextmanager
def protected(story, settings=Settings(), primary=programs.PRIMARY, **lab_options):
    """For scenarios: a fresh lab whose guest is PROTECTED."""
    with agents_up(story, settings, primary, **lab_options) as pair:
        story.step("protecting the guest")
        pair.protect()
        yield pair
