"""One failover, measured: the figures that the demo and the scenarios write."""

import time

from . import control, protected_pair

GUEST_TYPE = "pvh"
GUEST_MEMORY_MIB = 128


def _spread(spread, *keys):
    return {key: round(control.milliseconds(getattr(spread, key)), 1) for key in keys}


def replication_figures(protection):
    """The figures of the checkpoints so far, with the demo's keys."""
    status = protection.status
    return {
        "guest": {"type": GUEST_TYPE, "memory_mib": GUEST_MEMORY_MIB},
        "checkpoints": status.checkpoints_committed,
        "interval_ms_configured": round(control.milliseconds(protection.settings.interval)),
        "checkpoints_per_second": round(status.checkpoints_per_second, 3),
        "pause_ms": _spread(status.pause, "p50", "p99", "max"),
        "output_delay_ms": _spread(status.output_delay, "p50", "p99"),
        "dirty_pages": {"p50": status.dirty_pages_p50},
        "unchanged_pages": {"p50": status.unchanged_pages_p50},
    }


def status_line(protection):
    """The state of a protection in one line for a human."""
    status = protection.status
    return (f"{protected_pair.phase_name(status.phase)}: epoch {status.epoch}, committed {status.committed_epoch}, "
            f"{status.dirty_pages_last} dirty pages, pause {control.milliseconds(status.pause.p50):.0f} ms, "
            f"output delay {control.milliseconds(status.output_delay.p50):.0f} ms, "
            f"last commit {control.milliseconds(status.last_commit_age):.0f} ms ago")


def _would_take_over(standby):
    return standby.link_alive and protected_pair.standby_phase_name(standby.phase) == "STANDBY_READY"


class Failover:
    """A power cut of alpha and the takeover by beta, with the times that each part took.

        takeover = Failover(pair, client)
        takeover.cut()
        takeover.take_over()                    # or wait_active(), where the standby activates by itself
        figures = takeover.figures(verdict)
    """

    def __init__(self, pair, client, say=lambda text: None):
        self._pair = pair
        self._client = client
        self._say = say
        self._times_ms = {}
        self.before = None  # the Protection just before the cut
        self.standby = None  # the Standby after the takeover

    def _now_ms(self):
        return round((time.monotonic() - self._cut_at) * 1000, 1)

    def cut(self):
        # A machine too busy for a link timeout has lost the session and seeds anew: then there is nothing to take over yet.
        self._following = self._pair.watch_standby()
        if not self._following.wait(_would_take_over, 600):
            raise RuntimeError(f"there is nothing to take over before the cut: {self._following.value}")
        self.before = self._pair.protection()
        self._cut_at = time.monotonic()
        self._pair.lab.alpha.power_cut()
        self._client.mark()
        # The client counts from the mark; a machine of 1.5 GB takes a moment to vanish.
        self._mark_after_ms = self._now_ms()
        self._say("alpha has no power")

    def wait_detected(self, timeout_s=180):
        """Waits until the secondary tells the control plane that its link is dead."""
        if not self._following.wait(lambda each: not each.link_alive, timeout_s):
            raise RuntimeError(f"the secondary did not notice within {timeout_s} s that its primary is gone")
        self._times_ms["detect"] = self._now_ms()
        self._say(f"the link is known to be dead after {self._times_ms['detect']:.0f} ms")

    def take_over(self, detected=True):
        """As a control plane: waits for the news, then activates the standby. Without `detected`, as one that has cut the
        power itself and need not wait for the news."""
        if detected:
            self.wait_detected()
        called = self._now_ms()
        self.standby = self._pair.activate(primary_fenced=True)
        self._activated(called)

    def wait_active(self, timeout_s=180):
        """Where the policy is ON_LINK_LOSS: activates nothing, waits until the secondary has."""
        self.wait_detected(timeout_s)
        active = protected_pair.standby_phase_name
        self.standby = self._following.wait(lambda each: active(each.phase) == "STANDBY_ACTIVE", timeout_s)
        if not self.standby:
            raise RuntimeError(f"the standby was not active after {timeout_s} s: {self._following.value}")
        self._activated(self._times_ms["detect"])

    def _activated(self, called):
        self._times_ms["activate"] = round(self._now_ms() - called, 1)
        self._following.stop()
        self._say(f"beta runs the guest as domain {self.standby.domid}, {self._times_ms['activate']:.0f} ms after the "
                  "decision")

    def figures(self, verdict):
        """All of the demo's figures. `verdict`: the client's."""
        reply = verdict.get("first_reply_ms")
        self._times_ms["first_reply"] = None if reply is None else round(reply + self._mark_after_ms, 1)
        keys = ("answers_before", "answers_after", "forgotten", "contradicted", "tcp_connection_survived")
        return {**replication_figures(self.before), "failover_ms": self._times_ms,
                "client": {key: verdict.get(key) for key in keys}}
