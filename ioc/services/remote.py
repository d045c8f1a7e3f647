"""A program elsewhere that a server reports to. Whatever it does, or does not, the server goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from labioc_pages.metrics import Metric


class Remote:
    """One of them; ``start`` and ``close`` it on the running loop."""

    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._work(), name=type(self).__name__)

    async def close(self) -> None:
        """End the connection; cancelling ends it at once."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        """Connect again and again, until cancelled."""
        raise NotImplementedError

    def problems(self) -> Iterator[str]:
        """Yield what is wrong, in words."""
        raise NotImplementedError

    def metrics(self) -> Iterator[Metric]:
        """Yield the numbers for Prometheus."""
        raise NotImplementedError
