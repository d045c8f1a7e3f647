"""Connecting to a supply: its dialect and address, another unit in its place, what is kept of it."""

from __future__ import annotations

import pytest

from devices.caen.identity import OTHER_UNIT
from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.errors import Garbled, LinkDown, ReplyTimeout
from devices.model import Level
from devices.rules.hv_channel import State
from tests.devices.caen.bench import FAST, bench


@pytest.mark.parametrize("profile", Profile)
async def test_connecting_and_reading_everything_sends_nothing_but_mon(profile):
    rig = bench(CaenModel(profile))
    await rig.start()
    await rig.driver.close()
    await rig.start()
    assert rig.link.log
    assert all("CMD:MON," in line for line in rig.link.log)


@pytest.mark.parametrize("profile", Profile)
async def test_the_dialect_is_found_and_remembered(profile):
    rig = bench(CaenModel(profile, board=0))
    await rig.driver.connect()
    first = rig.sent()
    assert first[0] == "$CMD:MON,PAR:BDNAME"
    await rig.driver.close()
    since = len(rig.link.log)
    await rig.driver.connect()
    start = "$" if profile is Profile.A else "$BD:00,"
    assert rig.sent(since) == [f"{start}CMD:MON,PAR:BDSNUM"]


async def test_the_address_of_the_module_comes_from_the_site_file():
    rig = bench(CaenModel(Profile.B, board=7), options={"board": 7})
    await rig.start()
    assert rig.link.log[-1].startswith("$BD:07,")
    assert (await rig.driver.read(["BD.NAME"]))["BD.NAME"].value == "NDT1470"


def deaf_without_an_address(request: bytes) -> Exception | None:
    return None if request.startswith(b"$BD:") else ReplyTimeout("no answer")


async def test_a_unit_that_only_hears_its_address_is_found():
    rig = bench(CaenModel(Profile.B, board=3), options={"board": 3})
    rig.link.intercept = deaf_without_an_address
    await rig.start()
    assert rig.link.log[-1].startswith("$BD:03,")
    await rig.driver.close()
    since = len(rig.link.log)
    await rig.start()
    assert all(line.startswith("$BD:03,") for line in rig.sent(since))


async def test_a_unit_that_fell_silent_costs_one_timeout_and_may_have_been_replaced():
    rig = bench(CaenModel())
    await rig.start()
    rig.link.intercept = lambda _: ReplyTimeout("no answer")
    since = len(rig.link.log)
    with pytest.raises(ReplyTimeout):
        await rig.driver.connect()
    assert len(rig.sent(since)) == 1
    rig.link.model = CaenModel(Profile.B)
    rig.link.intercept = deaf_without_an_address
    for _ in range(OTHER_UNIT - 2):
        with pytest.raises(ReplyTimeout):
            await rig.driver.connect()
    await rig.start()
    assert (await rig.driver.read(["BD.NAME"]))["BD.NAME"].value == "NDT1470"


@pytest.mark.parametrize("changed", ["serial", "firmware"])
async def test_another_unit_that_answers_in_a_scan_is_learnt_anew(changed):
    rig = bench()
    await rig.start()
    rig.link.model = CaenModel(channels=2)
    setattr(rig.link.model, changed, "09.9")
    with pytest.raises(LinkDown, match="another unit or firmware"):
        await rig.driver.read(["BD.SERIAL", "BD.FW"])
    since = len(rig.link.log)
    await rig.driver.connect()
    assert [line.rpartition(":")[2] for line in rig.sent(since)] == ["BDNAME", "BDNCH", "BDSNUM", "BDFREL"]
    found = await rig.driver.read(["BD.NCH", "CH03.VMON"])
    assert (found["BD.NCH"].value, found["CH03.VMON"].level) == (2, Level.INVALID)


async def test_a_unit_of_another_dialect_is_asked_before_the_silent_one_is_waited_for_again():
    rig = bench()
    await rig.start()
    rig.link.model = CaenModel(Profile.B)
    rig.link.intercept = deaf_without_an_address
    for _ in range(OTHER_UNIT - 1):
        with pytest.raises(ReplyTimeout):
            await rig.driver.connect()
    since = len(rig.link.log)
    await rig.driver.connect()
    assert rig.sent(since)[:2] == ["$CMD:MON,PAR:BDSNUM", "$BD:00,CMD:MON,PAR:BDNAME"]
    rig.link.model.serial = "4711"
    with pytest.raises(LinkDown, match="another unit"):
        await rig.driver.read(["BD.SERIAL"])
    since = len(rig.link.log)
    await rig.driver.connect()
    assert rig.sent(since)[0] == "$BD:00,CMD:MON,PAR:BDNAME"  # that silence is over: what it spoke last comes first


async def test_a_unit_that_was_silent_for_long_is_back_after_one_question():
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda _: ReplyTimeout("no answer")
    for _ in range(OTHER_UNIT + 1):
        with pytest.raises(ReplyTimeout):
            await rig.driver.connect()
    rig.link.intercept = lambda _: None
    since = len(rig.link.log)
    await rig.driver.connect()
    assert rig.sent(since) == ["$CMD:MON,PAR:BDSNUM"]
    assert (await rig.driver.read(["CH00.VSET.HI"]))["CH00.VSET.HI"].value == 4000.0


