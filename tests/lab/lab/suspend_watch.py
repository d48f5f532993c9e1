"""What others on a host hear of its guest's suspends, as `xl save` does: over xenstore's @releaseDomain."""

import contextlib

from . import contenders, programs


class Others:
    def __init__(self, host, domain_id, built):
        """`built`: with contenders.FLOOR."""
        self._host = host
        self._domain_id = domain_id
        self._program = built[contenders.FLOOR]
        self._listener = None

    def listen(self):
        """From now on; no other domain of the host may end meanwhile."""
        # The watch's first event is its own.
        self._listener = self._host.start_daemon("release-watch", "xenstore-watch -n 2 @releaseDomain")

    def heard(self):
        """Whether they have heard of a suspend since listen()."""
        return self._host.sh(f"test -e /proc/{self._listener}", check=False).status != 0

    @contextlib.contextmanager
    def suspending(self):
        """Somebody suspends and resumes the guest again and again, the way a toolstack does."""
        self._host.install([self._program])
        pid = self._host.start_daemon(
            "others-suspend", f"/opt/romulus/bin/{programs.name(contenders.FLOOR)} {self._domain_id} 200")
        try:
            yield
        finally:
            self._host.sh(f"kill {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.1; done")

    def monitors(self):
        """The processes that `xl create` leaves to wait for the guest's end."""
        return self._host.sh("pidof xl", check=False).stdout.split()

    def suspend_port(self):
        return self._host.out(f"xenstore-read /libxl/{self._domain_id}/romulus/suspend-port").strip()
