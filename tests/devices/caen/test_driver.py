"""Reading a supply: what happens with bad answers, precision and limits."""

from __future__ import annotations

import pytest

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.errors import Garbled, LinkDown, OutOfLimits, ReplyTimeout
from devices.model import Cause, Level
from devices.rules.hv_channel import State
from tests.devices.caen.bench import FAST, START, bench, garbling


@pytest.mark.parametrize("profile", Profile)
async def test_every_signal_has_a_reading_or_says_that_the_firmware_does_not_know_it(profile):
    rig = bench(CaenModel(profile))
    await rig.driver.connect()
    found = await rig.driver.read(rig.everything())
    assert set(found) == set(rig.driver.signals())
    strange = {name.removeprefix("CH00.") for name, reading in found.items() if reading.level is Level.INVALID}
    if profile is Profile.A:
        assert strange == {"BD.TERM", "BD.ILKM", "BD.ILKM.RBV"}
    else:
        network = {"BD.MAC", "BD.IP", "BD.MASK", "BD.GATEWAY", "BD.DHCP"}
        assert {name for name in strange if not name.startswith("CH")} == network | {"ZCADJ", "ZCADJ.RBV", "ZCDTC"}
    for name, reading in found.items():
        labels = rig.driver.signals()[name].labels
        assert not labels or reading.value is None or reading.value in range(len(labels)), name


async def test_an_unknown_parameter_is_asked_twice_per_connection():
    rig = bench(CaenModel())
    rig.model.unknown.update({"PDWN", "MVRES"})
    await rig.start()
    assert sum("PAR:PDWN" in line for line in rig.link.log) == 2
    found = (await rig.driver.read(["CH00.PDWN.RBV", "CH00.MAXV.RBV", "CH00.MAXV.RES"])).values()
    assert [(reading.value, reading.level) for reading in found] == [
        (None, Level.INVALID), (4100.0, Level.OK), (1.0, Level.OK),
    ]  # fmt: skip
    rig.model.unknown.clear()
    await rig.driver.close()
    await rig.start()
    assert (await rig.driver.read(["CH00.PDWN.RBV"]))["CH00.PDWN.RBV"].value == 1


async def test_readings_carry_the_time_of_their_answer():
    rig = bench()
    await rig.start()
    rig.pass_time(7.0)
    found = await rig.look("STATE", "VDIFF")
    assert {reading.time for reading in found.values()} == {START + 7.0}


async def test_a_ramp_is_seen_in_every_signal_of_it():
    rig = bench()
    rig.model.channels[0].vset = 500.0
    await rig.start()
    await rig.driver.write("CH00.ON", 1)
    rig.pass_time(2.0)
    found = await rig.look("STATE", "MOVING", "VDIFF", "ON.RBV", "STAT.UP", "EFFLOAD")
    values = {name: reading.value for name, reading in found.items()}
    assert values["STATE"] == State.RAMP_UP
    assert (values["MOVING"], values["ON.RBV"], values["STAT.UP"]) == (1, 1, 1)
    assert 90.0 < values["VMON"] < 110.0
    assert values["VDIFF"] == pytest.approx(values["VMON"] - 500.0)
    assert values["EFFLOAD"] == pytest.approx(10.0, rel=0.01)
    assert {reading.level for reading in found.values()} == {Level.OK}


async def test_a_supply_that_refuses_everything_is_lost_with_the_reason_and_back_at_once():
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda _: "#CMD:ERR"
    await rig.driver.read(FAST)
    with pytest.raises(Garbled, match=r"4 unreadable answers in a row, .*refused: CMD"):
        await rig.driver.read(FAST)
    with pytest.raises(Garbled, match="not a CAEN supply"):
        await rig.driver.connect()
    rig.link.intercept = lambda request: None if b"PAR:BD" in request else "#CMD:ERR"
    await rig.driver.connect()
    with pytest.raises(Garbled):
        await rig.driver.read(FAST)  # a unit that is starting
    rig.link.intercept = lambda _: None
    await rig.driver.connect()
    found = await rig.driver.read(FAST)
    assert {found[name].level for name in FAST} == {Level.OK}


async def test_a_constant_that_could_not_be_read_after_a_reconnection_is_asked_for_again():
    rig = bench()
    await rig.start()
    await rig.driver.close()
    rig.link.intercept = garbling("VMAX")
    await rig.start()
    rig.link.intercept = lambda _: None
    for expected in (1, 0):
        since = len(rig.link.log)
        await rig.driver.read(["CH00.VSET.HI"])
        assert sum("PAR:VMAX" in line for line in rig.sent(since)) == expected


