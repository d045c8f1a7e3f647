"""Whose exchange a line carries next: one at a time, urgent writes before everything else that waits."""

from __future__ import annotations

import asyncio
from collections import deque

from devices.permit import current


class Precedence:
    """A lock, to be used with ``async with``; those that wait get it in their order, urgent writes first."""

    def __init__(self) -> None:
        self._held = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self._held:
            turn = asyncio.get_running_loop().create_future()
            (self._urgent if current().urgent else self._others).append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # it had just been given the line
                    self._pass_on()
                raise
        self._held = True

    async def __aexit__(self, *_: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        for waiting in (self._urgent, self._others):
            while waiting:
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._held = False
