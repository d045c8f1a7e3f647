"""Where clients of a simulated device connect: a TCP port, or a serial port, which is a pseudo terminal in raw mode."""

from __future__ import annotations

import asyncio
import os
import select
import tty
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Generic, TypeVar

MOST_BYTES = 512  # taken at once by a terminal

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What is done with one connection; it is closed when that returns."""


class Listener:
    """Listens on ``port``, once started; 0 becomes a free one, which stays the same after a restart."""

    def __init__(self, talk: Talk, port: int = 0, host: str = "127.0.0.1") -> None:
        self.port = port
        self._talk = talk
        self._host = host
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self._host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.disconnect()

    async def disconnect(self) -> None:
        """Close every connection; new ones are taken."""
        sessions = list(self._sessions)
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        try:
            if self._server is not None:  # stopped between the connection and this task, it would not be cancelled
                await self._talk(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client went away, or the simulator ends: both are normal
        finally:
            self._sessions.discard(session)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()


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


R = TypeVar("R")


class SerialPort(PseudoTerminal, Generic[R]):
    """A terminal whose requests are answered one after the other; ``cut`` takes them out of what comes."""

    def __init__(
        self, cut: Callable[[bytes], Iterable[R]], answer: Callable[[SerialPort[R], R], Awaitable[None]]
    ) -> None:
        super().__init__(self._receive)
        self._cut, self._answer = cut, answer
        self._requests: asyncio.Queue[R] = asyncio.Queue()
        self._worker = asyncio.create_task(self._work(), name="simulated serial line")

    async def unplug(self) -> None:
        """End the task, and let the port vanish."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self.close()

    def _receive(self, data: bytes) -> None:
        for request in self._cut(data):
            self._requests.put_nowait(request)

    async def _work(self) -> None:
        while True:
            await self._answer(self, await self._requests.get())