async def test_a_unit_that_answers_with_its_address_is_one_of_profile_b():
    model = CaenModel(Profile.B)
    rig = bench(model)

    def any_address(request: bytes) -> str | None:
        if request.startswith(b"$BD:"):
            return None
        return model.respond(request.replace(b"$", b"$BD:00,") + b"\r\n").decode().strip()

    rig.link.intercept = any_address
    await rig.start()
    model.channels[0].forced = 1024
    assert (await rig.look("STATE"))["STATE"].value == State.INHIBITED  # bit 10 is the enable switch there


async def test_what_is_no_supply_is_refused():
    rig = bench()
    rig.link.intercept = lambda _: "SSH-2.0-OpenSSH_9.6"
    with pytest.raises(Garbled, match="not a CAEN supply"):
        await rig.driver.connect()
    assert not rig.link.connected
    rig.link.intercept = lambda _: ReplyTimeout("no answer")
    with pytest.raises(ReplyTimeout):
        await rig.driver.connect()
    rig.link.reachable = False
    with pytest.raises(LinkDown):
        await rig.driver.connect()
    with pytest.raises(LinkDown):
        await rig.driver.read(["CH00.VMON"])


async def test_connecting_and_a_fast_scan_ask_for_no_constant():
    rig = bench()
    await rig.driver.connect()
    identity = ["BDNAME", "BDNCH", "BDSNUM", "BDFREL"]
    assert [line.rpartition(":")[2] for line in rig.sent()] == identity
    since = len(rig.link.log)
    assert set(await rig.driver.read(FAST)) == set(FAST)
    asked = [line.rpartition(":")[2] for line in rig.sent(since)]
    assert asked == ["ISET", "VMON", "IMON", "STAT"]


async def test_the_same_unit_keeps_its_constants_over_a_reconnection_and_confirms_them_behind():
    rig = bench()
    await rig.start()
    await rig.driver.close()
    since = len(rig.link.log)
    await rig.driver.connect()
    await rig.driver.read(FAST)
    assert [line.rpartition(":")[2] for line in rig.sent(since)] == ["BDSNUM", "VMON", "IMON", "STAT"]
    await rig.driver.read(["CH00.RAMPUP.RBV"])
    assert len(rig.sent(since)) == 5
    assert rig.driver.limits("CH00.RAMPUP").high == 500.0
    found = await rig.driver.read(rig.everything())
    assert {reading.level for reading in found.values() if reading.value is not None} == {Level.OK}
    asked = [line.rpartition(":")[2] for line in rig.sent(since)]
    assert {"VMAX", "IMAXH", "RUPMAX", "VSRES", "IMDECL"} <= set(asked)
    since = len(rig.link.log)
    await rig.driver.read(rig.everything())
    assert "VMAX" not in {line.rpartition(":")[2] for line in rig.sent(since)}


async def test_another_unit_at_the_address_is_noticed_at_once():
    rig = bench()
    await rig.start()
    await rig.driver.close()
    rig.model.serial = "00999"
    since = len(rig.link.log)
    await rig.driver.connect()
    asked = [line.rpartition(":")[2] for line in rig.sent(since)]
    assert asked == ["BDSNUM", "BDNAME", "BDNCH", "BDSNUM", "BDFREL"]
    assert rig.driver.limits("CH00.VSET") is None  # the constants of the other unit count no more


async def test_another_firmware_is_noticed_right_after_the_fast_values_and_everything_is_read_anew():
    rig = bench()
    await rig.start()
    await rig.driver.close()
    rig.model.firmware = "02.0"
    await rig.driver.connect()
    await rig.driver.read(FAST)
    asked = [rig.driver.portions(rig.everything())[number] for number in range(3)]
    assert ["BD.FW"] in [list(portion) for portion in asked]
    with pytest.raises(LinkDown, match=r"BDFREL was 01\.0 and is 02\.0"):
        await rig.driver.read(["BD.FW"])
    await rig.driver.close()
    await rig.driver.connect()
    assert rig.driver.limits("CH00.VSET") is None
    assert (await rig.driver.read(["BD.FW"]))["BD.FW"].value == "02.0"


@pytest.mark.parametrize("count", ["0", "x", "101"])
async def test_a_supply_that_does_not_tell_its_channels_is_refused(count):
    rig = bench()
    rig.link.intercept = lambda request: f"#CMD:OK,VAL:{count};" if b"BDNCH" in request else None
    with pytest.raises(Garbled, match="number of channels"):
        await rig.driver.connect()
    assert not rig.link.connected


async def test_the_serial_number_is_compared_with_the_site_file():
    rig = bench(CaenModel(serial="00042"), options={"serial": "00123"})
    await rig.start()
    found = (await rig.driver.read(["BD.SERIAL"]))["BD.SERIAL"]
    assert (found.value, found.level) == ("00042", Level.MAJOR)


async def test_an_unknown_model_is_connected_and_says_so():
    rig = bench(CaenModel(name="DT9999X"))
    await rig.driver.connect()
    assert "DT9999X is not known" in rig.driver.stats.notice
    found = await rig.driver.read(["BD.NAME", "CH00.STATE"])
    assert (found["BD.NAME"].value, found["BD.NAME"].level) == ("DT9999X", Level.MINOR)
    assert found["CH00.STATE"].level is Level.OK
