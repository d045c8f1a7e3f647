"""Time on a CAN bus: how long a frame is on the wire, and who may send next; no I/O, no clock.

ISO 11898-1: 11-bit identifiers, bit stuffing after five equal bits from start of frame to the end of the CRC, the
lowest identifier wins. A node sends its own frames in the order in which it made them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from devices.links.can_frame import Frame

HOST = -1
"""Stands for the host among the senders, which are addresses of modules otherwise."""

_CRC_POLYNOMIAL = 0x4599
_AFTER_CRC = 13
"""CRC delimiter, acknowledge slot and delimiter, end of frame (7), interframe space (3): never stuffed."""


@lru_cache(maxsize=8192)
def frame_bits(identifier: int, data: bytes) -> int:
    """Return the bits that a standard data frame takes, stuffing and interframe space included."""
    head = f"0{identifier:011b}000{len(data):04b}" + "".join(f"{byte:08b}" for byte in data)
    crc = 0
    for bit in head:
        top = (crc >> 14 & 1) ^ (bit == "1")
        crc = crc << 1 & 0x7FFF ^ (_CRC_POLYNOMIAL if top else 0)
    stuffed, last, run = 0, "", 0
    for bit in f"{head}{crc:015b}":
        run = run + 1 if bit == last else 1
        last = bit
        if run == 5:  # a stuff bit follows, which itself counts as the first of a new run
            stuffed, run = stuffed + 1, 1
            last = "1" if bit == "0" else "0"
    return len(head) + 15 + stuffed + _AFTER_CRC


@dataclass(frozen=True, slots=True)
class Passed:
    """A frame that has been on the wire: its last bit at ``time``."""

    time: float
    sender: int
    frame: Frame


class Wire:
    """Frames waiting to be sent, and the one wire that they share. ``bit_rate`` (bit/s) 0: frames take no time.

    ``bits``, ``frames`` and ``busy`` (seconds) count what has passed.
    """

    def __init__(self, bit_rate: int = 0) -> None:
        self.bit_rate = bit_rate
        self.bits = self.frames = 0
        self.busy = 0.0
        self._free_at = 0.0
        self._waiting: dict[int, deque[tuple[float, Frame]]] = {}

    def offer(self, frame: Frame, ready: float, sender: int) -> None:
        """Queue a frame that its sender has ready at a time."""
        self._waiting.setdefault(sender, deque()).append((ready, frame))

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    def next_time(self) -> float | None:
        """Return when the next frame will have passed, as things are; None when none waits."""
        return choice[0] if (choice := self._choose()) else None

    def run(self, now: float) -> Iterator[Passed]:
        """Yield the frames that have passed by now, oldest first; more may be offered meanwhile."""
        while (choice := self._choose()) and choice[0] <= now:
            end, start, sender = choice
            _, frame = self._waiting[sender].popleft()
            if not self._waiting[sender]:
                del self._waiting[sender]
            self.frames += 1
            self.bits += frame_bits(frame.id, frame.data)
            self.busy += end - start
            self._free_at = end
            yield Passed(end, sender, frame)

    def _choose(self) -> tuple[float, float, int] | None:
        """Return end and start of the next frame, and its sender."""
        if not self._waiting:
            return None
        first = min(queue[0][0] for queue in self._waiting.values())
        if not self.bit_rate:
            sender = min(self._waiting, key=lambda node: self._waiting[node][0][0])
            return first, first, sender
        start = max(self._free_at, first)
        ready = (node for node, queue in self._waiting.items() if queue[0][0] <= start)
        sender = min(ready, key=lambda node: self._waiting[node][0][1].id)
        frame = self._waiting[sender][0][1]
        return start + frame_bits(frame.id, frame.data) / self.bit_rate, start, sender
