"""The far end of a simulated serial line: a pseudo terminal in raw mode."""

from __future__ import annotations

import asyncio
import os
import select
import tty
from collections.abc import Callable
from contextlib import suppress

MOST_BYTES = 512  # taken at once


class Terminal:
    """A client that opens ``path`` has a serial port; it may come and go. Used from one thread at a time."""

    def __init__(self) -> None:
        self.ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self.ours, False)
        self.path = os.ttyname(self._theirs)

    def close(self) -> None:
        """Let the port vanish, as when a USB plug is pulled."""
        os.close(self.ours)
        os.close(self._theirs)

    def write(self, data: bytes) -> None:
        """Send; bytes that no client reads are lost, as on a real line."""
        with suppress(OSError):
            os.write(self.ours, data)

    def read(self, seconds: float = 0.0) -> bytes:
        """Wait for bytes from the client, for so long at most; empty when none have come."""
        if select.select([self.ours], [], [], max(0.0, seconds))[0]:
            with suppress(OSError):
                return os.read(self.ours, MOST_BYTES)
        return b""


class PseudoTerminal(Terminal):
    """A terminal that hands what comes to ``receive`` on the event loop."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.ours, lambda: receive(self.read()))

    def close(self) -> None:
        """Let the port vanish, as when a USB plug is pulled."""
        self._loop.remove_reader(self.ours)
        super().close()
