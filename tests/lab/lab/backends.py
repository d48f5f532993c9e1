"""The devices that an agent's host serves, as HostService tells of them."""

import threading

from . import control

_pb = control.host_service_pb2


def listed(channel):
    """{name: Backend} of all pages, two at a time."""
    found, token = {}, ""
    while True:
        page = channel.hosts.ListBackends(_pb.ListBackendsRequest(page_size=2, page_token=token), timeout=120)
        found.update((each.name, each) for each in page.backends)
        token = page.next_page_token
        if not token:
            return found


class Watch:
    """What WatchBackends sends, until `close`: `events`, a list of (event's name, Backend)."""

    def __init__(self, channel):
        self.events = []
        self._call = channel.hosts.WatchBackends(_pb.WatchBackendsRequest())
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            for each in self._call:
                self.events.append((control.common_pb2.WatchEvent.Name(each.event), each.backend))
        except control.RpcError:
            pass  # It was closed, or its agent ended.

    def of(self, name):
        """The events of one backend, each followed by the phase that it was in, in order."""
        return [(event, _pb.Backend.Phase.Name(each.phase)) for event, each in self.events if each.name == name]

    def close(self):
        self._call.cancel()
        self._thread.join()
