"""What a scenario is told with: labs, steps, checks and figures.

A scenario is a module in tests/lab/scenarios: its docstring's first line is its summary, `BREAKS` (optional) maps the
names of faults that it can be run with (--break) to what they do, `IN_CI = True` (optional) puts it among those that
every tests/run includes, and `run(story)` tells it. It fails by raising; `story.check` raises Failed with a reason in
words.
"""

import contextlib
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
import time

from . import progress
from .lab import Lab

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]


class Failed(Exception):
    """The scenario ran, and what it shows is not so."""


class Story:
    def __init__(self, name, broken=None, keep=False, cuts=None, only=None, minutes=None):
        self.name = name
        self.broken = broken  # the mutant to run with, or None
        self.keep = keep
        self.cuts = cuts  # how many power cuts were asked for, or None
        self.only = only  # which rows were asked for, or None: all
        self.minutes = minutes  # how long it was asked to take, or None
        self.figures = {}
        self._started = time.monotonic()
        self._labs = 0

    def step(self, text):
        progress.say(f"[{time.monotonic() - self._started:6.1f} s] {text}")

    def check(self, condition, why):
        if not condition:
            raise Failed(why)

    def eventually(self, condition, why, timeout_s=120, every_s=0.2):
        """Waits until `condition()` is true and returns its value; Failed(why) if that takes too long. Says every 5
        seconds that it waits."""
        started = time.monotonic()
        said_at = started
        while not (value := condition()):
            now = time.monotonic()
            if now > started + timeout_s:
                raise Failed(f"{why} (waited {timeout_s} s)")
            if now > said_at + 5:
                said_at = now
                self.step(f"... for {now - started:.0f} s")
            time.sleep(every_s)
        return value

    @contextlib.contextmanager
    def lab(self, **options):
        """A fresh lab from the snapshot. If the scenario fails in it, its logs are kept and their folder is named."""
        self._labs += 1
        lab = Lab(f"run{os.getpid()}x{self._labs}", detached=self.keep, **options)
        with lab:
            lab.up()
            try:
                yield lab
            except BaseException:
                keep_logs(lab, self.name)
                raise
            finally:
                if self.keep:
                    progress.say(f"kept: tests/lab/host sh --id {lab.id} alpha 'xl list'; the end: tests/lab/host "
                                 f"down --id {lab.id}")


def keep_logs(lab, name):
    """Copies what the hosts have to say, as far as they still can."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"romulus-lab-{name}-"))
    for each in lab.hosts.values():
        target = folder / each.name
        shutil.copytree(each.folder, target, ignore=shutil.ignore_patterns("monitor"))
        if not each.powered():
            continue
        try:
            listing = each.sh("ls /opt/romulus/log/* /var/log/xen/*.log /var/log/xen/console/* 2>/dev/null",
                              timeout_s=60, check=False).stdout
            for path in listing.split():
                (target / os.path.basename(path)).write_text(each.get(path))
            look = "xl list; ip -d link; tc -s qdisc; ps; dmesg | tail -50; xenstore-ls -f"
            (target / "state.txt").write_text(each.sh(look, timeout_s=60, check=False).stdout)
        except Exception as error:  # the logs are a courtesy: they must not hide why the scenario failed
            (target / "no-logs.txt").write_text(str(error))
    progress.say(f"logs of the failure: {folder}")


def commit():
    """The commit under test, with -dirty if the tree is not exactly it; "unknown" outside a repository."""
    described = subprocess.run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty", "--abbrev=40",
                                "--exclude=*"], capture_output=True, text=True)
    return described.stdout.strip() or "unknown"


def machine():
    """What the figures were measured on, in words."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    return f"{os.cpu_count()} x {model}; {qemu}, TCG"
