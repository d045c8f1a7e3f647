"""The values that a self-test judges: read over Channel Access from a running server, or from the devices themselves.

Neither way can change a device: the client only reads, and without a server the drivers are read by the scan engine
alone, with devices that are read-only and writing forbidden.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from devices.model import DeviceSettings, Driver, WriteGuard
from devices.registry import FAMILIES
from devices.unavailable import Unavailable
from ioc.client import Client, ReadError, Reading
from ioc.clock import SystemClock
from ioc.records import SEVERITY_NAMES, STATUS_NAMES, Record, RecordSet, fields_of
from ioc.records.status import INVALID
from ioc.scan.scanner import DeviceScanner
from ioc.site.config import Site
from ioc.site.expansion import expand

READ_SECONDS = 15.0
"""How long a server may take to answer a read: they are asked for everything at once."""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """A PV as it was found; ``trouble`` is why it could not be read, and nothing else counts then.

    ``stamp`` is Unix time, 0 when it never had a value. ``shown`` and ``limits`` are the display and the control range,
    None where there is none.
    """

    value: float | int | str | tuple[object, ...] | None = None
    text: str = ""
    stamp: float = 0.0
    severity: int = INVALID
    alarm: str = ""
    shown: Span | None = None
    limits: Span | None = None
    trouble: str = ""

    @property
    def number(self) -> float | None:
        """The value as a number, None when it is none."""
        return float(self.value) if isinstance(self.value, int | float) else None


async def from_server(client: Client, names: Iterable[str], timeout: float) -> dict[str, Seen]:
    """Read PVs of whichever servers have them; finding those may take so long. Raises ValueError for a bad name."""
    channels = await client.connect(names, timeout)
    there = [channel for channel in channels if channel.connected]
    found = dict(zip(there, await client.read(there, READ_SECONDS), strict=True))
    return {channel.name: _of_reading(found.get(channel)) for channel in channels}


def _of_reading(found: Reading | ReadError | None) -> Seen:
    if found is None or isinstance(found, ReadError):
        return Seen(trouble=str(found or "not connected: no server has it"))
    limits = found.meta.limits
    return Seen(
        found.value, found.text, found.stamp, found.severity, found.alarm,
        _span(limits.get("display")), _span(limits.get("control")),
    )  # fmt: skip


def _span(limits: Span | None) -> Span | None:
    return limits if limits is not None and limits[0] < limits[1] else None


@asynccontextmanager
async def reading_alone(site: Site) -> AsyncIterator[tuple[RecordSet, list[DeviceScanner]]]:
    """Scan the devices of a site without serving anything; the records follow until the end."""
    clock = SystemClock()
    records, scanners = RecordSet.build(expand(site).records.values()), []
    async with AsyncExitStack() as stack:
        for settings in site.devices:
            driver = await _driver(settings, stack)
            if isinstance(driver, WriteGuard):
                await driver.forbid_writes("this is a self-test")
            mine = [record for record in records.values() if record.device == settings.name]
            scanners.append(DeviceScanner(driver, mine, clock))
            task = asyncio.create_task(scanners[-1].run(), name=f"self-test {settings.name}")
            stack.push_async_callback(_end, task)
        yield records, scanners


async def _driver(settings: DeviceSettings, stack: AsyncExitStack) -> Driver:
    try:
        quiet = replace(settings, readonly=True)
        if settings.simulated:
            simulator = FAMILIES[settings.type].make_simulator(quiet, 0)
            await simulator.start()
            stack.push_async_callback(simulator.stop)
            quiet = replace(quiet, address=simulator.address)
        return FAMILIES[settings.type].make_driver(quiet)
    except Exception as error:
        return Unavailable(settings, f"the device cannot be read: {error or type(error).__name__}")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def from_devices(site: Site, seconds: float) -> dict[str, Seen]:
    """Read the devices themselves, until each has been read whole, at most so long, and for two scans after that."""
    async with reading_alone(site) as (records, scanners):
        end = time.monotonic() + seconds
        while not all(one.all_read for one in scanners) and time.monotonic() < end:  # noqa: ASYNC110  no event says so
            await asyncio.sleep(0.1)
        await asyncio.sleep(max((2 * one.period for one in site.devices), default=0.0))
        names = {one.name for one in site.devices}
        return {record.name: _of_record(record) for record in records.values() if record.device in names}


def _of_record(record: Record) -> Seen:
    spec = fields_of(record.rtyp)["VAL"]
    meta, value = record.meta(spec), record.val
    if record.udf:
        return Seen(alarm=_alarm(record))
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    choices = record.enum_strings()
    if choices and isinstance(value, int) and value < len(choices):
        text = choices[value]
    shown, limits = (meta.disp_low, meta.disp_high), (meta.ctrl_low, meta.ctrl_high)
    kept = text if isinstance(value, bytes) else value
    return Seen(kept, text, record.stamp, record.sevr, _alarm(record), _span(shown), _span(limits))


def _alarm(record: Record) -> str:
    return f"{SEVERITY_NAMES[record.sevr]} {STATUS_NAMES[record.stat]}" if record.sevr else ""
