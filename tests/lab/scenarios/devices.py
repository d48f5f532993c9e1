"""A driver domain serves a guest's vif and disk through romulus-backendd, which is killed again and again.

Stock `xl` creates and destroys the guest; each time the daemon is killed and restarted at another moment, and nothing
may be left behind. Then the known faults of Xen's own listener (which `xl-devd` shows), each as a story.
"""

import random
import time

from lab import driver_domain, programs
from lab.story import Failed
from scenarios import _device_stories

BREAKS = {"not-restarted": "a daemon that was killed is not started again"}
CYCLES = 20  # --cuts
TRIES = 3
SEED = 1  # of the moments of the kills
LISTENER_AWAY_S = 4.0  # at most: xl itself gives up after 10 s, and then removes what the daemon would need to know


def run(story):
    built = programs.build([programs.BACKENDD])
    with story.lab(hosts=("alpha",)) as lab:
        lab.alpha.sh("xl destroy ledger")
        stage = _device_stories.Stage(story, lab, NotRestarted if story.broken else driver_domain.Listener)
        stage.set_up(install=built.values())
        try:
            cycles(story, stage)
            for name, tell in _device_stories.STORIES.items():
                patiently(story, stage, tell)
                story.step(name)
        except Exception:
            story.step(stage.logs())
            raise
        story.figures["stories"] = list(_device_stories.STORIES)


def patiently(story, stage, tell):
    """Tells it again where the machine was too slow for it."""
    for _ in range(TRIES):
        stage.begin()
        try:
            return tell(stage)
        except _device_stories.CameTooLate as left:
            story.figures["came_too_late"] = story.figures.get("came_too_late", 0) + 1
            story.step(f"once more, the listener came too late: {left}")
            stage.driver.release_loop_devices()
    raise Failed(f"the listener came too late {TRIES} times in a row: this machine is too slow")


class NotRestarted(driver_domain.Listener):
    def restart_after(self, seconds):
        self.kill()


def cycles(story, stage):
    moments = random.Random(SEED)
    count = story.cuts or CYCLES
    story.figures["cycles"] = []
    for number in range(1, count + 1):
        kill = _device_stories.MOMENTS[number % len(_device_stories.MOMENTS)]
        after_s, away_s = round(moments.uniform(0, 1), 2), round(moments.uniform(0, LISTENER_AWAY_S), 1)
        started = time.monotonic()

        def cycle(stage):
            kill(stage, after_s, away_s)
            stage.check_clean(f"after cycle {number}, {kill.__name__}")

        patiently(story, stage, cycle)
        story.figures["cycles"].append({"killed": kill.__name__, "away_s": away_s,
                                        "seconds": round(time.monotonic() - started, 1)})
        story.step(f"cycle {number} of {count}: the listener was killed {kill.__name__.replace('_', ' ')}, away for "
                   f"{away_s} s; nothing is left")
