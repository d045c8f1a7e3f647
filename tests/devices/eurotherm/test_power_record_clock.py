"""Power interruptions with a clock that jumps, is behind or was not set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devices.eurotherm.memory import FurnaceMemory
from devices.eurotherm.power_record import PowerRecord
from devices.model import DeviceSettings
from tests.devices.eurotherm.power_rig import HOT, NEXT_BOOT, OLD, message, record, restarted, see


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


def test_the_time_of_recovery_is_corrected_too_when_the_clock_is_set():
    power = PowerRecord(quiet=5.0, last=OLD)
    see(power, replace(NEXT_BOOT, time=1049.0, uptime=30.0))
    see(power, replace(NEXT_BOOT, time=1059.0, uptime=40.0, temp=OLD.temp))
    assert power.event is not None
    assert power.event.back == 1059.0
    power.observe(replace(NEXT_BOOT, time=8243.0, uptime=43.0, temp=OLD.temp, dated=True), 1062.0)
    assert (power.event.back, power.event.after.time) == (8240.0, 8230.0)


def test_a_clock_that_is_set_in_a_later_run_of_the_computer_corrects_nothing_of_the_one_before():
    power = PowerRecord(quiet=5.0, last=OLD)
    see(power, replace(NEXT_BOOT, time=1049.0, uptime=30.0))
    power = restarted(power)
    see(power, replace(NEXT_BOOT, boot="third", time=9000.0, uptime=10.0, dated=True))
    cut = power.history[0]
    assert (cut.after.time, cut.after.dated, cut.lasted) == (1049.0, False, None)
