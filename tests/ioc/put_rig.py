"""A fake device, its records, and the way of a put between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self

import pytest

from ioc.puts import PutPath
from ioc.records import PutContext, PutRefused
from ioc.records.fieldtable import fields_of
from ioc.scan.scanner import DeviceScanner
from ioc.services.journal import Entry, Journal
from ioc.services.statistics import IocStatistics
from tests.ioc.fakes import FakeClock, FakeDriver, alarm, build, definition, settle
from tests.ioc.scan.scan_rig import Rig as ScanRig

WHO = PutContext("olga", "desk1", ("127.0.0.1", 40000), callback=True)


class KeptJournal(Journal):
    """A journal in memory."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.entries: list[Entry] = []
        self.trouble = False

    @property
    def failing(self) -> bool:
        return self.trouble

    def note(self, entry: Entry) -> None:
        self.entries.append(replace(entry))


class Rig(ScanRig):
    """One device, the switch ARMED and the put path between them."""

    def __init__(self, driver: type[FakeDriver] = FakeDriver) -> None:
        super().__init__(driver=driver)
        self.journal = KeptJournal(self.clock)
        server = build(
            [
                definition("LAB:IOC:ARMED", "bo", "IOC ARMED", "E", ZNAM="NO", ONAM="YES"),
                definition("LAB:IOC:PUTS", "lsi", "IOC PUTS", SIZV="256"),
                definition("LAB:IOC:LAG", "ai", "IOC LAG"),
            ]
        )
        self.records |= {name.removeprefix("LAB:"): record for name, record in server.items()}
        self.statistics = IocStatistics(server.values(), self.clock, {"CFG.ID": "0123456789ab"}, self.journal)
        scanners: dict[str, DeviceScanner] = {}
        self.puts = PutPath(scanners, self.statistics, self.clock, journal=self.journal)
        scanners["HV1"] = self.scanner  # later than the path, as the application has them
        for record in self.records.values():
            self.puts.attach(record)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        self.statistics.post()
        async with super().running():
            yield self

    async def put(self, suffix: str, value: float, context: PutContext = WHO) -> None:
        record = self.records[suffix]
        await record.put_device(fields_of(record.rtyp)["VAL"], value, context)

    async def held(self, *puts: tuple[str, float]) -> list[asyncio.Task[None]]:
        """Begin puts, of which the first waits at the gate of the driver, which the test opens, and return them."""
        self.driver.gate = asyncio.Event()
        begun = [asyncio.create_task(self.put(suffix, value)) for suffix, value in puts]
        await settle()
        return begun

    async def refusal(self, suffix: str, value: float, context: PutContext = WHO) -> str:
        """Put something that must be refused, and return the reason; nothing else may have happened."""
        record, count = self.records[suffix], self.records["PUT:REFUSED"].val
        before = record.val, record.udf, alarm(record)
        with pytest.raises(PutRefused) as refused:
            await self.put(suffix, value, context)
        assert (record.val, record.udf, alarm(record)) == before
        if record.device == "HV1":
            assert self.records["PUT:REFUSED"].val == count + 1  # type: ignore[operator]
            assert str(self.records["PUT:MSG"].val).startswith(f"{refused.value} [LAB:")
        return str(refused.value)


def newest_put(rig: Rig) -> str:
    """Return the last accepted put."""
    return str(rig["IOC:PUTS"].val).split("\n")[0]
