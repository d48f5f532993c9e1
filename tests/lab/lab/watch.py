"""Follows one resource by the agent's Watch call, on a thread of its own."""

import threading

from . import control


class Watch:
    """The newest state that a Watch call told of: `value` (None before the first). Ends with the call; `ended` says
    so and why. `on_change(value)` is called on the watch's thread, for every state."""

    def __init__(self, call, value_of, on_change=None):
        self.value = None
        self.ended = None
        self._call = call
        self._value_of = value_of
        self._on_change = on_change
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self):
        why = "the agent ended the watch"
        try:
            for response in self._call:
                if response.event == control.common_pb2.SYNCED:
                    continue
                value = None if response.event == control.common_pb2.DELETED else self._value_of(response)
                with self._changed:
                    self.value = value
                    self._changed.notify_all()
                if self._on_change and value is not None:
                    self._on_change(value)
        except control.RpcError as error:
            why = f"{error.code().name}: {error.details()}"
        with self._changed:
            self.ended = why
            self._changed.notify_all()

    def wait(self, condition, timeout_s, every_s=None, on_wait=None):
        """Waits until condition(value) holds and returns the value; None if the time is over or the watch ended.
        Meanwhile calls on_wait(value) each `every_s` seconds."""
        waited = 0.0
        step = every_s or timeout_s
        with self._changed:
            while not self._changed.wait_for(lambda: self._holds(condition) or self.ended, step):
                waited += step
                if waited >= timeout_s:
                    return None
                if on_wait:
                    on_wait(self.value)
            return self.value if self._holds(condition) else None

    def _holds(self, condition):
        return self.value is not None and condition(self.value)

    def stop(self):
        self._call.cancel()
        self._thread.join(timeout=10)


def protection(agent, name, period_ms=1000, on_change=None):
    request = control.protection_service_pb2.WatchProtectionsRequest(name=name, period=control.duration(period_ms))
    return Watch(agent.control.protections.WatchProtections(request), lambda each: each.protection, on_change)


def standby(agent, name, period_ms=50, on_change=None):
    request = control.standby_service_pb2.WatchStandbysRequest(name=name, period=control.duration(period_ms))
    return Watch(agent.control.standbys.WatchStandbys(request), lambda each: each.standby, on_change)
