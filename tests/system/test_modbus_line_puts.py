"""Puts of Channel Access clients to two furnaces on one line at 9600 baud, and what reaches the furnaces when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from devices.eurotherm.catalogue import SETTINGS
from devices.eurotherm.furnace import DONE
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces, simulated_furnaces
from devices.links.modbus_frames import READ
from ioc.app import App
from ioc.services.journal import APPLIED, REFUSED, Entry
from tests.fair_time import until
from tests.ioc.app_rig import record, running
from tests.libca import ECA_NORMAL, ECA_PUTFAIL
from tests.system.test_slow_puts import Putter, clients

SAFE = 20.0
BEFORE = 600.0
ASKED = {"TSET": 300.0, "PB": 45.0, "TI": 200.0, "TD": 40.0}
"""What is put to each furnace; each is one register that has another value before."""

SCANS = 20  # requests in which what must not be written had the time to be
FURNACE = {"type": "eurotherm-3200", "period": 1.0, "timeout": 2.0, "allow_no_ramp": True, "safe_temperature": SAFE}
UNITS = {"FURN1": 1, "FURN2": 2}


@dataclass
class Line:
    """A served line; ``entries`` are what the journal was given of each put."""

    furnaces: SimulatedFurnaces
    app: App
    entries: list[Entry]

    def writes(self) -> list[bytes]:
        """Return what was received and changes a furnace, oldest first; the first byte is the unit."""
        return [frame for frame in self.furnaces.received if frame[1] != READ]

    def entry(self, pv: str) -> Entry:
        (found,) = (entry for entry in self.entries if entry.pv == pv)
        return found

    async def some_scans(self) -> None:
        """Wait for several scans of both furnaces."""
        begun = len(self.furnaces.received)
        await until(lambda: len(self.furnaces.received) > begun + SCANS, 20.0, f"{SCANS} requests")


@asynccontextmanager
async def served(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Line]:
    models = {unit: EurothermModel() for unit in UNITS.values()}
    async with simulated_furnaces(models) as furnaces:
        for model in models.values():
            model.held = model.memory["SP1"] = BEFORE
            model.settle()
        common = FURNACE | {"address": furnaces.address, "state_dir": str(folder)}
        async with running(*(common | {"name": name, "unit": unit} for name, unit in UNITS.items())) as app:
            furnaces.realtime = True  # once everything has been read
            entries: list[Entry] = []
            patch.setattr(app.journal, "note", entries.append)
            yield Line(furnaces, app, entries)


def shown(line: Line, pv: str) -> tuple[object, object]:
    """Return what the setting and its read-back show."""
    return line.app.records[pv].val, line.app.records[f"{pv}:RBV"].val


def held(line: Line, pv: str) -> float:
    """Return what the furnace itself has."""
    _, name, setting = pv.split(":")
    return line.furnaces.slaves[UNITS[name]].model.memory[SETTINGS[setting].register]


async def begin(line: Line) -> tuple[dict[str, tuple[float, float]], list[Putter]]:
    """Put everything to both furnaces at once, and wait until the first write has arrived.

    Returns what is asked of each PV with what the furnace had before, and the clients in the same order.
    """
    asked = {f"LAB:{name}:{setting}": value for setting, value in ASKED.items() for name in UNITS}
    wanted = {pv: (value, held(line, pv)) for pv, value in asked.items()}
    assert all(shown(line, pv) == (before, before) != (value, value) for pv, (value, before) in wanted.items())
    puts = await clients(line.app, *wanted)
    for put, (value, _) in zip(puts, wanted.values(), strict=True):
        put.put(value)
    await until(lambda: bool(line.writes()), 10.0, "the first write")
    return wanted, puts


async def test_GIVEN_puts_to_two_furnaces_on_a_line_WHEN_disarmed_THEN_no_write_leaves_after_its_completion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path, monkeypatch) as line:
        (arming,) = await clients(line.app, "LAB:IOC:ARMED")
        wanted, puts = await begin(line)
        arming.put(0)
        assert await asyncio.to_thread(arming.status) == ECA_NORMAL
        sent = line.writes()
        assert {entry.pv for entry in line.entries} >= wanted.keys()  # each put is decided by then
        statuses = [await asyncio.to_thread(put.status) for put in puts]
        await line.some_scans()
        assert line.writes() == sent
        assert set(statuses) == {ECA_NORMAL, ECA_PUTFAIL}
        assert statuses.count(ECA_NORMAL) == len(sent) < 4
        for (pv, (value, before)), status in zip(wanted.items(), statuses, strict=True):
            entry, now = line.entry(pv), value if status == ECA_NORMAL else before
            assert held(line, pv) == now
            assert shown(line, pv) == (now, now)
            assert entry.outcome == (APPLIED if status == ECA_NORMAL else REFUSED)
            assert ("LAB:IOC:ARMED is 0" in entry.reason) == (status == ECA_PUTFAIL)
        for client in (*puts, arming):
            client.leave()


async def test_GIVEN_puts_to_two_furnaces_on_a_line_WHEN_one_is_made_safe_THEN_that_goes_before_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path, monkeypatch) as line:
        (safe,) = await clients(line.app, "LAB:FURN2:SAFE:CMD")
        wanted, puts = await begin(line)
        safe.put(1)
        assert await asyncio.to_thread(safe.status) == ECA_NORMAL
        assert record(line.app, "SAFE:STATE", "FURN2").val == DONE
        assert held(line, "LAB:FURN2:TSET") == SAFE
        statuses = [await asyncio.to_thread(put.status) for put in puts]
        await line.some_scans()
        units = [frame[0] for frame in line.writes()]
        assert units.count(1) == statuses.count(ECA_NORMAL) > 0
        assert units.count(2) == 1  # the safe setpoint
        assert units.index(2) <= 2  # the one begun before it, and one between the reads that come first
        for (pv, (value, before)), status in zip(wanted.items(), statuses, strict=True):
            entry, done = line.entry(pv), status == ECA_NORMAL
            now = SAFE if pv == "LAB:FURN2:TSET" else value if done else before
            assert held(line, pv) == now
            assert shown(line, pv) == (now, now)
            assert entry.outcome == (APPLIED if done else REFUSED)
            if "FURN2" in pv:
                assert entry.reason == "LAB:FURN2:SAFE:CMD = GO overtook it; nothing was sent"
            else:  # on a busy machine making safe may take longer than a put may wait
                assert entry.reason == ("" if done else "waited 5 s for its turn; nothing was sent")
        for client in (*puts, safe):
            client.leave()
