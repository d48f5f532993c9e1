"""The external client: the ledger client program in its own network namespace, and a quick look whether the guest's
service answers."""

import json
import socket
import subprocess
import threading
import time

from . import binaries, network, process

PORT = 7000


def service_answers(switch, timeout_s=1, server=network.GUEST_ADDRESS):
    """Whether the service takes a TCP connection from the client's namespace."""
    probe = f"import socket; socket.create_connection(('{server}', {PORT}), {timeout_s}).close()"
    try:
        return subprocess.run(switch.in_client(["/usr/bin/python3", "-S", "-c", probe]), capture_output=True,
                              timeout=timeout_s + 5).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def command_line(switch, arguments):
    return switch.in_client([str(binaries.build("ledger_client")), *arguments])


class LedgerClient:
    """A running ledger client (client/ledger_client.cc). Its last stats are in `stats`."""

    def __init__(self, switch, tcp=4, udp=2, rate=100, stats_ms=250, drain_ms=120_000, connect_ms=120_000,
                 server=network.GUEST_ADDRESS, most_outstanding=256, accounts=False):
        # most_outstanding: with 1, each TCP connection asks again only once it is answered.
        # drain_ms: by default TCP's longest time between two attempts (Linux's TCP_RTO_MAX), so that a connection whose
        # other end was silent for long is not called dead for its patience.
        # accounts: each connection's answers depend on its own questions alone (ledger/protocol.h).
        arguments = [f"--server={server}", f"--tcp={tcp}", f"--udp={udp}", f"--rate={rate}", f"--stats-ms={stats_ms}",
                     f"--drain-ms={drain_ms}", f"--connect-ms={connect_ms}", f"--most-outstanding={most_outstanding}",
                     f"--accounts={int(accounts)}"]
        self._program = subprocess.Popen(command_line(switch, arguments), stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True,
                                         preexec_fn=process.die_with_parent)
        self._drain_s = (drain_ms * 4 + connect_ms) / 1000
        self._changed = threading.Condition()
        self._connected = False
        self._ended = False
        self._verdict = None
        self._windows = []
        self._dirtied = []
        self.stats = {"answers": 0, "since_last_reply_ms": 0.0, "udp_unanswered": 0}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._program.stdout:
            event = json.loads(line)
            with self._changed:
                kind = event.pop("event")
                if kind == "stats":
                    self.stats = event
                elif kind == "verdict":
                    self._verdict = event
                elif kind == "connected":
                    self._connected = True
                elif kind == "window":
                    self._windows.append(event)
                elif kind == "dirtied":
                    self._dirtied.append(event)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wait(self, condition, timeout_s, what):
        with self._changed:
            if not self._changed.wait_for(lambda: condition() or self._ended, timeout_s) or not condition():
                raise RuntimeError(f"the client: {what} did not come: {self._verdict}")

    def wait_connected(self, timeout_s=180):
        self._wait(lambda: self._connected, timeout_s, "its connections")

    def wait_answers(self, more=1, timeout_s=180):
        """Waits until `more` answers came, counted from now (as far as its stats tell)."""
        aim = self.stats["answers"] + more
        self._wait(lambda: self.stats["answers"] >= aim, timeout_s, f"{more} more answers")

    def say(self, line):
        self._program.stdin.write(line + "\n")
        self._program.stdin.flush()

    def mark(self):
        """Tells the client that this is the moment of the cut: before and after are counted from here."""
        self.say("mark")

    def set_rate(self, per_second):
        """How many questions per second from now on. Ask slowly while the guest's memory is copied: emulated hosts
        spend most of their one processor on packets otherwise."""
        self.say(f"rate {per_second}")

    def dirty(self, pages_per_second, working_set_pages):
        """Makes the guest write memory at this rate from now on (guest/memory_dirtier.h); 0 ends it. Needs a TCP
        connection, as begin_window() does."""
        self.say(f"dirty {pages_per_second} {working_set_pages}")

    def begin_window(self, timeout_s=180):
        """What end_window() tells is of the time from here."""
        self._window(timeout_s)

    def end_window(self, timeout_s=180):
        """{"rtt_ms": {"p50", "p99"}, "answers", "dirtied_mb_per_s": what the guest's dirtying reached} since
        begin_window()."""
        begun = self._dirtied[-1]
        window, ended = self._window(timeout_s)
        seconds = (ended["guest_us"] - begun["guest_us"]) / 1e6
        return {**window, "dirtied_mb_per_s": round((ended["pages"] - begun["pages"]) * 4096 / 1e6 / seconds, 2)}

    def _window(self, timeout_s):
        count = len(self._dirtied)
        self.say("window")
        self._wait(lambda: len(self._dirtied) > count, timeout_s, "the guest's word on what it has dirtied")
        return self._windows[-1], self._dirtied[-1]

    def fall_silent(self, patience_s=10):
        """Asks no more, and gives the answers that are still on their way time to come."""
        self.set_rate(0.001)
        deadline = time.monotonic() + patience_s
        time.sleep(1)  # stats that know of the last question
        while self.stats["udp_unanswered"] and time.monotonic() < deadline:
            time.sleep(0.2)

    def stop(self):
        """Ends the asking, lets the client fetch the service's history, and returns its verdict (a dict; the keys are
        those of the client's last line)."""
        self.say("stop")
        self._wait(lambda: self._verdict is not None, self._drain_s, "its verdict")
        self._program.wait(timeout=10)
        return self._verdict

    def kill(self):
        if self._program.poll() is None:
            self._program.kill()
            self._program.wait()
        self._reader.join(timeout=5)