async def test_a_current_limit_of_before_the_link_was_lost_is_not_shown_as_read():
    rig = bench()
    await rig.start()
    await rig.driver.close()
    rig.model.channels[0].iset = 55.0  # at the front panel, meanwhile
    await rig.driver.connect()
    await rig.driver.read(FAST)
    with pytest.raises(OutOfLimits) as refused:
        await rig.driver.write("CH00.ISET", 1e6)
    assert refused.value.readings["CH00.ISET.RBV"].value == 55.0


# ---- bad answers


async def test_a_bad_answer_is_left_out_once_and_invalid_the_second_time():
    rig = bench()
    await rig.start()
    rig.link.intercept = garbling("STAT")
    errors = rig.driver.stats.errors
    found = await rig.driver.read(FAST)
    assert not {name for name in found if name.endswith(("STAT", "STATE"))}
    assert found["CH00.VMON"].level is Level.OK
    assert (rig.driver.stats.errors, rig.link.unsynchronised) == (errors + 1, 1)
    found = await rig.driver.read([*FAST, "CH00.ON.RBV", "CH00.VDIFF", "CH00.EFFLOAD"])
    assert (found["CH00.STAT"].value, found["CH00.STAT"].level, found["CH00.STAT"].cause) == (
        None, Level.INVALID, Cause.READ,
    )  # fmt: skip
    assert (found["CH00.STATE"].value, found["CH00.STATE"].level) == (State.UNKNOWN, Level.INVALID)
    assert found["CH00.VDIFF"].level is Level.INVALID
    assert found["CH00.EFFLOAD"].level is Level.OK
    rig.link.intercept = lambda _: None
    assert (await rig.driver.read(FAST))["CH00.STATE"].value == State.OFF


async def test_a_current_is_that_of_its_time_whatever_became_of_the_status():
    rig = bench()
    rig.model.channels[0].vset = 500.0
    await rig.start()
    await rig.driver.write("CH00.ON", 1)
    rig.pass_time(15.0)
    assert (await rig.look("EFFLOAD"))["IMON"].value == 50.0
    rig.link.intercept = garbling("STAT")
    rig.model.channels[0].load = 20.0
    for _ in range(3):
        rig.pass_time(1.0)
        found = await rig.look("EFFLOAD", "STAT")
        assert (found["IMON"].value, found["IMON"].time) == (25.0, START + rig.seconds)
        assert (found["EFFLOAD"].value, found["EFFLOAD"].time) == (20.0, START + rig.seconds)
    assert found["STAT"].level is Level.INVALID


async def test_an_error_reply_to_a_parameter_that_was_known_does_not_drop_it():
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda request: "#CMD:ERR" if b"BDALARM" in request else None
    assert "BD.ALARM" not in await rig.driver.read(["BD.ALARM"])
    assert (await rig.driver.read(["BD.ALARM"]))["BD.ALARM"].level is Level.INVALID
    rig.link.intercept = lambda _: None
    assert (await rig.driver.read(["BD.ALARM"]))["BD.ALARM"].level is Level.OK


@pytest.mark.parametrize("error", [LinkDown("reset"), ReplyTimeout("no answer")])
async def test_a_lost_supply_is_reported_to_each_reader(error):
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda _: error
    with pytest.raises(type(error)):
        await rig.driver.read(FAST)


async def test_a_supply_that_only_sends_rubbish_is_lost_after_four_answers():
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda _: "@@@@"
    await rig.driver.read(FAST)
    since = len(rig.link.log)
    with pytest.raises(Garbled, match="4 unreadable answers in a row"):
        await rig.driver.read(FAST)
    assert len(rig.sent(since)) == 1


async def test_limits_that_could_not_be_read_are_asked_for_again_with_their_signal():
    rig = bench()
    rig.link.intercept = garbling("VMAX")
    await rig.driver.connect()
    names = ["CH00.VSET.RBV", "CH00.MAXV.RBV", "CH00.VSET.HI"]
    assert "CH00.VSET.HI" not in await rig.driver.read(names)
    assert rig.driver.limits("CH00.VSET") is None
    rig.link.intercept = lambda _: None
    assert (await rig.driver.read(["CH00.VSET.HI"]))["CH00.VSET.HI"].value == 4000.0
    assert rig.driver.limits("CH00.VSET").high == 4000.0


