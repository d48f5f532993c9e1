"""The baseline: which of the stories of `devices` Xen's own listener (`xl devd`) masters. It judges nothing."""

import functools

from lab import driver_domain
from lab.story import Failed
from scenarios import _device_stories

AFTER_S = 0.5
AWAY_S = 2


def run(story):
    tales = dict(_device_stories.STORIES)
    for moment in _device_stories.MOMENTS:
        tales[f"killed_{moment.__name__}"] = functools.partial(one_kill, moment)
    with story.lab(hosts=("alpha",)) as lab:
        lab.alpha.sh("xl destroy ledger")
        stage = None
        for name, tell in tales.items():
            if stage is None:
                stage = _device_stories.Stage(story, lab, driver_domain.XlDevd)
                stage.set_up(install=[])
            stage.begin()
            try:
                tell(stage)
                story.figures[name] = "ok"
            except Failed as failure:
                story.figures[name] = str(failure)
                stage.take_down()  # with all that was left behind in it
                stage = None
            story.step(f"xl devd, {name}: {story.figures[name]}")


def one_kill(moment, stage):
    moment(stage, AFTER_S, AWAY_S)
    stage.check_clean(f"after a kill {moment.__name__}")
