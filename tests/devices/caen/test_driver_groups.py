"""Reading all channels with one request: what ends it, and channels that are not there."""

from __future__ import annotations

import pytest

from devices.caen.simulator.model import CaenModel
from devices.model import Level
from tests.devices.caen.bench import FAST, bench, garbling


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
async def test_a_fast_scan_of_all_channels_is_three_requests(channels):
    rig = bench(CaenModel(channels=channels), channels=channels)
    await rig.start()
    since = len(rig.link.log)
    suffixes = ("VMON", "IMON", "STAT", "STATE", "VDIFF", "EFFLOAD", "TRIP", "ON.RBV", "STAT.OVC", "FROZEN")
    names = [f"CH{channel:02d}.{suffix}" for channel in range(channels) for suffix in suffixes]
    assert set(await rig.driver.read(names)) == set(names)
    assert rig.sent(since) == [f"$CMD:MON,CH:{channels},PAR:{name}" for name in ("VMON", "IMON", "STAT")]


@pytest.mark.parametrize("word", ["CH", "CMD", "PAR"])
async def test_a_unit_that_refuses_group_reads_is_read_channel_by_channel(word):
    rig = bench()
    rig.link.intercept = lambda request: f"#{word}:ERR" if b"CH:4" in request else None
    await rig.start()
    since = len(rig.link.log)
    found = await rig.driver.read(FAST)
    assert all(found[name].level is Level.OK for name in FAST)
    assert rig.sent(since) == [f"$CMD:MON,CH:{n},PAR:{name}" for name in ("VMON", "IMON", "STAT") for n in range(4)]


async def test_a_unit_that_begins_to_refuse_group_reads_loses_no_reading():
    rig = bench()
    await rig.start()
    rig.model.refuse_groups = True
    assert set(await rig.driver.read(FAST)) == set(FAST)
    since = len(rig.link.log)
    assert set(await rig.driver.read(FAST)) == set(FAST)
    assert not any("CH:4" in line for line in rig.sent(since))
    rig.model.refuse_groups = False
    await rig.driver.close()
    await rig.start()
    assert rig.link.log[-1].startswith("$CMD:MON,CH:4")


async def test_one_parameter_refused_for_all_channels_leaves_the_others_in_groups():
    rig = bench()
    rig.link.intercept = lambda request: "#CMD:ERR" if request.endswith(b"CH:4,PAR:POL") else None
    await rig.start()
    found = await rig.driver.read(["CH00.POL", "CH03.POL"])
    assert [reading.value for reading in found.values()] == [0, 0]
    since = len(rig.link.log)
    await rig.driver.read(FAST)
    assert len(rig.sent(since)) == 3


async def test_one_garbled_group_answer_does_not_end_group_reads():
    rig = bench()
    await rig.start()
    rig.link.intercept = garbling("VMON")
    assert "CH00.VMON" not in await rig.driver.read(FAST)
    rig.link.intercept = lambda _: None
    since = len(rig.link.log)
    assert set(await rig.driver.read(FAST)) == set(FAST)
    assert len(rig.sent(since)) == 3


async def test_group_reads_that_were_given_up_are_tried_again_after_a_minute():
    rig = bench()
    await rig.start()
    rig.model.refuse_groups = True
    for _ in range(2):
        assert set(await rig.driver.read(FAST)) == set(FAST)
    rig.model.refuse_groups = False
    rig.pass_time(59.0)
    since = len(rig.link.log)
    await rig.driver.read(FAST)
    assert not any("CH:4" in line for line in rig.sent(since))
    rig.pass_time(1.0)
    await rig.driver.read(FAST)
    since = len(rig.link.log)
    assert set(await rig.driver.read(FAST)) == set(FAST)
    assert len(rig.sent(since)) == 3