async def test_a_long_batch_is_divided_into_portions_settings_first():
    rig = bench()
    await rig.driver.connect()
    await rig.driver.read(FAST)
    portions = rig.driver.portions(rig.everything())
    assert sorted(name for portion in portions for name in portion) == sorted(rig.everything())
    for portion in portions:
        since = len(rig.link.log)
        await rig.driver.read(portion)
        assert len({line.rpartition(":")[2] for line in rig.sent(since)}) <= 6
    order = {name: number for number, portion in enumerate(portions) for name in portion}
    assert order["CH00.PDWN.RBV"] < order["BD.ALARM"] < min(order["CH00.VSET.RES"], order["CH00.RAMPUP.HI"])


async def test_a_negative_status_word_is_no_status():
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda request: "#CMD:OK,VAL:-1;0;0;0;" if b"PAR:STAT" in request else None
    assert "CH00.STAT" not in await rig.driver.read(FAST)


async def test_a_garbled_word_is_no_value():
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda request: "#CMD:OK,VAL:MAYBE;" if b"BDILK" in request else None
    assert "BD.ILK" not in await rig.driver.read(["BD.ILK"])


@pytest.mark.parametrize("groups", [True, False])
@pytest.mark.parametrize("parameter", ["BDILK", "POL", "VMAX", "VMON", "STAT"])
async def test_one_refusal_does_not_strike_a_parameter_off(parameter, groups):
    """Noise in a request looks like a parameter that is not known."""
    rig = bench()
    rig.model.refuse_groups = not groups
    answers = ["#PAR:ERR"]
    rig.link.intercept = lambda request: (
        answers.pop() if answers and request.endswith(b"PAR:" + parameter.encode()) else None
    )
    await rig.start()
    assert not answers
    found = await rig.driver.read(["BD.ILK", "CH00.POL", "CH00.VMON", "CH00.STAT"])
    assert {reading.level for reading in found.values()} == {Level.OK}
    assert rig.driver.limits("CH00.VSET").high == 4000.0


async def test_what_is_not_asked_says_nothing_about_rubbish():
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda _: "@@@@"
    await rig.driver.read(FAST)
    with pytest.raises(Garbled, match="4 unreadable answers in a row"):
        await rig.driver.read(["BD.LOCAL", "BD.ALARM", *FAST])  # this firmware has no parameter for LOCAL


# ---- what there is to read


async def test_precision_and_limits_come_from_the_unit():
    rig = bench(limits={"VSET": (0, 3000)}, channel_limits={1: {"VSET": (10, 1500), "TRIPTIME": (0, 20)}})
    await rig.start()
    digits = {"VMON": 1, "IMON": 2, "VSET": 1, "VSET.HI": 1, "ISET": 2, "MAXV": 0, "VDIFF": 1, "TRIP.I": 2}
    assert {suffix: rig.driver.precision(f"CH00.{suffix}") for suffix in digits} == digits
    assert rig.driver.precision("CH00.STATE") is None
    assert rig.driver.precision("BD.NAME") is None
    limits = rig.driver.limits("CH00.VSET")
    assert (limits.low, limits.high, limits.high_from) == (0.0, 3000.0, "site limit")
    limits = rig.driver.limits("CH01.VSET")
    assert (limits.low, limits.low_from, limits.high) == (10.0, "site limit", 1500.0)
    assert rig.driver.limits("CH01.TRIPTIME").high == 20.0
    assert rig.driver.limits("CH00.TRIPTIME").high == 1000.0
    for name in ("CH00.PDWN", "CH00.VMON", "CH00.ON", "BD.ILKM", "NONSENSE"):
        assert rig.driver.limits(name) is None
    found = await rig.driver.read(["CH01.VSET.HI", "CH01.VSET.LO", "CH00.ISET.HI", "CH00.ISET.RES"])
    assert [reading.value for reading in found.values()] == [1500.0, 10.0, 3000.0, 0.01]


async def test_a_command_rests_at_zero_and_unknown_names_are_left_out():
    rig = bench()
    await rig.start()
    found = await rig.driver.read(["CH00.CLR.CMD", "BD.CLR.CMD", "CH09.VMON", "NONSENSE"])
    assert {name: reading.value for name, reading in found.items()} == {"CH00.CLR.CMD": 0, "BD.CLR.CMD": 0}


async def test_a_reading_has_the_time_of_its_own_answer():
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda request: rig.pass_time(0.25)
    found = await rig.look("STATE", "STAT.ON")
    times = {name: reading.time - START for name, reading in found.items()}
    assert times == {"VMON": 0.25, "IMON": 0.5, "STAT": 0.75, "STATE": 0.75, "STAT.ON": 0.75}
