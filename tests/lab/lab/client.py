"""The external client: the ledger client program in its own network namespace, and a quick look whether the guest's
service answers."""

import json
import socket
import subprocess
import threading
import time

from . import binaries, network, process

PORT = 7000


def service_answers(switch, timeout_s=1):
    """Whether the service takes a TCP connection from the client's namespace."""
    probe = f"import socket; socket.create_connection(('{network.GUEST_ADDRESS}', {PORT}), {timeout_s}).close()"
    try:
        return subprocess.run(switch.in_client(["/usr/bin/python3", "-S", "-c", probe]), capture_output=True,
                              timeout=timeout_s + 5).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def command_line(switch, arguments):
    return switch.in_client([str(binaries.build("ledger_client")), *arguments])
