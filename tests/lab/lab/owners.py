"""Never two running copies: watches both hosts while a scenario goes on."""

import threading
import time

from . import command

# Each look costs an emulated host some 100 ms of its one processor.
_EVERY_S = 1.0


class OwnerWatch:
    """Looks again and again which host runs a guest, from `with` to its end; check() fails if ever both did.

    The secondary is looked at first: a takeover stops the primary's copy for good before it starts the other, so a copy
    that still runs on the primary after one was seen running on the secondary is a second owner, never bad timing."""

    def __init__(self, lab):
        self._lab = lab
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.looks = 0
        self.seen_twice = None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(timeout=30)

    def _watch(self):
        started = time.monotonic()
        while not self._stop.wait(_EVERY_S):
            on_beta = running(self._lab.beta)
            on_alpha = running(self._lab.alpha)
            self.looks += 1
            if on_beta and on_alpha and not self.seen_twice:
                self.seen_twice = (f"{time.monotonic() - started:.1f} s into the watch alpha ran {on_alpha} and beta "
                                   f"{on_beta}")

    def check(self, story):
        story.check(not self.seen_twice, f"two running copies: {self.seen_twice}")
        story.check(self.looks > 0, "the hosts were never looked at")


def running(host):
    """{name: state} of the guests that run or could: neither paused nor dying. One that is suspended counts, because
    whoever suspended it is going to resume it."""
    try:
        return {name: state for name, (_, state) in host.domains().items() if "p" not in state and "d" not in state}
    except command.CommandError:
        return {}
