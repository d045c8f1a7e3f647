"""The far end of a simulated serial line: a pseudo terminal in raw mode."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Callable
from contextlib import suppress

MOST_BYTES = 512  # taken at once


def open_raw() -> tuple[int, int]:
    """Return both ends of a new pseudo terminal in raw mode: ours, which never blocks, and theirs.

    Theirs is kept open by whoever simulates, so that clients may come and go.
    """
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    return ours, theirs


class PseudoTerminal:
    """Whoever opens ``path`` has a serial port; what comes from there is handed to ``receive`` on the event loop."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive
        self._ours, self._theirs = open_raw()
        self.path = os.ttyname(self._theirs)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._ours, self._readable)

    def close(self) -> None:
        """Let the port vanish, as when a USB plug is pulled."""
        self._loop.remove_reader(self._ours)
        os.close(self._ours)
        os.close(self._theirs)

    def write(self, data: bytes) -> None:
        """Send; when nobody reads, bytes are lost, as on a real line."""
        with suppress(BlockingIOError):
            os.write(self._ours, data)

    def _readable(self) -> None:
        self._receive(os.read(self._ours, MOST_BYTES))
