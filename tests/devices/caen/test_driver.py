"""Reading a supply: connect, group reads, what happens with bad answers, precision and limits."""

from __future__ import annotations

import pytest

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.caen.unit import OTHER_UNIT
from devices.errors import Garbled, LinkDown, OutOfLimits, ReplyTimeout
from devices.model import Cause, Level
from devices.rules.hv_channel import State
from tests.devices.caen.bench import FAST, START, bench


def one_of(name: str):
    """Intercept: garble the next answers to requests for one parameter."""
    return lambda request: "#CMD:OK,VAL:12x4" if request.endswith(f"PAR:{name}".encode()) else None


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


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
async def test_a_fast_scan_of_all_channels_is_three_requests(channels):
    rig = bench(CaenModel(channels=channels), channels=channels)
    await rig.start()
    since = len(rig.link.log)
    suffixes = ("VMON", "IMON", "STAT", "STATE", "VDIFF", "EFFLOAD", "TRIP", "ON.RBV", "STAT.OVC", "FROZEN")
    names = [f"CH{channel:02d}.{suffix}" for channel in range(channels) for suffix in suffixes]
    assert set(await rig.driver.read(names)) == set(names)
    assert rig.sent(since) == [f"$CMD:MON,CH:{channels},PAR:{name}" for name in ("VMON", "IMON", "STAT")]


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


# ---- groups


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
    rig.link.intercept = one_of("VMON")
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
    assert (await rig.driver.read(FAST))["CH03.VMON"].level is Level.OK


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


async def test_a_constant_that_could_not_be_read_after_a_reconnection_is_asked_for_again():
    rig = bench()
    await rig.start()
    await rig.driver.close()
    rig.link.intercept = one_of("VMAX")
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


async def test_two_group_answers_of_the_wrong_length_end_group_reads():
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda request: "#CMD:OK,VAL:1.0;2.0;3.0;" if b"CH:4,PAR:VMON" in request else None
    assert "CH00.VMON" not in await rig.driver.read(["CH00.VMON"])
    assert rig.link.unsynchronised == 1
    found = await rig.driver.read(["CH00.VMON"])
    assert (found["CH00.VMON"].value, found["CH00.VMON"].level) == (0.0, Level.OK)


# ---- bad answers


async def test_a_bad_answer_is_left_out_once_and_invalid_the_second_time():
    rig = bench()
    await rig.start()
    rig.link.intercept = one_of("STAT")
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
    rig.link.intercept = one_of("STAT")
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
    rig.link.intercept = one_of("VMAX")
    await rig.driver.connect()
    names = ["CH00.VSET.RBV", "CH00.MAXV.RBV", "CH00.VSET.HI"]
    assert "CH00.VSET.HI" not in await rig.driver.read(names)
    assert rig.driver.limits("CH00.VSET") is None
    rig.link.intercept = lambda _: None
    assert (await rig.driver.read(["CH00.VSET.HI"]))["CH00.VSET.HI"].value == 4000.0
    assert rig.driver.limits("CH00.VSET").high == 4000.0


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


@pytest.mark.parametrize("count", ["0", "x", "101"])
async def test_a_supply_that_does_not_tell_its_channels_is_refused(count):
    rig = bench()
    rig.link.intercept = lambda request: f"#CMD:OK,VAL:{count};" if b"BDNCH" in request else None
    with pytest.raises(Garbled, match="number of channels"):
        await rig.driver.connect()
    assert not rig.link.connected


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
