"""What acts on several devices at once, put together for one server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from ioc.automation.all_off import AllOff
from ioc.automation.group import GroupControl
from ioc.automation.interlock import InterlockControl, objections
from ioc.clock import Clock
from ioc.database.support import GROUPS, INTERLOCKS
from ioc.inputs import Inputs
from ioc.puts import PutPath
from ioc.records import Record, RecordSet
from ioc.site.config import Site


class Automation:
    """Everything off, the groups and the interlocks of a site; ``outputs`` are the switches that ALL puts to OFF."""

    def __init__(self, site: Site, records: RecordSet, outputs: Sequence[Record], puts: PutPath, clock: Clock) -> None:
        own = {record.signal or "": record for record in records.values() if record.device == GROUPS}
        if outputs:
            AllOff(own, outputs, records, puts, clock)
        self.groups = {
            group.name: GroupControl(
                group,
                {signal: record for signal, record in own.items() if signal.startswith(f"{group.name}.")},
                records,
                site.prefix,
                puts,
                clock,
            )
            for group in site.groups
        }
        self._inputs = Inputs(records, clock, site.prefix)
        mine = {record.signal or "": record for record in records.values() if record.device == INTERLOCKS}
        self.interlocks = {
            one.name: InterlockControl(
                one,
                {signal: record for signal, record in mine.items() if signal.startswith(f"{one.name}.")},
                records,
                site.prefix,
                self._inputs,
                puts,
                clock,
                self.groups.get(one.group),
            )
            for one in site.interlocks
        }
        if self.interlocks:
            puts.objections.append(objections(list(self.interlocks.values())))

    def work(self) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        """Yield what has to run while the server does, each with a name."""
        for name, group in self.groups.items():
            yield f"group {name}", group.run
        for name, interlock in self.interlocks.items():
            yield f"interlock {name}", interlock.run

    async def start(self) -> None:
        """Look for the PVs of other servers that interlocks are about. Raises OSError."""
        await self._inputs.start()

    async def stop(self) -> None:
        """End what is done without a client that waits for it."""
        for group in self.groups.values():
            await group.stop()
        for interlock in self.interlocks.values():
            await interlock.stop()
        await self._inputs.stop()
