"""QEMU's monitor. One short connection per command, so that any process may use it."""

import json
import socket


class MonitorError(RuntimeError):
    pass


def execute(path, command, /, timeout_s=30, **arguments):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        with connection.makefile("rw") as stream:
            json.loads(stream.readline())  # the greeting
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                reply = {}
                while "return" not in reply and "error" not in reply:  # events come in between
                    line = stream.readline()
                    if not line:
                        raise MonitorError(f"{command}: QEMU hung up")
                    reply = json.loads(line)
                if "error" in reply:
                    raise MonitorError(f"{command}: {reply['error'].get('desc')}")
            return reply["return"]
