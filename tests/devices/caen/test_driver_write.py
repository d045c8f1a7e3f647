"""Writing settings to a supply: limits, rounding, reading back, refusals in words, lost answers."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.errors import Garbled, LinkDown, NotReady, OutOfLimits, Refused, ReplyTimeout
from devices.model import Level
from tests.devices.caen.bench import bench, lost_answer, started


@pytest.mark.parametrize(
    ("name", "value", "request_text", "accepted"),
    [
        ("CH02.VSET", 1500.04, "$CMD:SET,CH:2,PAR:VSET,VAL:1500.0", 1500.0),
        ("CH00.ISET", 200.5, "$CMD:SET,CH:0,PAR:ISET,VAL:200.50", 200.5),
        ("CH01.MAXV", 2000.4, "$CMD:SET,CH:1,PAR:MAXV,VAL:2000", 2000.0),
        ("CH03.RAMPUP", 100, "$CMD:SET,CH:3,PAR:RUP,VAL:100", 100.0),
        ("CH03.RAMPDN", 1, "$CMD:SET,CH:3,PAR:RDW,VAL:1", 1.0),
        ("CH00.TRIPTIME", 1000, "$CMD:SET,CH:0,PAR:TRIP,VAL:1000.0", 1000.0),
        ("CH00.PDWN", 0, "$CMD:SET,CH:0,PAR:PDWN,VAL:RAMP", 0),
        ("CH00.IRANGE", 1, "$CMD:SET,CH:0,PAR:IMRANGE,VAL:LOW", 1),
        ("CH00.ZCADJ", 1, "$CMD:SET,CH:0,PAR:ZCADJ,VAL:EN", 1),
    ],
)
async def test_a_setting_is_sent_once_and_read_back(name, value, request_text, accepted):
    rig = await started()
    since = len(rig.link.log)
    found = await rig.driver.write(name, value)
    assert rig.sent(since)[:2] == [request_text, request_text.replace("SET", "MON", 1).rpartition(",")[0]]
    assert rig.sets() == [request_text]
    assert (found[name].value, found[f"{name}.RBV"].value) == (accepted, accepted)
    for _ in range(4):
        found = await rig.driver.read([name, f"{name}.RBV"])
    assert found[name].value == found[f"{name}.RBV"].value == accepted


async def test_board_settings_of_profile_b():
    rig = await started(CaenModel(Profile.B))
    assert (await rig.driver.write("BD.ILKM", 0))["BD.ILKM.RBV"].value == 0
    assert rig.sets() == ["$BD:00,CMD:SET,PAR:BDILKM,VAL:OPEN"]
    rig.model.respond(b"$BD:00,CMD:SET,PAR:BDILKM,VAL:CLOSED\r\n")
    levels = [(await rig.driver.read(["BD.ILKM.RBV"]))["BD.ILKM.RBV"].level for _ in range(3)]
    assert levels == [Level.OK, Level.OK, Level.MINOR]
    await rig.driver.close()
    await rig.driver.connect()
    assert (await rig.driver.read(["BD.ILKM.RBV"]))["BD.ILKM.RBV"].level is Level.OK  # counted anew
    demand = (await rig.driver.read(["BD.ILKM", "BD.ILKM.RBV"]))["BD.ILKM"]
    assert demand.value == 0  # what was demanded, not what the unit was changed to


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CH00.VSET", 3000.1, "VSET 3000.1 V is above 3000 V (site limit)"),
        ("CH01.VSET", 1600, "VSET 1600 V is above 1500 V (site limit)"),
        ("CH01.VSET", 5, "VSET 5 V is below 10 V (site limit)"),
        ("CH02.VSET", 2500, "VSET 2500 V is above 2000 V (MAXV)"),
        ("CH00.VSET", -1, "VSET -1 V is below 0 V (device VMIN)"),
        ("CH00.ISET", 3001, "ISET 3001 uA is above 3000 uA (device IMAXH)"),
        ("CH03.ISET", 301, "ISET 301 uA is above 300 uA (device IMAXL)"),
        ("CH00.RAMPUP", 0, "RAMPUP 0 V/s is below 1 V/s (device RUPMIN)"),
        ("CH00.VSET", math.nan, "VSET: nan is not a number"),
        ("CH00.VSET", math.inf, "VSET: inf is not a number"),
        ("CH00.VSET", "abc", "VSET: 'abc' is not a number"),
        ("CH00.VSET", (1.0,), "VSET: (1.0,) is not a number"),
        ("CH00.PDWN", 2, "PDWN: 2 is none of RAMP, KILL"),
        ("CH00.PDWN", "KILL", "PDWN: 'KILL' is none of RAMP, KILL"),
        ("CH00.ON", -1, "ON: -1 is none of OFF, ON"),
        ("CH00.CLR.CMD", 2, "CLR.CMD: 2 is none of"),
    ],
)
async def test_a_value_outside_the_limits_is_refused_without_a_byte(name, value, reason):
    model = CaenModel()
    model.channels[2].maxv, model.channels[3].imrange = 2000.0, "LOW"
    rig = await started(model, limits={"VSET": (0, 3000)}, channel_limits={1: {"VSET": (10, 1500)}})
    since = len(rig.link.log)
    with pytest.raises(OutOfLimits) as refused:
        await rig.driver.write(name, value)
    assert reason in str(refused.value)
    assert rig.sent(since) == []


async def test_rounding_never_crosses_a_limit():
    rig = await started(limits={"VSET": (0.06, 1500.06)})
    await rig.driver.write("CH00.VSET", 1500.06)
    await rig.driver.write("CH00.VSET", 0.06)
    assert [line.rpartition(":")[2] for line in rig.sets()] == ["1500.0", "0.1"]


async def test_a_range_without_a_step_in_it_takes_no_value():
    rig = await started(limits={"VSET": (0.06, 0.08), "MAXV": (100.2, 100.4)})
    for name, value in (("CH00.VSET", 0.07), ("CH00.MAXV", 100.3)):
        with pytest.raises(OutOfLimits, match=r"would be set as \S+ V, which is outside"):
            await rig.driver.write(name, value)
    assert rig.sets() == []


async def test_decimals_coarser_than_the_step_carry_nothing_across_a_limit():
    rig = bench(limits={"VSET": (0, 1501.8)})
    answers = {b"PAR:VSRES": "#CMD:OK,VAL:0.5;0.5;0.5;0.5;", b"PAR:VSDEC": "#CMD:OK,VAL:0;0;0;0;"}
    rig.link.intercept = lambda request: answers.get(request.rpartition(b",")[2])
    await rig.start()
    with pytest.raises(OutOfLimits, match=r"VSET 1501\.7 V would be set as 1502 V, which is outside 0 to 1501\.8 V"):
        await rig.driver.write("CH00.VSET", 1501.7)
    assert rig.sets() == []


@given(st.floats(0.06, 1500.06), st.sampled_from([0.1, 0.5, 1.0, 2.0]))
def test_whatever_is_sent_is_within_the_limits_and_near_what_was_asked(value, step):
    rig = bench(CaenModel(channels=1), channels=1, limits={"VSET": (0.06, 1500.06)})
    rig.link.intercept = lambda request: f"#CMD:OK,VAL:{step};" if request.endswith(b"PAR:VSRES") else None

    async def play() -> str:
        await rig.start()
        await rig.driver.write("CH00.VSET", value)
        return rig.sets()[0].rpartition(":")[2]

    sent = float(asyncio.run(play()))
    assert sent <= 1500.06
    assert sent >= 0.06
    assert abs(sent - value) <= step
    assert abs(sent / step - round(sent / step)) < 1e-6


@pytest.mark.parametrize("name", ["CH00.VMON", "CH00.VSET.RBV", "BD.NAME", "CH09.VSET", "NONSENSE", "STAT"])
async def test_what_cannot_be_set_is_refused(name):
    rig = await started()
    with pytest.raises(Refused, match="cannot be set"):
        await rig.driver.write(name, 1)


async def test_a_readonly_device_gets_no_byte_but_a_trip_can_be_acknowledged():
    rig = await started(readonly=True)
    since = len(rig.link.log)
    for name in ("CH00.VSET", "CH00.ON", "CH00.CLR.CMD", "BD.CLR.CMD", "CH00.PDWN"):
        with pytest.raises(Refused, match="readonly = true"):
            await rig.driver.write(name, 0)
    await rig.driver.write("CH00.TRIP.ACK.CMD", 1)
    assert rig.sent(since) == []


async def test_nothing_is_written_before_the_setting_and_its_limits_were_read():
    rig = bench()
    for name in ("CH00.VSET", "CH00.PDWN", "CH00.ON"):
        with pytest.raises((NotReady, LinkDown)):
            await rig.driver.write(name, 1)
    await rig.driver.connect()
    rig.link.intercept = lambda request: ReplyTimeout("no answer") if b"CMD:MON" in request else None
    for name in ("CH00.VSET", "CH00.PDWN", "CH00.ON"):
        with pytest.raises(NotReady, match="read"):
            await rig.driver.write(name, 1)
    assert rig.sets() == []
    rig.link.intercept = lambda _: None
    await rig.driver.write("CH00.ON", 0)  # off is always allowed
    assert rig.sets() == ["$CMD:SET,CH:0,PAR:OFF"]


async def test_right_after_connecting_a_write_reads_what_it_depends_on_and_off_reads_nothing():
    rig = bench()
    rig.model.channels[0].vset = 4000.0
    await rig.driver.connect()
    since = len(rig.link.log)
    await rig.driver.write("CH01.ON", 0)
    assert rig.sent(since)[0] == "$CMD:SET,CH:1,PAR:OFF"
    rig.model.channels[0].maxv = 1000.0
    with pytest.raises(OutOfLimits, match="MAXV"):
        await rig.driver.write("CH00.VSET", 1200)
    assert (await rig.driver.write("CH00.VSET", 900.04))["CH00.VSET.RBV"].value == 900.0


async def test_a_setting_that_the_firmware_does_not_know_is_refused():
    rig = bench()
    rig.model.unknown.add("ZCADJ")
    await rig.start()
    with pytest.raises(Refused, match="this firmware does not know ZCADJ"):
        await rig.driver.write("CH00.ZCADJ", 1)
    two = await started(CaenModel(channels=2))
    with pytest.raises(Refused, match="only 2 channels"):
        await two.driver.write("CH03.VSET", 1)


@pytest.mark.parametrize("value", [0, 1])
async def test_a_channel_that_the_unit_does_not_have_is_never_switched(value):
    """Its number would be the one that stands for all channels of the unit."""
    rig = await started(CaenModel(channels=2))
    await rig.driver.write("CH00.ON", 1)
    since = len(rig.link.log)
    with pytest.raises(Refused, match="only 2 channels"):
        await rig.driver.write("CH02.ON", value)
    assert rig.sent(since) == []
    assert rig.model.channels[0].on


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("LOC", "device refused: LOC (front panel is in LOCAL)"),
        ("VAL", "device refused: VAL (value not accepted)"),
        ("CMD", "device refused: CMD (command not accepted, no reason given)"),
        ("FOO", "device refused: FOO (unknown reason)"),
    ],
)
async def test_an_error_word_becomes_a_sentence(word, sentence):
    rig = await started()
    rig.link.intercept = lambda request: f"#{word}:ERR" if b"CMD:SET" in request else None
    with pytest.raises(Refused) as refused:
        await rig.driver.write("CH00.VSET", 100)
    assert str(refused.value) == f"VSET: {sentence}"
    found = await rig.driver.read(["CH00.VSET", "CH00.VSET.RBV"])
    assert [reading.value for reading in found.values()] == [0.0, 0.0]


async def test_local_is_learnt_from_a_refusal_and_forgotten_with_the_next_success():
    rig = await started()
    rig.model.local = True
    with pytest.raises(Refused, match="LOCAL"):
        await rig.driver.write("CH00.VSET", 100)
    found = (await rig.driver.read(["BD.LOCAL"]))["BD.LOCAL"]
    assert (found.value, found.level) == (1, Level.MINOR)
    rig.model.local = False
    await rig.driver.write("CH00.VSET", 100)
    assert (await rig.driver.read(["BD.LOCAL"]))["BD.LOCAL"].value == 0


async def test_what_is_acknowledged_but_not_taken_is_refused():
    rig = await started()
    rig.link.intercept = lambda request: "#CMD:OK,VAL:0500.0;" if b"CMD:SET" in request else None
    with pytest.raises(Refused, match=r"answered OK but reads back 0 V"):
        await rig.driver.write("CH00.VSET", 500)
    with pytest.raises(Refused, match="PDWN RAMP: the supply answered OK but reads back KILL"):
        await rig.driver.write("CH00.PDWN", 0)
    assert (await rig.driver.read(["CH00.VSET"]))["CH00.VSET"].value == 0.0


@pytest.mark.parametrize("error", [ReplyTimeout("no answer"), LinkDown("reset"), Garbled("noise")])
async def test_a_lost_answer_is_decided_by_reading_back_and_never_sent_again(error):
    rig = await started()
    rig.link.intercept = lost_answer(rig, b"CMD:SET", error, executed=True)
    assert (await rig.driver.write("CH00.VSET", 500))["CH00.VSET.RBV"].value == 500.0
    rig.link.intercept = lost_answer(rig, b"CMD:SET", error, executed=False)
    with pytest.raises(Refused, match=r"VSET 600 V: the supply gave no answer and reads back 500 V"):
        await rig.driver.write("CH00.VSET", 600)
    assert [line.rpartition(":")[2] for line in rig.sets()] == ["500.0", "600.0"]


async def test_an_outcome_that_cannot_be_learnt_is_reported_as_unknown():
    rig = await started()
    rig.link.intercept = lambda request: ReplyTimeout("no answer")
    with pytest.raises(ReplyTimeout, match="VSET: outcome unknown"):
        await rig.driver.write("CH00.VSET", 500)
    rig.link.intercept = lambda request: LinkDown("reset")
    rig.link.reachable = False
    with pytest.raises(ReplyTimeout, match="VSET: outcome unknown"):
        await rig.driver.write("CH00.VSET", 500)
    assert len(rig.sets()) == 2
    with pytest.raises(LinkDown, match="nothing was sent"):
        await rig.driver.write("CH00.VSET", 500)
    assert len(rig.sets()) == 2


async def test_another_supply_at_the_address_decides_nothing():
    rig = await started()

    def swapped(request: bytes) -> Exception | None:
        if b"CMD:SET" in request:
            rig.model.serial = "99999"
            return LinkDown("reset")
        return None

    rig.link.intercept = swapped
    with pytest.raises(ReplyTimeout, match="another supply"):
        await rig.driver.write("CH00.VSET", 500)
    assert not rig.link.connected


async def test_a_garbled_read_back_is_asked_for_once_more():
    rig = await started()
    answers = ["#CMD:OK,VAL:5x0;"]
    rig.link.intercept = lambda request: answers.pop() if answers and b"MON,CH:0,PAR:VSET" in request else None
    assert (await rig.driver.write("CH00.VSET", 500))["CH00.VSET"].value == 500.0
    rig.link.intercept = lambda request: "#CMD:OK,VAL:5x0;" if b"MON,CH:0,PAR:VSET" in request else None
    with pytest.raises(ReplyTimeout, match="outcome unknown, cannot be read back"):
        await rig.driver.write("CH00.VSET", 600)
    rig.link.intercept = lambda request: "#PAR:ERR" if b"MON,CH:0,PAR:VSET" in request else None
    with pytest.raises(ReplyTimeout, match="outcome unknown"):
        await rig.driver.write("CH00.VSET", 700)


async def test_dependent_limits_follow_a_setting():
    rig = await started()
    found = await rig.driver.write("CH00.MAXV", 400)
    assert found["CH00.VSET.HI"].value == 400.0
    assert rig.driver.limits("CH00.VSET").high == 400.0
    found = await rig.driver.write("CH00.IRANGE", 1)
    assert (found["CH00.ISET.HI"].value, found["CH00.IMON.RES"].value) == (300.0, 0.001)
    assert rig.driver.precision("CH00.IMON") == 3


async def test_the_current_decimals_of_profile_b_follow_the_range():
    rig = await started(CaenModel(Profile.B))
    await rig.driver.write("CH00.IRANGE", 1)
    assert rig.driver.precision("CH00.IMON") == 3


async def test_the_limit_of_the_current_waits_for_the_range():
    rig = bench()
    rig.model.channels[0].imrange = "LOW"
    rig.link.intercept = lambda request: "@" if request.endswith(b"PAR:IMRANGE") else None
    await rig.driver.connect()
    await rig.driver.read(["CH00.ISET.RBV"])
    assert rig.driver.limits("CH00.ISET") is None
    with pytest.raises(NotReady, match="ISET"):
        await rig.driver.write("CH00.ISET", 1000)
    rig.link.intercept = lambda _: None
    await rig.driver.read(["CH00.IRANGE.RBV"])
    assert rig.driver.limits("CH00.ISET").high == 300.0


async def test_a_range_changed_elsewhere_is_followed_in_profile_b():
    model = CaenModel(Profile.B)
    rig = await started(model)
    answers = {b"PAR:IMAX": "#BD:00,CMD:OK,VAL:0300.00;3000.00;3000.00;3000.00"}
    rig.link.intercept = lambda request: answers.get(request.rpartition(b",")[2])
    model.channels[0].imrange = "LOW"
    await rig.driver.read(["CH00.IRANGE.RBV"])
    await rig.driver.read(["CH00.IMON.RES", "CH00.ISET.HI"])
    assert (rig.driver.precision("CH00.IMON"), rig.driver.precision("CH01.IMON")) == (3, 2)
    assert rig.driver.limits("CH00.ISET").high == 300.0


async def test_writes_at_the_same_time_are_done_one_after_the_other():
    rig = await started()
    since = len(rig.link.log)
    await asyncio.gather(*(rig.driver.write(f"CH{n:02d}.VSET", 100 + n) for n in range(4)))
    kinds = [line[5:8] for line in rig.sent(since)]
    assert kinds == ["SET", "MON"] * 4


# ---- units that tell less than others


async def test_a_unit_whose_longest_finite_trip_time_is_known_may_still_be_set_to_never():
    rig = bench()
    rig.link.intercept = lambda request: (
        "#CMD:OK,VAL:999.9;999.9;999.9;999.9;" if request.endswith(b"PAR:TRIPMAX") else None
    )
    await rig.start()
    assert rig.driver.limits("CH00.TRIPTIME").high == 1000.0
    assert (await rig.driver.write("CH00.TRIPTIME", 1000))["CH00.TRIPTIME.RBV"].value == 1000.0


async def test_a_setting_without_a_limit_of_its_own_is_left_to_the_unit():
    rig = bench()
    rig.model.unknown.update({"RUPMAX", "RUPMIN", "RUPRES", "RUPDEC"})
    await rig.start()
    assert rig.driver.limits("CH00.RAMPUP") is None
    assert (await rig.driver.read(["CH00.RAMPUP.HI"]))["CH00.RAMPUP.HI"].level is Level.INVALID
    assert (await rig.driver.write("CH00.RAMPUP", 99.6))["CH00.RAMPUP.RBV"].value == 100.0
    with pytest.raises(Refused, match="value not accepted"):
        await rig.driver.write("CH00.RAMPUP", 600)
    with pytest.raises(OutOfLimits, match="lowest possible"):
        await rig.driver.write("CH00.RAMPUP", -1)


async def test_a_range_that_is_set_counts_although_what_follows_it_cannot_be_read():
    rig = await started()
    answers = ["@"]
    rig.link.intercept = lambda request: answers.pop() if answers and b"MON,CH:0,PAR:ISET" in request else None
    assert (await rig.driver.write("CH00.IRANGE", 1))["CH00.IRANGE"].value == 1
