"""A CAEN supply on a wire as slow as a real one, behind a whole server: what is lost, and how soon it is back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from devices.caen.simulator.server import SimulatedSupply
from ioc.app import App
from tests.fair_time import until
from tests.ioc.app_rig import record, running, supply
from tests.ioc.fakes import alarm

FAST = ("VMON", "IMON", "STAT", "STATE", "ON:RBV", "MOVING", "VDIFF", "SETTLED", "TRIP")
PERIOD = 1.0
INVALID = 3


@asynccontextmanager
async def at_1000_volts(pace: float) -> AsyncIterator[tuple[App, SimulatedSupply]]:
    """Run a site whose supply takes this long for an answer."""
    async with running() as app:
        unit = supply(app)
        unit.faults.delay = pace
        channel = unit.model.channels[0]
        channel.vset, channel.rup = 1000.0, 500.0
        channel.switch_on()
        unit.model.step(5.0)
        await until(lambda: float(record(app, "CH00:VMON").val) > 990.0, 5.0)  # type: ignore[arg-type]
        yield app, unit


def lost(app: App, *suffixes: str) -> Callable[[], bool]:
    return lambda: all(record(app, f"CH00:{name}").sevr == INVALID for name in suffixes or FAST)


def valid(app: App, *suffixes: str) -> Callable[[], bool]:
    return lambda: all(record(app, f"CH00:{name}").sevr < INVALID for name in suffixes or FAST)


def writes(unit: SimulatedSupply) -> int:
    return sum(b"CMD:SET" in line for line in unit.received)


def lose_one(unit: SimulatedSupply) -> None:
    def lose(_: bytes) -> bytes:
        unit.faults.mangle = None
        return b""

    unit.faults.mangle = lose


@pytest.mark.parametrize("pace", [0.05, 0.2])
async def test_GIVEN_a_slow_supply_WHEN_one_answer_is_lost_THEN_fast_values_are_back_within_a_second_and_a_scan(pace):
    async with at_1000_volts(pace) as (app, unit):
        lose_one(unit)
        await until(lost(app), 4.0)
        assert await until(valid(app), 3.0) <= 1.0 + PERIOD
        assert writes(unit) == 0


@pytest.mark.parametrize("pace", [0.05, 0.2])
async def test_GIVEN_a_slow_supply_WHEN_it_answers_again_THEN_fast_values_are_back_and_constants_follow(pace):
    async with at_1000_volts(pace) as (app, unit):
        unit.faults.silent = True
        await until(lost(app), 4.0)
        asked = len(unit.received)
        unit.faults.silent = False
        assert await until(valid(app), 4.0) <= 1.0 + PERIOD + 2 * pace
        names = [line.rpartition(b"PAR:")[2] for line in list(unit.received)[asked:]]
        assert b"VMAX" not in names[: names.index(b"STAT")]
        follow = ("VSET:RBV", "PDWN:RBV") if pace > 0.1 else ("VSET:RBV", "PDWN:RBV", "RAMPUP:HI", "VMON:RES")
        await until(valid(app, *follow), 30.0)
        assert writes(unit) == 0


async def test_GIVEN_another_unit_at_the_address_WHEN_the_link_comes_back_THEN_its_identity_is_read_at_once():
    async with at_1000_volts(0.05) as (app, unit):
        unit.model.serial, unit.model.name = "00777", "DT9999X"
        await unit.drop_connections()
        await until(lost(app), 4.0)
        asked = len(unit.received)
        await until(lambda: record(app, "BD:SERIAL").val == "00777", 10.0)
        names = [line.rpartition(b"PAR:")[2] for line in list(unit.received)[asked:]]
        assert names[0] == b"BDSNUM"
        assert b"BDNAME" in names[:2]
        await until(lambda: record(app, "BD:NAME").val == "DT9999X", 10.0)
        assert alarm(record(app, "BD:NAME")) == ("STATE", 1)
        await until(lambda: "model DT9999X is not known" in str(record(app, "COMM:MSG").val), 3.0)


async def test_GIVEN_a_latched_trip_WHEN_the_link_is_lost_THEN_it_keeps_its_severity_and_everything_else_is_INVALID():
    async with at_1000_volts(0.05) as (app, unit):
        unit.model.trip(0)
        await until(lambda: record(app, "CH00:TRIP").val == 1, 5.0)
        unit.faults.silent = True
        await until(lost(app, "VMON", "STATE", "STAT:TRIP", "TRIP:COUNT"), 4.0)
        await until(lambda: alarm(record(app, "CH01:TRIP")) == ("TIMEOUT", INVALID), 4.0)
        assert (record(app, "CH00:TRIP").val, alarm(record(app, "CH00:TRIP"))) == (1, ("STATE", 2))
        assert alarm(record(app, "COMM")) == ("STATE", 2)


async def test_GIVEN_a_unit_WHEN_read_THEN_readings_and_read_backs_have_its_ranges():
    async with at_1000_volts(0.0) as (app, _):
        ranges = {"VMON": 4000.0, "IMON": 3000.0, "VSET:RBV": 4000.0, "ISET:RBV": 3000.0, "RAMPUP:RBV": 500.0}
        await until(lambda: record(app, "CH00:RAMPUP:RBV").get("HOPR") == ranges["RAMPUP:RBV"], 10.0)
        assert {name: record(app, f"CH00:{name}").get("HOPR") for name in ranges} == ranges
