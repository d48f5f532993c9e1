"""Commands and files of one Linux in the lab that runs the command server: a host's dom0, a driver domain, a guest."""

import os
import pathlib
import shlex
import subprocess
import tempfile

from . import command

INSTALL_FOLDER = "/opt/romulus/bin"


class Shell:
    """`name`: for errors; `address`: where its command server is reached."""

    def __init__(self, name, address):
        self.name = name
        self.address = address

    def sh(self, line, stdin=b"", timeout_s=180, check=True, on_output=None):
        """Runs a shell command there. With check, a status other than 0 raises CommandError."""
        result = command.run(self.address, line, stdin, timeout_s, on_output)
        if check and result.status != 0:
            raise command.CommandError(
                f"{self.name}: status {result.status}: {line}\n{result.stdout[-1000:]}{result.stderr[-1000:]}")
        return result

    def out(self, line, **keywords):
        return self.sh(line, **keywords).stdout.strip()

    def put(self, path, data, mode="644"):
        """Writes a file there, whole or not at all; a running program of that name goes on with the old one."""
        quoted = shlex.quote(path)
        self.sh(f"mkdir -p $(dirname {quoted}) && cat >{quoted}.new && chmod {mode} {quoted}.new && "
                f"mv {quoted}.new {quoted}", stdin=data, timeout_s=300)

    def get(self, path):
        """The text of a file there."""
        return self.sh(f"cat {shlex.quote(path)}").stdout

    def install(self, files):
        """Puts programs into /opt/romulus/bin, without their debug information (emulated disks and networks are
        slow)."""
        for file in map(pathlib.Path, files):
            self.put(f"{INSTALL_FOLDER}/{file.name}", _stripped(file), mode="755")

    def start_daemon(self, name, line):
        """Starts a long-running program; its output goes to /opt/romulus/log/NAME.log. Returns its pid."""
        return int(self.out(
            f"mkdir -p /opt/romulus/log; setsid {line} </dev/null >>/opt/romulus/log/{name}.log 2>&1 & echo $!"))

    def log(self, name):
        return self.sh(f"cat /opt/romulus/log/{name}.log", check=False).stdout


def _stripped(file):
    data = file.read_bytes()
    if data[:4] != b"\x7fELF":
        return data
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "stripped")
        if subprocess.run(["strip", "-o", target, str(file)], capture_output=True).returncode != 0:
            return data
        return pathlib.Path(target).read_bytes()
