"""Romulus' agents in a lab: started in dom0, watched and stopped.

    lab.alpha.install(programs.build().values())
    agent = primary(lab.alpha)
    agent.start()
    agent.control.protections.CreateProtection(request, timeout=30)
"""

from . import command, control, programs

PRIMARY_CONTROL_PORT = 7450
SECONDARY_CONTROL_PORT = 7451
REPLICATION_PORT = 7452


def primary(host, program="romulus-primary"):
    """The primary agent of `host`; `program` is its name in /opt/romulus/bin."""
    return Agent(host, program, PRIMARY_CONTROL_PORT, [])


def secondary(host, program="romulus-secondary"):
    return Agent(host, program, SECONDARY_CONTROL_PORT,
                 [f"--replication_address={host.replication_address}:{REPLICATION_PORT}"])


class Agent:
    """One agent process on a host. `control` has its gRPC stubs once it was started, with `arguments`."""

    def __init__(self, host, program, control_port, arguments):
        self.host = host
        self.program = program
        self.address = f"{host.address}:{control_port}"
        self.arguments = [f"--control_address={self.address}", *arguments]
        self.pid = None
        self.control = None

    def start(self, prefix=""):
        """Starts it, again too, and waits until it takes calls. `prefix`: a command that it is started by."""
        program = f"/opt/romulus/bin/{self.program}"
        line = " ".join(["env", programs.AGENTS_ENVIRONMENT, prefix, program, *self.arguments])
        self.pid = self.host.start_daemon(self.program, line)
        self.connect()

    def connect(self):
        """Makes `control` anew: needed by itself where the agent came with a host's saved state."""
        if self.control is not None:
            self.control.close()
        self.control = control.AgentChannel(self.address)
        try:
            self.control.wait_ready()
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.log()[-2000:]}") from None

    def running(self):
        return self.pid is not None and self.host.sh(f"kill -0 {self.pid}", check=False).status == 0

    def signal(self, name):
        """Sends TERM, KILL, STOP, ..."""
        self.host.sh(f"kill -{name} {self.pid}")

    def stop(self, timeout_s=180):
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
