"""The TCP port of a simulator: a task for each connection, which ends with the client or with the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

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
