"""Follows a protection's epochs (ProtectionService.WatchEpochs): one line for each, and a summary of what pauses are made
of.

    with epoch_trace.follow(pair) as trace:
        ...
    print(trace.summary())

TraceFile has the same figures from a file that the agent writes. On an emulated host a message for each epoch costs a tenth
of an idle guest's rate at 40 ms: whoever measures that reads the file when the time is over.
"""

import contextlib
import threading

from . import control
from .pause_watch import quantile

_PARTS = [field.name for field in control.protection_service_pb2.PauseParts.DESCRIPTOR.fields]
_TIMES = ["ran", "pause", *_PARTS, "commit", "output_delay"]
_COUNTS = ["dirty_pages", "unchanged_pages", "bytes", "wire_bytes"]
# Where a column of the agent's file is called otherwise: there the parts came after sums of some of them.
_COLUMNS = {"suspend": "suspended", "resume": "resumed"}


def _times_ms(epoch):
    whole = {name: getattr(epoch, name) for name in ("ran", "pause", "commit", "output_delay")}
    parts = {name: getattr(epoch.pause_parts, name) for name in _PARTS}
    return {name: control.milliseconds(value) for name, value in {**whole, **parts}.items()}


def line(epoch):
    """One EpochTrace, for a human."""
    times = _times_ms(epoch)
    parts = ", ".join(f"{name} {times[name]:.1f}" for name in _PARTS if times[name])
    return (f"epoch {epoch.epoch}: ran {times['ran']:.0f} ms, pause {times['pause']:.1f} ms ({parts}), commit "
            f"{times['commit']:.1f} ms, output delay {times['output_delay']:.1f} ms, {epoch.dirty_pages} pages "
            f"({epoch.unchanged_pages} unchanged), "
            f"{epoch.bytes} bytes, {epoch.wire_bytes} sent")


def spreads_of(epochs):
    """{part: {"p50", "p99", "max"}} of epochs that are dictionaries, times in milliseconds."""
    values = {name: [epoch[name] for epoch in epochs] for name in _TIMES + _COUNTS}
    return {name: {"p50": round(quantile(each, 0.5), 2), "p99": round(quantile(each, 0.99), 2),
                   "max": round(max(each), 2)} for name, each in values.items() if each}


class EpochTrace:
    """`epochs`: every EpochTrace so far. `missed`: how many the agent dropped because this reader was slow. `ended`: why
    the agent's stream ended, or None. on_epoch(epoch) is called on a thread of its own."""

    def __init__(self, pair, on_epoch=None):
        self.epochs = []
        self.missed = 0
        self.ended = None
        self._on_epoch = on_epoch
        request = control.protection_service_pb2.WatchEpochsRequest(name=pair.name)
        self._call = pair.primary.control.protections.WatchEpochs(request)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self):
        try:
            for response in self._call:
                self.missed += response.missed
                self.epochs.append(response.epoch)
                if self._on_epoch:
                    self._on_epoch(response.epoch)
            self.ended = "the agent ended it"
        except control.RpcError as error:
            self.ended = f"{error.code().name}: {error.details()}"

    def stop(self):
        self._call.cancel()
        self._thread.join(timeout=10)

    def gaps(self):
        """[(epoch, the one that came after it)] where they do not follow each other."""
        numbers = [each.epoch for each in self.epochs]
        return [(first, then) for first, then in zip(numbers, numbers[1:]) if then != first + 1]

    def spreads(self, first=0, last=None):
        """{part: {"p50", "p99", "max"}} of epochs[first:last], times in milliseconds."""
        return spreads_of([{**_times_ms(epoch), **{name: getattr(epoch, name) for name in _COUNTS}}
                           for epoch in self.epochs[first:last]])

    def summary(self, first=0, last=None):
        """The spreads as a table."""
        rows = [f"{'':14}{'p50':>12}{'p99':>12}{'max':>12}"]
        for name, spread in self.spreads(first, last).items():
            unit = "" if name in _COUNTS else " ms"
            rows.append(f"{name:14}" + "".join(f"{spread[key]:>12}" for key in ("p50", "p99", "max")) + unit)
        return "\n".join(rows)


class TraceFile:
    """What a primary agent writes for each epoch of its one protection; to be made before the agent is started."""

    def __init__(self, agent, path):
        self._host = agent.host
        self._path = path
        agent.arguments.append(f"--epoch_trace={path}")

    def count(self):
        """How many epochs it has, without reading it."""
        return int(self._host.out(f"wc -l <{self._path}")) - 1

    def epochs(self):
        """[{name: value}] so far, times in milliseconds."""
        header, *lines = self._host.get(self._path).rpartition("\n")[0].splitlines()  # without one that is being written
        rows = (dict(zip(header.split(), line.split())) for line in lines)
        return [{**{name: int(row[f"{_COLUMNS.get(name, name)}_us"]) / 1000 for name in _TIMES},
                 **{name: int(row[name]) for name in _COUNTS}} for row in rows]


@contextlib.contextmanager
def follow(pair, on_epoch=None):
    trace = EpochTrace(pair, on_epoch)
    try:
        yield trace
    finally:
        trace.stop()
