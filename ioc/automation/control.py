"""What groups, interlocks and everything off have in common: their own PVs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping

from devices.model import Cause, Level
from ioc.clock import Clock, local_time
from ioc.puts import NotedSource, PutPath
from ioc.records import PutContext, Record, Value
from ioc.scan.device_records import ALARM_STATUS


class Control(NotedSource):
    """The source of the PVs of ``name``, which are those of its signals in ``own`` (``NAME.MSG``)."""

    def __init__(self, name: str, own: Mapping[str, Record], puts: PutPath, clock: Clock) -> None:
        super().__init__(puts.notes)
        self.name = name
        start = f"{name}."
        self._own = {signal.removeprefix(start): one for signal, one in own.items() if signal.startswith(start)}
        self._puts = puts
        self._clock = clock
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def _show(self, signal: str, value: Value, level: Level = Level.OK) -> None:
        status = ALARM_STATUS[Cause.STATE if level else Cause.NONE]
        self._own[signal].post(value, self._clock.time(), level, status)

    def _say(self, text: str, level: Level = Level.OK) -> None:
        """Show MSG, where it has changed."""
        if self._own["MSG"].val != text or self._own["MSG"].sevr != level:
            self._show("MSG", text, level)

    def _asked(self, context: PutContext) -> str:
        """Say who asks for something, and when."""
        return f"by {context.user}@{context.host}, {local_time(self._clock.time())}"

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        """Begin what no client waits for."""
        task = asyncio.create_task(work, name=self.name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End what it does by itself; what a client has asked for ends with its put."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
