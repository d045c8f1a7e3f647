"""Switching the outputs of a supply on and off, and its commands: clear, acknowledge, sample the zero current."""

from __future__ import annotations

import asyncio

import pytest

from devices.caen.simulator.model import CaenModel
from devices.errors import OutOfLimits, Refused, ReplyTimeout
from devices.permit import Permit
from tests.devices.caen.bench import bench, lost_answer, started


async def test_on_and_off_complete_when_the_status_bit_follows():
    rig = await started()
    found = await rig.driver.write("CH01.ON", 1)
    assert (found["CH01.ON"].value, found["CH01.ON.RBV"].value, found["CH01.STAT"].value) == (1, 1, 1)
    found = await rig.driver.write("CH01.ON", 0)
    assert (found["CH01.ON"].value, found["CH01.ON.RBV"].value) == (0, 0)
    assert rig.sets() == ["$CMD:SET,CH:1,PAR:ON", "$CMD:SET,CH:1,PAR:OFF"]
    assert rig.slept == []


async def test_units_of_the_803x_family_are_switched_with_a_parameter_of_their_own():
    rig = await started(CaenModel(name="R8033"))

    def power(request: bytes) -> str | None:
        if b"PAR:PW" not in request:
            return "#PAR:ERR" if request.endswith((b"PAR:ON", b"PAR:OFF")) else None
        rig.model.channels[1].on = request.endswith(b"VAL:ON")
        return "#CMD:OK"

    rig.link.intercept = power
    assert (await rig.driver.write("CH01.ON", 1))["CH01.ON.RBV"].value == 1
    assert (await rig.driver.write("CH01.ON", 0))["CH01.ON.RBV"].value == 0
    assert rig.sets() == ["$CMD:SET,CH:1,PAR:PW,VAL:ON", "$CMD:SET,CH:1,PAR:PW,VAL:OFF"]


async def test_the_parameter_that_switches_an_output_is_raw_the_way_of_on_and_off():
    rig = await started(CaenModel(name="R8033"), limits={"VSET": (0.0, 2000.0)})
    rig.model.channels[1].vset = 3900.0  # at the front panel
    with pytest.raises(OutOfLimits, match="ON: VSET is 3900 V, above 2000 V"):
        await rig.driver.raw_request(["PW", "1"], "on").perform()
    with pytest.raises(OutOfLimits, match="PW: '1' is none of ON, OFF"):
        rig.driver.raw_request(["PW", "1"], "1")
    assert rig.driver.raw_request(["pw", "1"], "off").way == rig.driver.way("CH01.ON", 0)
    assert rig.sets() == []


async def test_an_on_that_an_off_has_overtaken_is_not_demanded_any_more():
    rig = await started()
    order = Permit()
    order.use()

    def overtaken(request: bytes) -> None:
        if request.endswith(b"PAR:STAT"):
            order.end("OFF overtook it")

    rig.link.intercept = overtaken
    with pytest.raises(Refused, match="the output was on for a moment"):
        await rig.driver.write("CH01.ON", 1)
    Permit().use()
    assert (await rig.driver.read(["CH01.ON"]))["CH01.ON"].value == 0


async def test_a_slow_unit_is_given_half_a_second():
    rig = await started()
    late = ["#CMD:OK,VAL:00000;"] * 3
    rig.link.intercept = lambda request: late.pop() if late and b"CH:0,PAR:STAT" in request else None
    assert (await rig.driver.write("CH00.ON", 1))["CH00.ON.RBV"].value == 1
    assert sum(rig.slept) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda model: model.trip(0), "tripped, clear it with CLR:CMD first"),
        (lambda model: model.kill(0, True), "killed by the front panel input"),
        (lambda model: model.interlock(True), "interlock active"),
    ],
)
async def test_on_that_has_no_effect_is_refused_with_the_reason(prepare, reason):
    rig = await started()
    prepare(rig.model)
    with pytest.raises(Refused, match=f"ON: the supply keeps the output off: .*{reason}"):
        await rig.driver.write("CH00.ON", 1)
    assert rig.sets() == ["$CMD:SET,CH:0,PAR:ON"]
    assert sum(rig.slept) <= 0.51
    assert (await rig.driver.read(["CH00.ON"]))["CH00.ON"].value == 0


