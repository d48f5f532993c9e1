"""Tells a waiting human what takes so long: one line when a phase starts and one when it ended."""

import contextlib
import sys
import time


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def phase(text):
    started = time.monotonic()
    say(f"{text} ...")
    yield
    say(f"{text}: done in {time.monotonic() - started:.1f} s")
