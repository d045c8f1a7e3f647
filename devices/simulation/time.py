"""Lets time pass for the model behind a simulated device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK = 0.1  # seconds


class ModelTime:
    """Advances a model by the time of a clock: ten times a second, and whenever it is asked for."""

    def __init__(self, step: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._step = step
        self._clock = clock
        self._now = clock()
        self._ticker: asyncio.Task[None] | None = None

    def advance(self) -> None:
        """Bring the model up to the clock's now."""
        now = self._clock()
        self._step(max(0.0, now - self._now))
        self._now = now

    def start(self, name: str) -> None:
        """Let time pass from now on, in a task of that name."""
        self._now = self._clock()
        self._ticker = asyncio.create_task(self._tick(), name=name)

    async def stop(self) -> None:
        """Let time stand still."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
            self._ticker = None

    async def _tick(self) -> None:
        while True:
            self.advance()
            await asyncio.sleep(TICK)