async def test_after_a_clear_the_channel_can_be_switched_on():
    rig = await started()
    rig.model.trip(0)
    found = await rig.driver.write("CH00.CLR.CMD", 1)
    assert (found["CH00.CLR.CMD"].value, found["CH00.STAT.TRIP"].value, found["BD.ALARM"].value) == (0, 0, 0)
    assert (await rig.driver.write("CH00.ON", 1))["CH00.ON.RBV"].value == 1
    assert rig.sets() == ["$CMD:SET,PAR:BDCLR", "$CMD:SET,CH:0,PAR:ON"]


async def test_on_is_refused_while_the_unit_holds_a_voltage_above_the_limit_of_the_site():
    model = CaenModel()
    model.channels[0].vset = 3000.0  # set at the front panel, or before the limit was agreed on
    rig = await started(model, channel_limits={0: {"VSET": (0, 1500)}})
    with pytest.raises(OutOfLimits, match=r"ON: VSET is 3000 V, above 1500 V \(site limit\); set VSET first"):
        await rig.driver.write("CH00.ON", 1)
    assert rig.sets() == []
    await rig.driver.write("CH00.VSET", 1500)
    assert (await rig.driver.write("CH00.ON", 1))["CH00.ON"].value == 1


async def test_on_is_allowed_while_the_unit_itself_holds_the_voltage_down():
    model = CaenModel()
    model.channels[0].vset, model.channels[0].maxv = 3000.0, 400.0
    rig = await started(model, limits={"VSET": (0, 1500)})
    assert (await rig.driver.write("CH00.ON", 1))["CH00.ON"].value == 1


async def test_an_output_that_stays_on_is_reported():
    rig = await started()
    await rig.driver.write("CH00.ON", 1)
    rig.link.intercept = lambda request: "#CMD:OK" if b"PAR:OFF" in request else None
    with pytest.raises(Refused, match="OFF: the supply answered OK but is still on"):
        await rig.driver.write("CH00.ON", 0)
    assert (await rig.driver.read(["CH00.ON"]))["CH00.ON"].value == 1


@pytest.mark.parametrize("executed", [True, False])
async def test_a_lost_answer_to_on_is_decided_by_the_status(executed):
    rig = await started()
    rig.link.intercept = lost_answer(rig, b"PAR:ON", ReplyTimeout("no answer"), executed)
    if executed:
        assert (await rig.driver.write("CH00.ON", 1))["CH00.ON"].value == 1
    else:
        with pytest.raises(Refused, match="ON: no answer, and the supply keeps the output off"):
            await rig.driver.write("CH00.ON", 1)
    assert len(rig.sets()) == 1


async def test_switching_off_is_no_trip_even_when_a_scan_looks_in_between():
    rig = await started()
    await rig.driver.write("CH00.ON", 1)
    rig.pass_time(1.0)
    for _ in range(3):
        await rig.look()
    await asyncio.gather(rig.driver.write("CH00.ON", 0), rig.look(), rig.look(), rig.look())
    for _ in range(3):
        assert (await rig.look("TRIP"))["TRIP"].value == 0


async def test_on_right_after_connecting_reads_the_voltage_and_its_limits_first():
    rig = bench(limits={"VSET": (0, 1000)})
    rig.model.channels[0].vset = 1500.0
    await rig.driver.connect()
    with pytest.raises(OutOfLimits, match="ON: VSET is 1500 V, above 1000 V"):
        await rig.driver.write("CH00.ON", 1)
    assert rig.sets() == []


