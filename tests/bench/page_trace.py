"""Cuts a libxc v3 stream (common/stream/stream_format.h) into its checkpoints, and these into pages."""

import struct

PAGE = 4096
_HEADERS = 24 + 16
_PAGE_DATA = 0x01
_CHECKPOINT = 0x0e
_PER_RECORD = 1024
#Frame types without contents.
_EMPTY_TYPES = (13, 14, 15)


def _record(kind, body):
    return struct.pack("<II", kind, len(body)) + body + b"\0" * (-len(body) % 8)


class Checkpoints:
    """Of a whole stream, from the image header on. [0] is the first copy."""

    def __init__(self, stream):
        self._stream = stream
        self._bounds = [_HEADERS]
        at = _HEADERS
        while at < len(stream):
            kind, length = struct.unpack_from("<II", stream, at)
            at += 8 + length + -length % 8
            if kind == _CHECKPOINT:
                self._bounds.append(at)
        if at != len(stream) or self._bounds[-1] != at:
            raise ValueError(f"the stream's {len(stream)} bytes end within a checkpoint")

    def __len__(self):
        return len(self._bounds) - 1

    def bytes(self, index):
        return self._stream[self._bounds[index]:self._bounds[index + 1]]

    def pages(self, index):
        """(frame entry, contents) of each page with contents."""
        data = self.bytes(index)
        at = 0
        while at < len(data):
            kind, length = struct.unpack_from("<II", data, at)
            if kind == _PAGE_DATA:
                count, = struct.unpack_from("<I", data, at + 8)
                contents = at + 16 + 8 * count
                for entry in struct.unpack_from(f"<{count}Q", data, at + 16):
                    if entry >> 60 not in _EMPTY_TYPES:
                        yield entry, data[contents:contents + PAGE]
                        contents += PAGE
            at += 8 + length + -length % 8


def with_history(checkpoints, first):
    """The checkpoints from `first` on, after one that holds what went before of each page that they hold."""
    wanted = {entry for index in range(first, len(checkpoints)) for entry, _ in checkpoints.pages(index)}
    known = {}
    for index in range(first):
        for entry, contents in checkpoints.pages(index):
            if entry in wanted:
                known.pop(entry, None)  # so that they stand in the order in which they were last written
                known[entry] = contents
    history = []
    entries = list(known)
    for start in range(0, len(entries), _PER_RECORD):
        some = entries[start:start + _PER_RECORD]
        body = struct.pack(f"<II{len(some)}Q", len(some), 0, *some) + b"".join(known[entry] for entry in some)
        history.append(_record(_PAGE_DATA, body))
    history.append(_record(_CHECKPOINT, b""))
    return b"".join(history) + b"".join(checkpoints.bytes(index) for index in range(first, len(checkpoints)))
