"""What a fault of a wire costs: after how long the readings are INVALID, after how long they are back, what was sent.

A whole server runs against the simulated device of a family behind its own transport, with answers as slow as real
ones. Each fault is made several times, at another phase of the scan each time; a row shows minimum, median and maximum.

A family is a module with a function that returns an asynchronous context manager with a ``Wire``: see ``FAMILIES``.

Run: python -m bench.faults FAMILY [--runs 10] [--pace SECONDS] [--only WORDS]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

from ioc.app import App
from ioc.records import Record
from ioc.site.config import parse_site

FAMILIES = {
    "caen": "bench.faults_caen:paced",
    "eurotherm": "bench.faults_eurotherm:paced",
    "iseg": "bench.faults_iseg:paced",
}
"""For each family the function that takes the pace in seconds (None: the usual one) and opens a paced wire."""

INVALID = 3
LOOK = 0.002  # s between two looks at the records
PATIENCE = 150.0  # s after which a device that does not come back is given up

Act = Callable[[], Awaitable[None] | None]


@dataclass(frozen=True)
class Fault:
    """One fault: what begins it, what ends it, and how many seconds lie between; 0 when it ends by itself."""

    name: str
    begin: Act
    end: Act = lambda: None
    hold: float = 4.0


@dataclass(frozen=True)
class Wire:
    """A simulated device behind its paced transport.

    ``site`` are the sections of a site file with one device, ``watched`` the PVs of which ``INVALID after`` and ``back
    after`` are reported, ``writes`` counts requests that change the device.
    """

    site: Mapping[str, Any]
    watched: Sequence[str]
    faults: Sequence[Fault]
    writes: Callable[[], int]


@dataclass
class Row:
    """Measurements of one fault in seconds; None where the readings were not INVALID, or did not come back."""

    fault: Fault
    invalid: list[float | None] = field(default_factory=list)
    back: list[float | None] = field(default_factory=list)
    writes: int = 0

    def __str__(self) -> str:
        never = all(seconds is None for seconds in self.invalid)
        back = "-" if never else _spread(self.back)
        return f"| {self.fault.name} | {'never' if never else _spread(self.invalid)} | {back} | {self.writes} |"


def _spread(values: Sequence[float | None]) -> str:
    found = [value for value in values if value is not None]
    missing = f", {len(values) - len(found)} of {len(values)} not" if len(found) < len(values) else ""
    if not found:
        return "not"
    return f"{min(found):.2f} / {statistics.median(found):.2f} / {max(found):.2f} s{missing}"


async def _act(action: Act) -> None:
    waiting = action()
    if waiting is not None:
        await waiting


async def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        await asyncio.sleep(LOOK)
    return True


async def _once(row: Row, watched: Sequence[Record]) -> None:
    fault = row.fault
    begun = time.monotonic()
    await _act(fault.begin)
    ended = begun + fault.hold
    lost = await _wait(lambda: all(record.sevr == INVALID for record in watched), max(fault.hold, 3.0))
    row.invalid.append(time.monotonic() - begun if lost else None)
    await asyncio.sleep(max(0.0, ended - time.monotonic()))
    since = time.monotonic() if fault.hold else begun
    await _act(fault.end)
    if lost:
        back = await _wait(lambda: all(record.sevr < INVALID for record in watched), PATIENCE)
        row.back.append(time.monotonic() - since if back else None)


async def measure(opened: AbstractAsyncContextManager[Wire], number: int, runs: int) -> Row:
    """Make the fault with this number so many times, on a server and a device of its own."""
    async with opened as wire:
        app = App(parse_site(wire.site), port=0, local_only=True)
        await app.start()
        try:
            if not await app.wait_until_read(PATIENCE):
                raise RuntimeError("the device was not read")
            watched = [app.records[name] for name in wire.watched]
            row = Row(wire.faults[number])
            before = wire.writes()
            for _ in range(runs):
                await _once(row, watched)
                await app.wait_until_read(PATIENCE)
                await asyncio.sleep(random.uniform(0.0, 1.0))  # another phase of the scan
            row.writes = wire.writes() - before
            return row
        finally:
            await app.stop()


async def table(family: str, runs: int, pace: float | None, only: str) -> list[Row]:
    """Measure every fault of a family, all of them at one time: each mostly waits."""
    paced: Callable[[float | None], AbstractAsyncContextManager[Wire]] = resolve_name(FAMILIES[family])
    async with paced(pace) as wire:
        chosen = [number for number, fault in enumerate(wire.faults) if only in fault.name]
        if not chosen:
            raise SystemExit(f"--only: found {only!r}, faults are: {', '.join(fault.name for fault in wire.faults)}")
    return list(await asyncio.gather(*(measure(paced(pace), number, runs) for number in chosen)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time until readings are INVALID and back again, by fault.")
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--pace", type=float, help="seconds of one exchange, or what the family takes for its pace")
    parser.add_argument("--only", default="", help="faults with these words in their names")
    options = parser.parse_args()
    rows = asyncio.run(table(options.family, options.runs, options.pace, options.only))
    print("| fault | INVALID after | back after | writes sent |\n|---|---|---|---|")
    print("\n".join(map(str, rows)))


if __name__ == "__main__":
    main()
