"""Blocks of the durable log: what a segment file consists of.

A segment begins with ``MAGIC``; each block is a header and a payload of line protocol. The header holds a mark, the
length and the number of points, the time of writing and a CRC-32 over all of that and the payload, so that a torn tail,
a hole and a flipped bit are distinguished from data, and reading goes on behind them. All numbers are little-endian.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

MAGIC: Final = b"labiocA1"
MARK: Final = b"\xa5BLK"
LARGEST: Final = 16 << 20
"""Bytes of payload in a block; a longer length is a broken header."""

_FIELDS: Final = struct.Struct("<4sIIqq")  # mark, length, points, oldest, newest (Unix ns)
_CRC: Final = struct.Struct("<I")
HEADER_SIZE: Final = _FIELDS.size + _CRC.size
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A block in a segment; ``start`` and ``end`` are offsets in the file, times those of the bridge in Unix ns."""

    start: int
    end: int
    points: int
    oldest_ns: int
    newest_ns: int
    payload: bytes


def write_block(fd: int, start: int, payload: bytes, points: int, oldest_ns: int, newest_ns: int) -> int:
    """Write a block at the end of a file, an offset; return where that is now.

    Raises OSError, and leaves the file as it was then, with a whole block at its end.
    """
    fields = _FIELDS.pack(MARK, len(payload), points, oldest_ns, newest_ns)
    block = memoryview(fields + _CRC.pack(zlib.crc32(payload, zlib.crc32(fields))) + payload)
    done = 0
    try:
        while done < len(block):
            done += os.pwrite(fd, block[done:], start + done)
    except OSError:
        with suppress(OSError):
            os.ftruncate(fd, start)
        raise
    return start + len(block)


def read_block(fd: int, start: int, end: int) -> Found | None:
    """Read the block that begins at an offset; None when there is none, or not a whole one before ``end``."""
    head = os.pread(fd, HEADER_SIZE, start)
    if len(head) < HEADER_SIZE or head[:4] != MARK:
        return None
    _, length, points, oldest_ns, newest_ns = _FIELDS.unpack_from(head)
    stop = start + HEADER_SIZE + length
    if length > LARGEST or stop > end:
        return None
    payload = os.pread(fd, length, start + HEADER_SIZE)
    if len(payload) != length:
        return None
    (crc,) = _CRC.unpack_from(head, _FIELDS.size)
    if crc != zlib.crc32(payload, zlib.crc32(head[: _FIELDS.size])):
        return None
    return Found(start, stop, points, oldest_ns, newest_ns, payload)


def walk(fd: int, start: int, end: int) -> Iterator[Found]:
    """Yield the whole blocks from an offset on, over what is broken."""
    while start < end:
        found = read_block(fd, start, end)
        if found is None:
            start = _next_mark(fd, start + 1, end)
            continue
        yield found
        start = found.end


def _next_mark(fd: int, start: int, end: int) -> int:
    while start < end:
        chunk = os.pread(fd, min(_CHUNK, end - start), start)
        if not chunk:
            break
        at = chunk.find(MARK)
        if at >= 0:
            return start + at
        start += max(len(chunk) - len(MARK) + 1, 1)
    return end


def count_points(fd: int, start: int, end: int) -> int:
    """Add up the points of the blocks from an offset on; headers are believed, payloads not read."""
    points = 0
    base, chunk = start, b""
    while start + HEADER_SIZE <= end:
        at = start - base
        if at < 0 or at + HEADER_SIZE > len(chunk):
            base, at = start, 0
            chunk = os.pread(fd, min(_CHUNK, end - start), start)
            if len(chunk) < HEADER_SIZE:
                break
        mark, length, count, _, _ = _FIELDS.unpack_from(chunk, at)
        if mark != MARK or length > LARGEST:
            start = _next_mark(fd, start + 1, end)
            continue
        start += HEADER_SIZE + length
        if start <= end:
            points += count
    return points
