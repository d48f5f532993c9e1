"""Writes newc cpio archives (what Linux takes as an initramfs), the same bytes for the same content."""

import os
import stat


class Archive:
    def __init__(self, path):
        self._file = open(path, "wb")
        self._inode = 0
        self._names = set()

    def __contains__(self, name):
        return name in self._names

    def _entry(self, name, mode, data):
        self._parents(name)
        if name in self._names:
            raise ValueError(f"{name} is already in the archive")
        self._names.add(name)
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = [self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self._file.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def _parents(self, name):
        parent = os.path.dirname(name)
        if parent and parent not in self._names:
            self.directory(parent)

    def directory(self, name):
        if name not in self._names:
            self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name, data, executable=False):
        self._entry(name, stat.S_IFREG | (0o755 if executable else 0o644), data)

    def link(self, name, target):
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def close(self):
        self._entry("TRAILER!!!", 0, b"")
        self._file.close()
