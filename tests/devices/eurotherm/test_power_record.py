"""Power interruptions: what the record concludes from readings, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devices.eurotherm.power_record import KEPT, Kind, PowerRecord
from devices.eurotherm.power_report import span
from tests.devices.eurotherm.power_rig import HOT, OLD, message, record, restarted, see


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
    assert power.event is not None
    before = replace(power.event)
    see_all(power, 1800.0, 400.0)
    assert (power.event, before.back) == (before, None)


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


def test_the_history_is_bounded():
    power = record()
    for n in range(1, KEPT + 20):
        see(power, replace(HOT, time=1000.0 + 2 * n, flag=True))
        see(power, replace(HOT, time=1001.0 + 2 * n, flag=False))
    assert len(power.history) == KEPT
    assert power.count == KEPT + 19


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "1 s"), (95, "95 s"), (600, "10 min"), (601, "11 min"), (4800, "80 min"), (9000, "2 h 30 min")],
)
def test_durations_read_well(seconds: float, text: str):
    assert span(seconds) == text


def test_a_link_lost_before_the_first_reading_of_this_program_says_nothing_about_the_cut_that_it_ends():
    power = PowerRecord(quiet=5.0, last=HOT)
    power.lost("the serial port was gone")
    see(power, replace(HOT, time=1095.0, flag=True))
    assert power.event is not None
    assert power.event.link == ""


@pytest.mark.parametrize(("before", "after"), [("REMOTE", "LOCAL"), ("LOCAL", "REMOTE")])
def test_the_source_of_the_setpoint_is_reported_when_it_was_or_is_remote(before: str, after: str):
    power = PowerRecord(quiet=5.0)
    see(power, replace(HOT, remote=before))
    see(power, replace(HOT, time=1095.0, flag=True, remote=after))
    assert f"Setpoint source {before} before, {after} after." in message(power)


def test_a_lost_link_during_which_the_furnace_fell_says_where_to_look():
    power = record()
    power.lost("no answer")
    see(power, replace(HOT, time=1095.0, temp=500.0))
    assert message(power).endswith(
        "Temperature 600.0 C before, 500.0 C after; the temperature fell while the output was on: "
        "look at the heater supply."
    )


@pytest.mark.parametrize(("program", "was"), [("RUN", "running"), ("HOLD", "in hold")])
def test_what_the_programmer_was_doing_is_reported(program: str, was: str):
    power = PowerRecord(quiet=5.0)
    see(power, replace(HOT, program=program))
    see(power, replace(HOT, time=1095.0, flag=True, program="RESET"))
    assert f"The programmer was {was} with 80 min left and is reset now: start it by hand." in message(power)
