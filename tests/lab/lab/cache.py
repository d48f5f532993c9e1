"""A cache of built things, keyed by the content that they are made from.

`built(name, inputs, build)` returns the directory NAME-KEY, running `build(directory)` first if it isn't there. Several
processes may ask at once: one builds, the others wait. A build that fails leaves nothing behind.
"""

import fcntl
import hashlib
import os
import pathlib
import shutil
import tempfile

# Snapshots are half a gigabyte each: old ones of the same name go, but not ones that a concurrent run may be using.
KEPT_PER_NAME = 4


def root():
    configured = os.environ.get("ROMULUS_LAB_CACHE")
    if configured:
        path = pathlib.Path(configured)
    else:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        path = pathlib.Path(home) / "romulus-lab"
    path.mkdir(parents=True, exist_ok=True)
    return path


def key_of(inputs):
    """The key for a list of strings, bytes and paths of files (which count by content)."""
    digest = hashlib.sha256()
    for item in inputs:
        if isinstance(item, pathlib.Path):
            item = item.read_bytes()
        elif isinstance(item, str):
            item = item.encode()
        digest.update(len(item).to_bytes(8, "little"))
        digest.update(item)
    return digest.hexdigest()[:16]


def built(name, inputs, build):
    target = root() / f"{name}-{key_of(inputs)}"
    if not target.exists():
        with open(root() / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                scratch = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-building-", dir=root()))
                try:
                    build(scratch)
                    scratch.chmod(0o755)
                    scratch.rename(target)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
                _drop_old(name)
    os.utime(target)
    return target


def _drop_old(name):
    entries = [path for path in root().glob(f"{name}-*") if len(path.name) == len(name) + 17]
    for path in sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_PER_NAME:]:
        shutil.rmtree(path, ignore_errors=True)
