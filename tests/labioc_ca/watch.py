"""A subscriber whose events a test can wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from labioc_ca.client import Subscriber
from labioc_ca.events import Event, Kind


class Watch:
    """Events by PV, in order; ``changes`` are the connections."""

    def __init__(self) -> None:
        self.events: dict[str, list[Event]] = {}
        self.changes: dict[str, list[bool]] = {}
        self._news = asyncio.Event()
        self.subscriber: Subscriber

    def batch(self, events: list[Event]) -> None:
        for event in events:
            if event.kind == Kind.CONNECTION:
                self.changes.setdefault(event.pv, []).append(event.connected)
            else:
                self.events.setdefault(event.pv, []).append(event)
        self._news.set()

    def values(self, pv: str) -> list[object]:
        return [event.value for event in self.events.get(pv, [])]

    async def until(self, condition: Callable[[], bool], deadline: float = 20.0) -> None:
        """Wait for a condition that new events bring about."""
        try:
            async with asyncio.timeout(deadline):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            last = {pv: events[-1:] for pv, events in list(self.events.items())[:5]}
            raise AssertionError(f"after {deadline} s: changes {self.changes}, last events {last}") from None

    async def connected(self, *names: str, deadline: float = 20.0) -> None:
        await self.until(lambda: all(self.changes.get(name, [False])[-1] for name in names), deadline)

    async def disconnected(self, name: str, deadline: float = 20.0) -> None:
        await self.until(lambda: not self.changes.get(name, [True])[-1], deadline)


@asynccontextmanager
async def watching(names: Iterable[str], *addresses: str, **settings: str) -> AsyncIterator[Watch]:
    """Subscribe at some servers only; settings are environment variables without their EPICS_CA_."""
    env = {
        "EPICS_CA_ADDR_LIST": " ".join(addresses),
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_REPEATER_PORT": "9",
        "EPICS_CA_MAX_SEARCH_PERIOD": "0.5",
        **{f"EPICS_CA_{name}": value for name, value in settings.items()},
    }
    watch = Watch()
    watch.subscriber = Subscriber(names, watch.batch, env)
    await watch.subscriber.start()
    try:
        yield watch
    finally:
        await watch.subscriber.stop()
