"""The driver against the simulated supply over real sockets, with everything that a wire can do wrong."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from devices.caen.driver import CaenDriver
from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import SimulatedSupply, simulated_supply
from devices.errors import DeviceError, Garbled, LinkDown, Refused, ReplyTimeout
from devices.model import DeviceSettings, Level

TIMEOUT = 0.2


@asynccontextmanager
async def connected(
    model: CaenModel | None = None, **settings: object
) -> AsyncIterator[tuple[SimulatedSupply, CaenDriver]]:
    async with simulated_supply(model) as supply:
        configuration = {"channels": 4, "timeout": TIMEOUT, **settings}
        driver = CaenDriver(DeviceSettings("HV1", "caen-dt55xx", supply.address, **configuration))
        await driver.connect()
        await driver.read(list(driver.signals()))
        try:
            yield supply, driver
        finally:
            await driver.close()


def sets(supply: SimulatedSupply) -> list[bytes]:
    return [line for line in supply.received if b"CMD:SET" in line]


@pytest.mark.parametrize("profile", Profile)
async def test_GIVEN_a_supply_WHEN_every_setting_is_put_THEN_the_unit_has_it(profile):
    async with connected(CaenModel(profile)) as (supply, driver):
        channel = supply.model.channels[2]
        values = {"MAXV": 2000, "VSET": 1234.5, "ISET": 250.25, "RAMPUP": 77, "RAMPDN": 66, "TRIPTIME": 2.5}
        for suffix, value in values.items():
            assert (await driver.write(f"CH02.{suffix}", value))[f"CH02.{suffix}.RBV"].value == value
        await driver.write("CH02.PDWN", 0)
        assert (channel.maxv, channel.vset, channel.iset) == (2000.0, 1234.5, 250.25)
        assert (channel.rup, channel.rdw, channel.trip, channel.pdwn) == (77.0, 66.0, 2.5, "RAMP")
        found = await driver.read([f"CH02.{suffix}.RBV" for suffix in values])
        assert [reading.value for reading in found.values()] == list(values.values())
        assert len(sets(supply)) == len(values) + 1


async def test_GIVEN_an_output_at_voltage_WHEN_the_driver_starts_twice_THEN_only_mon_was_received():
    model = CaenModel()
    for channel in model.channels:
        channel.vset, channel.iset, channel.rup = 1500.0, 1000.0, 500.0
        channel.switch_on()
    model.step(10.0)
    async with connected(model) as (supply, driver):
        await supply.drop_connections()
        with pytest.raises(LinkDown):
            await driver.read(["CH00.VMON"])
        await driver.close()
        await driver.connect()
        found = await driver.read(["CH00.VMON", "CH00.ON", "CH00.VSET", "CH00.STATE"])
        assert [reading.value for reading in found.values()] == [1500.0, 1, 1500.0, 1]
        assert sets(supply) == []


@pytest.mark.parametrize("fault", ["split", "echo", "telnet"])
async def test_GIVEN_an_untidy_wire_WHEN_reading_THEN_every_value_is_right(fault):
    async with connected() as (supply, driver):
        setattr(supply.faults, fault, True)
        await driver.close()
        await driver.connect()
        found = await driver.read(list(driver.signals()))
        assert found["CH03.ISET.RBV"].value == 100.0
        assert (await driver.write("CH03.ISET", 50))["CH03.ISET.RBV"].value == 50.0
        assert driver.stats.errors == 0


async def test_GIVEN_a_silent_supply_WHEN_reading_THEN_it_is_lost_within_one_timeout():
    async with connected() as (supply, driver):
        supply.faults.silent = True
        begun = time.monotonic()
        with pytest.raises(ReplyTimeout):
            await driver.read(["CH00.VMON", "CH00.VSET.RBV"])
        assert time.monotonic() - begun < 3 * TIMEOUT
        await driver.close()
        with pytest.raises(ReplyTimeout):
            await driver.connect()
        supply.faults.silent = False
        await driver.connect()
        assert (await driver.read(["CH00.VMON"]))["CH00.VMON"].level is Level.OK


async def test_GIVEN_a_supply_that_sends_rubbish_WHEN_reading_THEN_it_is_lost_and_comes_back():
    async with connected() as (supply, driver):
        supply.faults.garbage = True
        fast = ["CH00.VMON", "CH00.STAT"]
        assert await driver.read(fast) == {}
        with pytest.raises(Garbled):
            await driver.read(fast)
        await driver.close()
        with pytest.raises(DeviceError):
            await driver.connect()
        supply.faults.garbage = False
        await driver.connect()
        assert set(await driver.read(fast)) == set(fast)


async def test_GIVEN_a_unit_that_does_not_answer_to_set_WHEN_writing_THEN_reading_back_decides():
    async with connected() as (supply, driver):
        supply.faults.mute_sets = True
        assert (await driver.write("CH00.VSET", 321.0))["CH00.VSET"].value == 321.0
        assert (await driver.write("CH00.ON", 1))["CH00.ON.RBV"].value == 1
        assert [line.split(b"PAR:")[1] for line in sets(supply)] == [b"VSET,VAL:321.0", b"ON"]


async def test_GIVEN_a_reset_in_the_answer_WHEN_writing_THEN_it_was_sent_once_and_its_outcome_is_known():
    async with connected() as (supply, driver):

        def once(reply: bytes) -> bytes:
            # switched off after this answer has been prepared: it is the only one that is cut
            asyncio.get_running_loop().call_soon(setattr, supply.faults, "reset_mid_reply", False)
            return reply

        connections = supply.connections
        supply.faults.mangle, supply.faults.reset_mid_reply = once, True
        assert (await driver.write("CH00.VSET", 100.0))["CH00.VSET.RBV"].value == 100.0
        assert len(sets(supply)) == 1
        assert supply.connections == connections + 1


async def test_GIVEN_a_supply_that_went_away_WHEN_writing_THEN_the_outcome_is_unknown_and_nothing_is_repeated():
    async with connected() as (supply, driver):
        await supply.refuse_connections()
        with pytest.raises((ReplyTimeout, LinkDown)):
            await driver.write("CH00.VSET", 100.0)
        await supply.accept_connections()
        await driver.connect()
        found = await driver.read(["CH00.VSET", "CH00.VSET.RBV"])
        assert [reading.value for reading in found.values()] == [0.0, 0.0]
        assert sets(supply) == []


async def test_GIVEN_a_unit_in_local_WHEN_writing_THEN_the_reason_names_the_panel():
    async with connected(CaenModel(Profile.B)) as (supply, driver):
        supply.model.local = True
        with pytest.raises(Refused, match="front panel is in LOCAL"):
            await driver.write("CH00.VSET", 100.0)
        assert (await driver.read(["CH00.VMON", "BD.LOCAL"]))["BD.LOCAL"].value == 1


async def test_GIVEN_a_wire_that_loses_and_damages_answers_WHEN_reading_THEN_no_value_is_wrong():
    rng = random.Random(5)
    model = CaenModel()
    names = [f"CH{n:02d}.{suffix}" for n in range(4) for suffix in ("VSET.RBV", "ISET.RBV", "MAXV.RBV", "STAT")]
    for number, channel in enumerate(model.channels):
        channel.vset, channel.iset, channel.maxv = 100.0 + number, 200.0 + number, 3000.0 + number
    truth = {}
    for number in range(4):
        truth |= {
            f"CH{number:02d}.VSET.RBV": 100.0 + number,
            f"CH{number:02d}.ISET.RBV": 200.0 + number,
            f"CH{number:02d}.MAXV.RBV": 3000.0 + number,
            f"CH{number:02d}.STAT": 0,
        }

    def damage(reply: bytes) -> bytes:
        place = rng.randrange(len(reply))
        return rng.choice(
            [reply, reply, reply, reply, reply[place:], reply[:place], reply + reply, b"\xff" + reply, reply[:-2]]
        )

    async with connected(model, timeout=0.1) as (supply, driver):
        supply.faults.mangle = damage
        good = 0
        for _ in range(25):
            try:
                found = await driver.read(names)
            except DeviceError:
                # what every scan does: close, connect again; connecting must survive the same wire
                supply.faults.mangle = None
                await driver.close()
                await driver.connect()
                supply.faults.mangle = damage
                continue
            for name, reading in found.items():
                if reading.level is not Level.INVALID:
                    assert reading.value == truth[name], name
                    good += 1
        assert good > 20
        assert sets(supply) == []


async def test_GIVEN_the_supply_on_a_serial_line_WHEN_reading_and_writing_THEN_it_is_the_same():
    async with simulated_supply(CaenModel(Profile.B)) as supply:
        path = await supply.plug_in_serial()
        driver = CaenDriver(DeviceSettings("HV1", "caen-dt55xx", f"serial://{path}", timeout=TIMEOUT))
        try:
            await driver.connect()
            await driver.read(list(driver.signals()))
            assert (await driver.write("CH01.VSET", 55.5))["CH01.VSET.RBV"].value == 55.5
        finally:
            await driver.close()
