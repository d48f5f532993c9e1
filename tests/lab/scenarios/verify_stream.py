"""Xen's own verify-stream-v2 reads what the save helper writes: the first copy and ten checkpoints of a busy guest.

A stream of checkpoints has no END record (nobody knows which one is the last); the verifier gets one at its end.
"""

import os
import re
import subprocess
import tempfile

from lab import packages, programs
from lab.lab import GUEST

CHECKPOINTS = 10
CAPTURE_TOOL = "//primary/capture:capture_tool"
_END = bytes(8)
_HEADERS = 24 + 16  # image header, domain header
BREAKS = {"cut": "the verifier gets the stream without its last 100 bytes", "flip": "one bit of the first record's type "
          "is flipped"}


def run(story):
    built = programs.build([programs.SAVE_HELPER, CAPTURE_TOOL])
    with story.lab(hosts=("alpha",)) as lab:
        lab.alpha.install(built.values())
        client = lab.start_client(rate=20)
        client.wait_connected()
        client.dirty(256, 2048)  # 1 MB/s
        story.step(f"capturing {CHECKPOINTS} checkpoints")
        lab.alpha.sh(f"/opt/romulus/bin/{programs.name(CAPTURE_TOOL)} domid={lab.alpha.domains()[GUEST][0]} "
                     f"count={CHECKPOINTS} interval_ms=200 stream=/run/stream >/run/capture.log 2>&1", timeout_s=600)
        for line in lab.alpha.out("tail -3 /run/capture.log").splitlines():
            story.step(line)
        stream = bytearray()
        lab.alpha.sh("cat /run/stream", timeout_s=300, on_output=lambda is_stderr, data: stream.extend(data))
        client.stop()
    if story.broken == "cut":
        del stream[-100:]
    elif story.broken == "flip":
        stream[_HEADERS] ^= 1 << 5
    with tempfile.NamedTemporaryFile() as file:
        file.write(stream + _END)
        file.flush()
        verdict = verify(file.name)
    story.figures.update({"bytes": len(stream), "checkpoints": verdict.count("Libxc Record: Checkpoint"),
                          "page_records": sum(map(int, re.findall(r"Squashed (\d+) Page Data", verdict)))})
    story.step(f"{len(stream)} bytes accepted, {story.figures['checkpoints']} checkpoints")
    story.check(story.figures["checkpoints"] == CHECKPOINTS, "not that many CHECKPOINT records")


def verify(path):
    """Debian's verify-stream-v2, of the package that the hosts' tools are from."""
    xen = packages.tree() / "usr/lib/xen-4.17"
    ran = subprocess.run(["/usr/bin/python3", xen / "bin/verify-stream-v2", "-v", "-i", path], text=True,
                         env={**os.environ, "PYTHONPATH": str(xen / "lib/python")},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    if ran.returncode != 0:
        raise RuntimeError(f"verify-stream-v2 refuses the stream:\n{ran.stdout[-1500:]}")
    return ran.stdout
