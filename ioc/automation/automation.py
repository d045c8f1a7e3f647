"""What acts on several devices at once, put together for one server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from ioc.automation.all_off import AllOff
from ioc.automation.group import GroupControl
from ioc.clock import Clock
from ioc.database.support import GROUPS
from ioc.puts import PutPath
from ioc.records import Record, RecordSet
from ioc.site.config import Site


class Automation:
    """Everything off, and the groups of a site; ``outputs`` are the switches that are put to OFF by ``GRP:ALL:GO``."""

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

    def work(self) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        """Yield what has to run while the server does, each with a name."""
        for name, group in self.groups.items():
            yield f"group {name}", group.run

    async def stop(self) -> None:
        """End what is done without a client that waits for it."""
        for group in self.groups.values():
            await group.stop()