async def test_a_refused_off_leaves_the_demand_as_it_was():
    rig = await started()
    await rig.driver.write("CH00.ON", 1)
    rig.model.local = True
    with pytest.raises(Refused, match="LOCAL"):
        await rig.driver.write("CH00.ON", 0)
    found = await rig.driver.read(["CH00.ON", "CH00.ON.RBV"])
    assert [reading.value for reading in found.values()] == [1, 1]


# ---- commands


async def test_commands_act_on_one_and_do_nothing_on_zero():
    rig = await started()
    for name in ("CH00.CLR.CMD", "BD.CLR.CMD", "CH00.TRIP.ACK.CMD", "CH00.ZCDTC.CMD"):
        assert (await rig.driver.write(name, 0))[name].value == 0
    assert rig.sets() == []
    assert (await rig.driver.write("BD.CLR.CMD", 1))["BD.CLR.CMD"].value == 0
    assert (await rig.driver.write("CH00.ZCDTC.CMD", 1))["CH00.ZCDTC"].value == 1
    assert rig.sets() == ["$CMD:SET,PAR:BDCLR", "$CMD:SET,CH:0,PAR:ZCDTC,VAL:ON"]


async def test_a_clear_is_given_more_time_than_other_commands():
    rig = await started()
    patience = {"clear": set(), "others": set()}
    exchange = rig.link.exchange

    async def noting(request: bytes, *, timeout: float | None = None, changes: bool = False) -> str:
        patience["clear" if b"BDCLR" in request else "others"].add(timeout)
        return await exchange(request, timeout=timeout, changes=changes)

    rig.link.exchange = noting
    await rig.driver.write("BD.CLR.CMD", 1)
    assert patience == {"clear": {3.0}, "others": {None}}


async def test_a_clear_without_an_answer_and_without_a_trace_is_not_called_done():
    rig = await started()
    rig.model.interlock(True)  # an alarm without a trip: only BDALARM could tell
    rig.link.intercept = lost_answer(rig, b"BDCLR", ReplyTimeout("no answer"), executed=False)
    with pytest.raises(Refused, match="clear: no answer, and the alarm word is still 4096"):
        await rig.driver.write("BD.CLR.CMD", 1)


async def test_a_clear_whose_outcome_cannot_be_read_is_unknown():
    rig = await started()
    rig.link.intercept = lambda request: "@" if b"PAR:STAT" in request or b"BDALARM" in request else None
    with pytest.raises(ReplyTimeout, match="clear: outcome unknown"):
        await rig.driver.write("BD.CLR.CMD", 1)
    rig.link.intercept = lambda request: ReplyTimeout("no answer") if len(rig.sets()) == 2 else None
    with pytest.raises(ReplyTimeout, match="clear: outcome unknown"):
        await rig.driver.write("BD.CLR.CMD", 1)
    assert len(rig.sets()) == 2


async def test_a_clear_before_which_the_trips_cannot_be_read_is_not_sent():
    rig = await started()
    rig.link.intercept = lambda request: ReplyTimeout("no answer")
    with pytest.raises(ReplyTimeout, match="no answer"):
        await rig.driver.write("BD.CLR.CMD", 1)
    assert rig.sets() == []


@pytest.mark.parametrize("executed", [True, False])
async def test_a_lost_answer_to_a_clear_is_decided_by_the_trips(executed):
    rig = await started()
    rig.model.trip(2)
    rig.link.intercept = lost_answer(rig, b"BDCLR", ReplyTimeout("no answer"), executed)
    if executed:
        assert (await rig.driver.write("BD.CLR.CMD", 1))["CH02.STAT.TRIP"].value == 0
    else:
        with pytest.raises(Refused, match="still shows its trip"):
            await rig.driver.write("BD.CLR.CMD", 1)
    assert len(rig.sets()) == 1


async def test_a_lost_request_to_sample_the_zero_current_is_reported():
    rig = await started()
    rig.link.intercept = lost_answer(rig, b"PAR:ZCDTC,VAL", ReplyTimeout("no answer"), executed=False)
    with pytest.raises(Refused, match="not being sampled"):
        await rig.driver.write("CH00.ZCDTC.CMD", 1)
