"""What `versus-xl-remus` compares, each behind the same few calls: Romulus, stock `xl remus -n`, and the floor, a loop that
suspends and resumes the guest and copies nothing.

    contender = Romulus(lab, built, interval_ms, turn)    # turn: a number, no two with the same in a life of the hosts
    contender.start(watch)      # a PauseWatch of the guest; returns when checkpoints are being made
    contender.progress()        # how many checkpoints (or pauses) it has made, by its own account
    contender.own(before, after)
    contender.stop()            # unless the hosts are restarted next
    contender.may_be_unheard    # its guest may leave its client without a word for a minute
"""

import re

from . import epoch_trace, programs, protected_pair, xl_remus
from .lab import GUEST
from .pause_watch import spread

FLOOR = "//tests/lab/dom0:suspend_floor"
# libxc's stream has a page's frame number beside its bytes.
_STREAM_BYTES_PER_PAGE = 4096 + 8


class Floor:
    name = "floor"
    may_be_unheard = False
    primary_processes = ("suspend_floor",)
    secondary_processes = ()

    def __init__(self, lab, built, interval_ms, turn):
        self._host = lab.alpha
        self._program = built[FLOOR]
        self._interval_ms = interval_ms
        self._log = f"{self.name}-{interval_ms}-{turn}"

    def start(self, watch):
        self._host.install([self._program])
        domain_id = self._host.domains()[GUEST][0]
        self._pid = self._host.start_daemon(
            self._log, f"/opt/romulus/bin/{programs.name(FLOOR)} {domain_id} {self._interval_ms}")
        watch.wait_more(3)

    def progress(self):
        return len(self._host.log(self._log).splitlines())

    def own(self, before, after):
        """Its own figures: the parts that a pause has at least."""
        rows = [[int(each) / 1000 for each in line.split()] for line in self._host.log(self._log).splitlines()]
        _, acknowledge, suspend, pause = zip(*rows[before:after])
        return {"pause_ms": spread(pause), "acknowledge_ms": spread(acknowledge), "suspend_ms": spread(suspend)}

    def stop(self):
        """Returns when the guest runs and nobody suspends it any more."""
        self._host.sh(f"kill {self._pid}; while kill -0 {self._pid} 2>/dev/null; do sleep 0.1; done")


class Romulus:
    name = "romulus"
    may_be_unheard = False
    primary_processes = ("romulus-primary", "romulus-save-helper")
    secondary_processes = ("romulus-secondary", "romulus-restore-helper")

    def __init__(self, lab, built, interval_ms, turn):
        # Patient, as the other two are: a machine that stands still for a moment is no lost link.
        settings = protected_pair.Settings(interval_ms=interval_ms, link_timeout_ms=10_000)
        self._pair = protected_pair.ProtectedPair(lab, built, settings)
        # As the floor's: a line for each pause in a file, which is read when the time is over.
        self._trace = epoch_trace.TraceFile(self._pair.primary,
                                            f"/opt/romulus/log/{self.name}-{interval_ms}-{turn}.epochs")

    def start(self, watch):
        self._pair.start_agents()
        self._pair.create()
        self._pair.wait_protected()
        self._pair.wait_checkpoints(3)  # the first carries what changed while the whole memory was copied

    def progress(self):
        return self._trace.count()

    def own(self, before, after):
        """By its own trace: what the pauses are made of, and what only it has, an output delay."""
        epochs = self._trace.epochs()[before:after]
        if not epochs:
            raise RuntimeError("Romulus committed no checkpoint")
        spreads = epoch_trace.spreads_of(epochs)
        return {"raw_bytes": round(sum(epoch["bytes"] for epoch in epochs) / len(epochs)), "trace": spreads,
                "output_delay_ms": {key: round(spreads["output_delay"][key], 1) for key in ("p50", "p99")}}

    def stop(self):
        self._pair.delete()
        for agent in (self._pair.primary, self._pair.secondary):
            agent.stop()
        self._pair.disconnect()


class XlRemus:
    name = "xl_remus"
    # Every 40 ms, with a load, its guest is paused so much that it has no word for its client within a minute.
    may_be_unheard = True
    primary_processes = ("xl", "libxl-save-helper", "socat")
    secondary_processes = ("xl", "libxl-save-helper", "socat")

    def __init__(self, lab, built, interval_ms, turn):
        self._lab = lab
        self._remus = xl_remus.XlRemus(lab, GUEST, interval_ms)

    def start(self, watch):
        self._remus.start(watched=True)
        self._remus.wait_running(watch.count)

    def progress(self):
        return len(self._pages())

    def _pages(self):
        return [int(count) for count in re.findall(r"Checkpointed save: (\d+)/\1 ", self._lab.alpha.log("xl-remus"))]

    def own(self, before, after):
        pages = self._pages()[before:after]
        # It holds back nothing: its output waits for no checkpoint.
        return {"raw_bytes": round(sum(pages) * _STREAM_BYTES_PER_PAGE / len(pages)) if pages else None}

    def stop(self):
        raise NotImplementedError("xl remus ends with its guest suspended or taken over: restart the lab")
