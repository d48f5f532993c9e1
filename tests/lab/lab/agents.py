"""Romulus' agents in a lab: their programs put into dom0, started, watched and stopped.

    lab.alpha.install(find(bazel_bin, PRIMARY_FILES))
    primary = Agent(lab.alpha, "romulus-primary", ["--listen=..."])
    primary.start()
    primary.control.protections.CreateProtection(request, timeout=30)
"""

import pathlib

from . import command, control

# What runs where, and the ports that the lab gives it.
CONTROL_PORT = 50051
REPLICATION_PORT = 50052

PRIMARY_FILES = ["primary/romulus-primary", "primary/save_helper/romulus-save-helper"]
SECONDARY_FILES = ["secondary/romulus-secondary", "secondary/restore_helper/romulus-restore-helper"]


class Agent:
    """One agent process on a host. `control` has its gRPC stubs."""

    def __init__(self, host, program, arguments):
        self.host = host
        self.program = program
        self._arguments = arguments
        self.pid = None
        self.control = None

    def start(self):
        line = " ".join([f"/opt/romulus/bin/{self.program}", *self._arguments])
        self.pid = self.host.start_daemon(self.program, line)
        if self.control is None:
            self.control = control.AgentChannel(f"{self.host.address}:{CONTROL_PORT}")
        try:
            self.control.wait_ready()
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.log()[-2000:]}") from None

    def running(self):
        return self.pid is not None and self.host.sh(f"kill -0 {self.pid}", check=False).status == 0

    def signal(self, name):
        """Sends TERM, KILL, STOP, ..."""
        self.host.sh(f"kill -{name} {self.pid}")

    def stop(self, timeout_s=60):
        """Ends the agent as an operator would (SIGTERM) and waits until it is gone."""
        self.signal("TERM")
        self.host.sh(f"for i in $(seq {timeout_s * 10}); do kill -0 {self.pid} 2>/dev/null || exit 0; sleep 0.1; done; "
                     "exit 1", timeout_s=timeout_s + 10)

    def kill_helper(self, name, number="KILL"):
        """Signals the helper processes of this name on the agent's host."""
        self.host.sh(f"pkill -{number} -f /opt/romulus/bin/{name}")

    def log(self):
        try:
            return self.host.log(self.program)
        except command.CommandError as error:
            return str(error)


def find(bazel_bin, names):
    """The built programs; says what is missing."""
    files = [pathlib.Path(bazel_bin) / name for name in names]
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        raise RuntimeError(f"not built: {', '.join(missing)}")
    return files
