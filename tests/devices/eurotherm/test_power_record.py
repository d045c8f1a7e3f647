"""Power interruptions: what the record concludes from readings, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.eurotherm.memory import FurnaceMemory
from devices.eurotherm.power_record import KEPT, Interruption, Kind, PowerRecord, Sample
from devices.eurotherm.power_report import report, span
from devices.model import DeviceSettings
from devices.rules.state_file import StateFile

HOT = Sample(1000.0, False, 600.0, 600.0, 600.0, 40.0, "AUTO", "LOCAL", "RUN", 4800.0)


def see(power: PowerRecord, sample: Sample) -> None:
    """Take a reading on a computer whose clock is right."""
    power.observe(sample, sample.time)


def message(power: PowerRecord) -> str:
    return "" if power.shown is None else report(power.shown)


def record() -> PowerRecord:
    """A record that has seen the furnace hot and running."""
    made = PowerRecord(quiet=5.0)
    made.observe(HOT, HOT.time)
    return made


def test_readings_of_a_furnace_that_goes_on_are_no_event():
    power = record()
    for n in range(1, 100):
        see(power, replace(HOT, time=1000.0 + n, temp=600.0 - n))
    assert (power.count, power.latched, power.history, message(power)) == (0, False, [], "")


def test_a_new_flag_after_a_silence_is_an_interruption():
    power = record()
    power.lost("no answer")
    see(power, replace(HOT, time=1095.0, flag=True, temp=571.2, program="RESET"))
    event = power.event
    assert event is not None
    assert (event.kind, event.lasted, power.count, power.latched) == (Kind.MAINS, 95.0, 1, True)
    assert "at most 95 s" in message(power)
    assert "Temperature 600.0 C before, 571.2 C after" in message(power)
    assert "The computer kept running" in message(power)
    assert "running with 80 min left and is reset now: start it by hand" in message(power)


def test_a_new_flag_without_silence_is_a_dip():
    power = record()
    see(power, replace(HOT, time=1001.0, flag=True))
    assert power.event is not None
    assert power.event.lasted == 1.0


def test_silence_with_the_flag_clear_is_a_lost_link():
    power = record()
    power.lost("the serial port was gone")
    see(power, replace(HOT, time=1095.0, temp=600.2))
    assert (power.count, power.latched, power.event) == (0, False, None)
    assert power.history[-1].kind is Kind.LINK
    assert "Link lost" in message(power)
    assert "Not a power interruption" in message(power)
    assert "the furnace went on" in message(power)
    assert "the serial port was gone" in message(power)


def test_a_short_silence_and_a_pause_for_maintenance_are_not_worth_a_report():
    power = record()
    power.lost("no answer")
    see(power, replace(HOT, time=1008.0))
    power.paused()
    see(power, replace(HOT, time=5000.0))
    assert power.history == []


def test_a_flag_set_during_maintenance_counts():
    power = record()
    power.paused()
    see(power, replace(HOT, time=5000.0, flag=True))
    assert power.count == 1


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        ({"program": "RESET", "temp": 599.0}, Kind.LIKELY),
        ({"temp": 560.0}, Kind.LIKELY),
        ({"temp": 599.0}, Kind.UNKNOWN),
        ({"temp": 560.0, "target": 100.0}, Kind.UNKNOWN),
    ],
)
def test_with_the_flag_set_before_the_traces_decide(after: dict[str, object], kind: Kind):
    power = PowerRecord(quiet=5.0)
    flagged = replace(HOT, flag=True)
    see(power, flagged)
    power.acknowledge()
    power.lost("no answer")
    see(power, replace(flagged, time=1095.0, **after))  # type: ignore[arg-type]
    assert power.history[-1].kind is kind
    assert power.latched is (kind is Kind.LIKELY)


def test_a_mode_that_could_not_be_read_hides_no_trace():
    power = PowerRecord(quiet=5.0, last=replace(HOT, flag=True, program=""))
    see(power, replace(HOT, time=1095.0, flag=True, temp=540.0, mode="", program=""))
    assert power.event is not None
    assert power.event.traces == ("the temperature fell while the output was on",)


def test_a_flag_at_the_first_reading_ever_is_an_interruption_of_unknown_begin():
    power = PowerRecord(quiet=5.0)
    see(power, replace(HOT, flag=True))
    assert power.count == 1
    assert power.event is not None
    assert power.event.lasted is None
    assert "at some time before" in message(power)


@pytest.mark.parametrize(
    ("boot", "text"), [(1080.0, "The computer was off too"), (10.0, "This server was not running")]
)
def test_after_a_restart_the_reading_on_disk_is_the_one_before(boot: float, text: str):
    power = PowerRecord(quiet=5.0, last=HOT)
    see(power, replace(HOT, time=1095.0, uptime=1095.0 - boot, flag=True, temp=570.0))
    assert power.count == 1
    assert text in message(power)
    assert "600.0 C before" in message(power)


def test_a_restart_of_this_program_alone_is_no_event():
    power = PowerRecord(quiet=5.0, last=HOT)
    see(power, replace(HOT, time=9000.0, uptime=8990.0))
    assert power.history == []


def test_the_lowest_temperature_and_the_recovery_are_followed():
    power = record()
    power.lost("no answer")
    see(power, replace(HOT, time=1095.0, flag=True, temp=571.0))
    power.changed = False
    for time, temp in ((1100.0, 568.0), (1104.0, 580.0), (1200.0, 599.5), (1203.0, 500.0)):
        see(power, replace(HOT, time=time, flag=True, temp=temp))
    assert power.event is not None
    assert (power.event.lowest, power.event.lowest_at, power.event.back) == (568.0, 1100.0, 1200.0)
    assert power.changed
    assert "lowest 568.0 C" in message(power)
    assert "back at" in message(power)


def see_all(power: PowerRecord, until: float, temp: float) -> None:
    """Take a reading every 4 s, the temperature going there in a straight line."""
    last = power.last
    assert last is not None
    start, begun = last.temp or 0.0, last.time
    while (time := power.last.time + 4.0 if power.last else 0.0) <= until:
        at = start + (temp - start) * (time - begun) / (until - begun)
        see(power, replace(last, time=time, temp=at))


def test_a_furnace_that_falls_only_after_its_first_reading_is_followed():
    power = record()
    see(power, replace(HOT, time=1000.0, flag=True, temp=599.8))
    for time, temp in ((1200.0, 575.0), (1500.0, 599.5), (1600.0, 400.0)):
        see_all(power, time, temp)
    assert power.event is not None
    assert (power.event.lowest, power.event.lowest_at, power.event.back) == (575.0, 1200.0, 1496.0)


def test_a_furnace_that_has_not_fallen_after_ten_minutes_is_not_followed_any_more():
    power = record()
    see(power, replace(HOT, time=1000.0, flag=True, temp=600.2))
    see_all(power, 1700.0, 600.1)
    assert power.changed
    before = power.event
    see_all(power, 1800.0, 400.0)
    assert before is not None
    assert (power.event, before.back) == (before, None)


def restarted(power: PowerRecord) -> PowerRecord:
    """What the next start of the program knows."""
    again = PowerRecord(quiet=5.0)
    again.restore(json.loads(json.dumps(power.as_json())))
    again.last = power.last
    return again


@pytest.mark.parametrize("again", [True, False])
def test_what_happens_long_after_does_not_change_the_report(again: bool):
    power = record()
    see(power, replace(HOT, time=1095.0, flag=True, temp=571.0, output=0.0))
    if again:
        power = restarted(power)
    before = message(power)
    see(power, replace(HOT, time=1095.0 + 86_400.0, flag=True, temp=20.0, output=0.0))
    see(power, replace(HOT, time=1096.0 + 86_400.0, flag=True, temp=599.9, output=0.0))
    assert message(power) == before
    assert power.count == 1


def test_a_restart_while_the_temperature_recovers_goes_on_following():
    power = record()
    see(power, replace(HOT, time=1095.0, flag=True, temp=571.0))
    power = restarted(power)
    see(power, replace(HOT, time=1200.0, flag=True, temp=560.0, output=0.0))
    assert power.event is not None
    assert (power.event.lowest, power.event.lowest_at) == (560.0, 1200.0)


def test_a_restart_before_the_reading_was_saved_does_not_count_an_interruption_twice():
    power = record()
    see(power, replace(HOT, time=1095.0, flag=True, temp=571.0))
    again = restarted(power)
    again.last = HOT  # what the disk has of the time before
    again.restore(power.as_json())
    see(again, replace(HOT, time=1100.0, flag=True, temp=572.0))
    assert again.count == 1


def test_a_program_that_goes_down_by_itself_is_no_trace():
    power = PowerRecord(quiet=5.0)
    see(power, replace(HOT, flag=True))
    power.acknowledge()
    power.lost("no answer")
    see(power, replace(HOT, flag=True, time=1200.0, temp=560.0, working=558.0))
    assert power.history[-1].kind is Kind.UNKNOWN


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"flag": True}, "The controller's mains flag says so. Meanwhile the serial port was gone."),
        ({"flag": False}, "as far as is known: the controller's mains flag is clear. Meanwhile the serial port was"),
    ],
)
def test_how_the_link_failed_is_a_sentence(fields: dict[str, bool], text: str):
    power = record()
    power.lost("the serial port was gone")
    see(power, replace(HOT, time=1095.0, **fields))  # type: ignore[arg-type]
    assert text in message(power)


def test_without_a_silence_nothing_is_reported_about_the_link():
    power = record()
    see(power, replace(HOT, time=1001.0, flag=True))
    assert "Meanwhile" not in message(power)


@pytest.mark.parametrize(
    "fields",
    [
        {"time": None},
        {"time": "x"},
        {"flag": 3},
        {"temp": "hot"},
        {"mode": 7},
        {"left": [1]},
        {"more": 1},
        {"temp": True},
    ],
)
def test_a_reading_on_disk_that_is_none_is_refused(fields: dict[str, object]):
    good = {"time": 1.0, "flag": False}
    assert Sample.from_json(good) == Sample(1.0, False)
    with pytest.raises((TypeError, ValueError)):
        Sample.from_json(good | fields)


def test_a_lost_link_does_not_hide_an_interruption_that_waits():
    power = record()
    see(power, replace(HOT, time=1001.0, flag=True))
    power.lost("no answer")
    see(power, replace(HOT, time=1101.0, flag=True))
    assert "Power interruption" in message(power)
    power.acknowledge()
    assert "Link lost" in message(power)
    assert "is not known" in message(power)
    assert "acknowledge with ACK:CMD" in message(power)
    assert power.count == 1


def test_a_clock_that_jumps_is_no_silence():
    power = record()
    power.observe(replace(HOT, time=1e9), HOT.time + 1)
    power.observe(replace(HOT, time=500.0), HOT.time + 2)
    assert power.history == []
    power.observe(replace(HOT, time=501.0, flag=True), HOT.time + 32)
    assert power.event is not None
    assert power.event.lasted == 30.0


def test_the_begin_is_unknown_while_the_clock_is_not_set_and_after_it_went_wrong():
    memory = FurnaceMemory(DeviceSettings("F", "eurotherm-3200", simulated=True))
    memory.power.observe(replace(HOT, time=100.0, dated=False), 0.0)
    memory.power.observe(replace(HOT, time=101.0, dated=False, flag=True), 1.0)
    assert memory.readings(200.0, 2.0)["PWR.START"].value == "unknown"
    power = record()
    power.observe(replace(HOT, time=200.0, dated=False, flag=True), HOT.time + 30.0)  # set back meanwhile
    assert power.event is not None
    assert power.event.before is not None
    assert (power.event.before.time, power.event.before.dated) == (170.0, False)


def test_a_clock_that_is_behind_after_the_start_leaves_the_duration_open():
    power = PowerRecord(quiet=5.0, last=HOT)
    see(power, replace(HOT, time=100.0, flag=True))
    assert power.event is not None
    assert power.event.lasted is None
    assert "the clock cannot be right" in message(power)


def test_the_duration_is_that_of_the_printed_times_and_an_upper_bound():
    power = record()
    see(power, replace(HOT, time=1000.9))
    power.lost("no answer")
    power.observe(replace(HOT, time=1601.2, flag=True), 1601.5)  # the rest of the batch came later
    assert power.event is not None
    assert power.event.lasted == 602.0
    assert ":40 and" in message(power)  # 1000 s and 1602 s
    assert ":42, at most 11 min" in message(power)


NEXT_BOOT = replace(HOT, boot="second", flag=True, temp=520.0, program="RESET", dated=False)
OLD = replace(HOT, boot="first", uptime=900.0)


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_that_is_set_after_the_start_corrects_the_report(restart: bool):
    """A computer without a clock chip: the power was off for two hours, its clock stood still."""
    power = PowerRecord(quiet=5.0, last=OLD)
    see(power, replace(NEXT_BOOT, time=1049.0, uptime=30.0))
    assert power.event is not None
    assert power.event.lasted is None
    assert "for an unknown time: the computer's clock is not set yet" in message(power)
    assert "at most" not in message(power)
    assert "The computer was off too;" in message(power)
    see(power, replace(NEXT_BOOT, time=1050.0, uptime=31.0, temp=519.0))
    if restart:
        power = restarted(power)
    power.observe(replace(NEXT_BOOT, time=8260.0, uptime=60.0, dated=True), 1e6)
    event = power.event
    assert event is not None
    assert (event.after.time, event.lasted, event.computer) == (8230.0, 7230.0, 8200.0)
    assert event.lowest_at == 8231.0
    assert "at most 2 h 1 min" in message(power)
    assert power.count == 1
    assert power.changed


def test_a_cut_before_the_clock_was_set_is_moved_as_a_whole_when_it_is():
    power = PowerRecord(quiet=5.0)
    lost = replace(HOT, boot="first", dated=False, flag=False)
    see(power, replace(lost, time=100.0, uptime=100.0))
    power.lost("no answer")
    see(power, replace(lost, time=160.0, uptime=160.0, flag=True))
    assert power.event is not None
    assert power.event.lasted == 60.0
    assert "by a clock that is not set yet, at most 60 s" in message(power)
    power.observe(replace(lost, time=1_000_200.5, uptime=200.0, flag=True, dated=True), 200.0)
    event = power.event
    assert event.before is not None
    assert (event.before.time, event.before.dated, event.after.time) == (1_000_100.5, True, 1_000_160.5)
    assert event.lasted == 61.0
    assert "not set" not in message(power)
    assert "at most 61 s" in message(power)


def test_a_clock_that_was_never_set_before_leaves_the_duration_open_for_ever():
    power = PowerRecord(quiet=5.0, last=replace(OLD, dated=False))
    see(power, replace(NEXT_BOOT, time=1049.0, uptime=30.0))
    power.observe(replace(NEXT_BOOT, time=8260.0, uptime=60.0, dated=True), 1e6)
    assert power.event is not None
    assert power.event.lasted is None
    assert "the computer's clock was not set then" in message(power)


def test_within_one_run_of_the_computer_its_uptime_tells_the_duration():
    power = PowerRecord(quiet=5.0, last=replace(OLD, dated=False))
    see(power, replace(OLD, time=90_000.0, uptime=1000.0, flag=True))  # the clock was set meanwhile
    assert power.event is not None
    assert power.event.lasted == 100.0
    assert "The computer was off" not in message(power)


def test_a_working_setpoint_that_fell_back_is_a_trace():
    power = PowerRecord(quiet=5.0)
    steady = replace(HOT, flag=True, program="", output=0.0)
    see(power, steady)
    power.acknowledge()
    power.lost("no answer")
    see(power, replace(steady, time=1060.0, working=571.0))
    assert power.history[-1].kind is Kind.LIKELY
    assert "the working setpoint fell back" in message(power)


@pytest.mark.parametrize("fields", [{"mode": "MANUAL"}, {"remote": "REMOTE"}, {"target": 500.0}])
def test_a_working_setpoint_that_was_moved_is_no_trace(fields: dict[str, object]):
    power = PowerRecord(quiet=5.0)
    steady = replace(HOT, flag=True, program="", output=0.0)
    see(power, steady)
    power.lost("no answer")
    see(power, replace(steady, time=1060.0, working=500.0, **fields))  # type: ignore[arg-type]
    assert power.history[-1].kind is Kind.UNKNOWN


def test_a_cut_that_was_acknowledged_at_the_panel_while_the_server_was_down_leaves_traces():
    power = PowerRecord(quiet=5.0, last=OLD)
    see(power, replace(OLD, time=1600.0, uptime=1500.0, temp=560.0, program="RESET"))
    assert power.history[-1].kind is Kind.LIKELY
    assert (power.count, power.latched) == (1, True)
    assert "clear, perhaps acknowledged at the controller, but the programmer was reset" in message(power)


def test_a_program_that_had_time_to_end_is_no_trace():
    power = PowerRecord(quiet=5.0, last=OLD)
    see(power, replace(OLD, time=6900.0, uptime=6800.0, program="RESET", output=0.0))
    assert power.history == []


def test_a_program_that_may_have_had_time_to_end_is_no_trace():
    power = PowerRecord(quiet=5.0, last=OLD)
    see(power, replace(OLD, boot="second", time=1049.0, uptime=30.0, dated=False, program="RESET", temp=599.0))
    assert power.history == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"target": 100.0}, {"temp": 560.0, "working": 558.0}),  # a ramp to a setpoint that was lowered before
        ({"target": 500.0, "working": 500.0}, {"temp": 520.0, "working": 500.0}),  # cooling down to the setpoint
        ({"mode": "MANUAL"}, {"mode": "MANUAL", "temp": 560.0, "output": 10.0}),  # less output by hand
        ({}, {"mode": "STANDBY", "temp": 560.0}),
        ({"remote": "REMOTE"}, {"remote": "REMOTE", "temp": 560.0, "working": 555.0}),
    ],
)
def test_a_furnace_that_is_led_down_leaves_no_trace(before: dict[str, object], after: dict[str, object]):
    power = PowerRecord(quiet=5.0)
    steady = replace(HOT, flag=True, program="", **before)  # type: ignore[arg-type]
    see(power, steady)
    power.acknowledge()
    power.lost("no answer")
    see(power, replace(steady, time=1060.0, **after))  # type: ignore[arg-type]
    assert power.history[-1].kind is Kind.UNKNOWN


def test_a_furnace_that_falls_below_a_setpoint_that_was_lowered_leaves_a_trace():
    power = PowerRecord(quiet=5.0)
    steady = replace(HOT, flag=True, program="", target=590.0)
    see(power, steady)
    power.lost("no answer")
    see(power, replace(steady, time=1060.0, temp=560.0))
    assert power.history[-1].kind is Kind.LIKELY


@pytest.mark.parametrize(
    "fields", [{"lasted": "x"}, {"link": 3}, {"lowest": float("nan")}, {"back": 1e300}, {"traces": None}, {"kind": "?"}]
)
def test_an_event_on_disk_that_is_none_is_refused_and_changes_nothing(fields: dict[str, object]):
    power = record()
    see(power, replace(HOT, time=1095.0, flag=True))
    stored = power.as_json()
    stored["history"][0] |= fields
    again = PowerRecord(quiet=5.0)
    with pytest.raises((KeyError, TypeError, ValueError)):
        again.restore(json.loads(json.dumps(stored)))
    assert (again.count, again.history) == (0, [])


def test_the_history_is_bounded():
    power = record()
    for n in range(1, KEPT + 20):
        see(power, replace(HOT, time=1000.0 + 2 * n, flag=True))
        see(power, replace(HOT, time=1001.0 + 2 * n, flag=False))
    assert len(power.history) == KEPT
    assert power.count == KEPT + 19


samples = st.builds(
    Sample,
    time=st.floats(0, 1e10),
    flag=st.booleans(),
    temp=st.none() | st.floats(-200, 3000),
    target=st.none() | st.floats(-200, 3000),
    output=st.none() | st.floats(0, 100),
    mode=st.sampled_from(["", "AUTO", "MANUAL"]),
    remote=st.sampled_from(["", "LOCAL", "REMOTE"]),
    program=st.sampled_from(["", "RESET", "RUN", "HOLD", "END"]),
    left=st.none() | st.floats(0, 1e6),
    boot=st.sampled_from(["", "a", "b"]),
    uptime=st.none() | st.floats(0, 1e9),
    dated=st.booleans(),
)


@given(st.lists(samples, max_size=12))
def test_any_history_can_be_reported_and_survives_the_disk(readings: list[Sample]):
    power = PowerRecord(quiet=5.0)
    for reading in readings:
        see(power, reading)
    again = PowerRecord(quiet=5.0)
    again.restore(json.loads(json.dumps(power.as_json())))
    assert (again.count, again.latched, again.history) == (power.count, power.latched, power.history)
    for event in power.history:
        assert len(report(event)) < 1000
        assert Interruption.from_json(event.as_json()) == event


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "1 s"), (95, "95 s"), (600, "10 min"), (601, "11 min"), (4800, "80 min"), (9000, "2 h 30 min")],
)
def test_durations_read_well(seconds: float, text: str):
    assert span(seconds) == text


async def test_a_state_file_survives_and_a_broken_one_is_put_aside(tmp_path: Path):
    path = tmp_path / "deep" / "x.json"
    file = StateFile(path)
    assert await file.load() is None
    for n in range(5):
        file.save({"n": n})
    await file.flush()
    assert await StateFile(path).load() == {"n": 4}
    assert file.writes <= 2  # of those that came while one was being written only the newest counts
    path.write_text('{"n": 4')
    assert await StateFile(path).load() is None
    assert path.with_suffix(".bad").read_text() == '{"n": 4'
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["x.bad"]


async def test_a_folder_that_cannot_be_written_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("")
    file = StateFile(tmp_path / "file" / "x.json")
    for n in range(3):
        file.save({"n": n})
        await file.flush()
    assert len(caplog.records) == 1


async def test_without_a_path_nothing_is_kept():
    file = StateFile(None)
    file.save({})
    await file.flush()
    assert await file.load() is None
