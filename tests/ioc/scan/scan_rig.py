"""A scan engine with a fake device and a clock whose hands the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Self

from ioc.records import Record
from ioc.records.fieldtable import fields_of
from ioc.scan.scanner import DeviceScanner
from tests.ioc.fakes import FakeClock, FakeDriver, hv_records, hv_values, settle


class Rig:
    """One device with its records under a fake clock."""

    def __init__(
        self,
        clock: FakeClock | None = None,
        name: str = "HV1",
        driver: type[FakeDriver] = FakeDriver,
        **settings: object,
    ) -> None:
        self.clock = clock or FakeClock()
        self.driver = driver(self.clock, hv_values(), name=name, **settings)
        self.records = hv_records(name)
        self.scanner = DeviceScanner(self.driver, self.records.values(), self.clock)

    def __getitem__(self, suffix: str) -> Record:
        return self.records[suffix]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        task = asyncio.create_task(self.scanner.run())
        try:
            await settle()
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not self.driver.open


@contextmanager
def counting(record: Record) -> Iterator[list[int]]:
    """Collect the event masks of a record's value."""
    events: list[int] = []

    class Collector:
        mask = 15

        def event(self, mask: int, shared: dict[object, bytes]) -> None:
            events.append(mask)

    collector = Collector()
    record.subscribe("VAL", collector)
    yield events
    record.unsubscribe("VAL", collector)


def change(record: Record, field: str, value: object) -> None:
    """Put to a field as a client does."""
    spec = fields_of(record.rtyp)[field]
    index = spec.choices.index(value) if spec.choices and isinstance(value, str) else value
    record.put(spec, index)  # type: ignore[arg-type]