@pytest.mark.parametrize("answer", ["claimed", "present", "none"])
async def test_channels_that_the_unit_claims_but_has_not_cost_no_questions(answer):
    """BDNCH says 8, four answer; the request for all channels is that of 8, that of 4, or there is none."""
    rig = bench(channels=8)

    def short(request: bytes) -> str | None:
        text = request.decode()
        if text.endswith("PAR:BDNCH"):
            return "#CMD:OK,VAL:8;"
        number = text.partition("CH:")[2].partition(",")[0]
        if not number or int(number) < 4:
            return None
        if (answer, number) == ("claimed", "8") or (answer, number) == ("present", "4"):
            return rig.model.respond(request.replace(f"CH:{number}".encode(), b"CH:4")).decode().strip()
        return "#CH:ERR"

    rig.link.intercept = short
    names = [f"CH{channel:02d}.{suffix}" for channel in range(8) for suffix in ("VMON", "IMON", "STAT", "STATE")]
    await rig.start()
    await rig.driver.read(names)
    for _ in range(3):
        since = len(rig.link.log)
        found = await rig.driver.read([*names, "CH00.VSET.HI", "CH05.VSET.HI"])
        assert len(rig.sent(since)) == (12 if answer == "none" else 3)
    assert found["CH03.STATE"].level is Level.OK
    assert (found["CH04.VMON"].level, found["CH05.VSET.HI"].level) == (Level.INVALID, Level.INVALID)
    since = len(rig.link.log)
    for portion in rig.driver.portions(rig.everything()):
        await rig.driver.read(portion)
    assert not {"VMAX", "RUPMAX", "TRIPRES"} & {line.rpartition(":")[2] for line in rig.sent(since)}


async def test_a_channel_that_begins_to_answer_is_found_within_a_minute():
    rig = bench()
    rig.link.intercept = lambda request: "#CH:ERR" if b"CH:3" in request or b"CH:4" in request else None
    await rig.start()
    await rig.driver.read(FAST)
    assert (await rig.driver.read(FAST))["CH03.VMON"].level is Level.INVALID
    rig.link.intercept = lambda _: None
    rig.pass_time(60.0)
    await rig.driver.read(FAST)
    since = len(rig.link.log)
    assert (await rig.driver.read(FAST))["CH03.VMON"].level is Level.OK
    assert all("CH:4," in line for line in rig.sent(since))  # it is in the group again


async def test_a_channel_that_has_answered_is_asked_again_at_once_when_it_refuses():
    rig = bench()
    rig.model.refuse_groups = True
    await rig.start()
    rig.link.intercept = lambda request: "#CMD:ERR" if b"CH:2" in request else None
    for _ in range(3):
        found = await rig.driver.read(FAST)
    assert {found[f"CH02.{suffix}"].level for suffix in ("VMON", "STAT", "STATE")} == {Level.INVALID}
    rig.link.intercept = lambda _: None
    assert {reading.level for reading in (await rig.driver.read(FAST)).values()} == {Level.OK}


async def test_the_value_of_another_channel_is_never_taken_for_that_of_all():
    """The request for all of one channel would be that for the second."""
    rig = bench(CaenModel(channels=2), channels=2)
    rig.link.intercept = lambda request: "#CH:ERR" if b"CH:1" in request or b"CH:2" in request else None
    await rig.start()
    await rig.driver.read(FAST[:8])
    rig.model.channels[1].forced = 128
    rig.link.intercept = lambda _: None
    rig.pass_time(60.0)
    found = await rig.driver.read(FAST[:8])
    assert (found["CH00.STAT"].value, found["CH01.STAT"].value) == (0, 128)


async def test_two_group_answers_of_the_wrong_length_end_group_reads():
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda request: "#CMD:OK,VAL:1.0;2.0;3.0;" if b"CH:4,PAR:VMON" in request else None
    assert "CH00.VMON" not in await rig.driver.read(["CH00.VMON"])
    assert rig.link.unsynchronised == 1
    found = await rig.driver.read(["CH00.VMON"])
    assert (found["CH00.VMON"].value, found["CH00.VMON"].level) == (0.0, Level.OK)
