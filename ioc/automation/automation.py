"""What acts on several devices at once, put together for one server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from ioc.automation.all_off import AllOff
from ioc.automation.group import GroupControl
from ioc.automation.interlock import InterlockControl, objections
from ioc.automation.recovery import Recoveries
from ioc.clock import Clock
from ioc.database.support import GROUPS, INTERLOCKS
from ioc.inputs import Inputs
from ioc.puts import PutPath
from ioc.records import Record, RecordSet
from ioc.scan.scanner import DeviceScanner
from ioc.site.config import Site


class Automation:
    """Everything off, the groups and the interlocks of a site, and the recovery of channels that have tripped.

    ``outputs`` are the switches that are put to OFF by ``GRP:ALL:GO``.
    """

    def __init__(
        self,
        site: Site,
        records: RecordSet,
        outputs: Sequence[Record],
        puts: PutPath,
        clock: Clock,
        scanners: Mapping[str, DeviceScanner],
    ) -> None:
        self._site = site
        own = {record.signal or "": record for record in records.values() if record.device == GROUPS}
        if outputs:
            AllOff(own, outputs, records, puts, clock)
        self.groups = {group.name: GroupControl(group, own, records, site.prefix, puts, clock) for group in site.groups}
        self._inputs = Inputs(records, clock, site.prefix)
        own = {record.signal or "": record for record in records.values() if record.device == INTERLOCKS}
        self.interlocks = {
            one.name: InterlockControl(
                one, own, records, site.prefix, self._inputs, puts, clock, self.groups.get(one.group)
            )
            for one in site.interlocks
        }
        if self.interlocks:
            puts.objections.append(objections(list(self.interlocks.values())))
        self.recoveries = Recoveries(site, records, puts, clock)
        self.recoveries.objections.append(self._held)
        self.recoveries.start(scanners)

    def work(self) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        """Yield what has to run while the server does, each with a name."""
        for name, group in self.groups.items():
            yield f"group {name}", group.run
        for name, interlock in self.interlocks.items():
            yield f"interlock {name}", interlock.run

    async def start(self) -> None:
        """Look for the PVs of other servers that interlocks are about. Raises OSError."""
        try:
            await self._inputs.start()
        except ValueError as error:
            raise OSError(f"can't look for the PVs of other servers: {error}") from error

    async def stop(self) -> None:
        """End what is done without a client that waits for it."""
        await self.recoveries.close()
        for group in self.groups.values():
            await group.stop()
        for interlock in self.interlocks.values():
            await interlock.stop()
        await self._inputs.stop()

    def _held(self, channel: str) -> str:
        """Return which group of a channel is in HOLD; empty when none is."""
        base = channel.removeprefix(f"{self._site.prefix}:")
        held = (group.name for group in self._site.groups if base in group.members and self.groups[group.name].held)
        return next((f"group {name} is in HOLD" for name in held), "")
