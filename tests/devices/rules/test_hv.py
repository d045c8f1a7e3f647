from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devices.caen.protocol import Profile
from devices.caen.status import layout_of
from devices.model import Cause, Level, Reading
from devices.rules.hv_channel import STATES, HvChannel, PolarityWatch, State
from devices.rules.hv_trip import Activity, Conditions, Sample, TripLatch

OFF = Conditions()
ON = Conditions(on=True)
UP = Conditions(on=True, up=True)
DOWN = Conditions(down=True)
TRIPPED = Conditions(tripped=True)


def conditions(word: int, profile: Profile) -> Conditions:
    return layout_of("", profile).conditions(word)


class Story:
    """A channel and a clock: each look is one second later than the one before."""

    def __init__(self, ramp_down: float | None = 50.0, **settings: float) -> None:
        self.channel = HvChannel(**settings)
        self.ramp_down = ramp_down
        self.trip_time: float | None = None
        self.now = 0.0

    def look(
        self, conditions: Conditions, vmon: float | None = 1500.0, imon: float | None = 10.0, dt: float = 1.0
    ) -> dict[str, Reading]:
        self.now += dt
        return self.channel.update(
            Sample(
                1_700_000_000.0 + self.now,
                self.now,
                conditions,
                vmon,
                imon,
                1500.0,
                100.0,
                0.01,
                self.ramp_down,
                self.trip_time,
            )
        )  # fmt: skip

    def looks(self, count: int, conditions: Conditions, **values: float) -> dict[str, Reading]:
        for _ in range(count - 1):
            self.look(conditions, **values)
        return self.look(conditions, **values)


def shown(reading: Reading) -> tuple[object, Level]:
    return reading.value, reading.level


def test_there_is_a_text_for_every_state():
    assert len(STATES) == len(State)
    assert all(0 < len(text) < 26 for text in STATES)  # what an mbbi can hold


@pytest.mark.parametrize(
    ("found", "state", "level"),
    [
        (OFF, State.OFF, Level.OK),
        (ON, State.ON, Level.OK),
        (UP, State.RAMP_UP, Level.OK),
        (DOWN, State.RAMP_DOWN, Level.OK),
        (replace(ON, limiting=True), State.LIMITING, Level.MINOR),
        (replace(UP, limiting=True), State.RAMP_UP, Level.OK),
        (replace(OFF, inhibited=True), State.INHIBITED, Level.MAJOR),
        (replace(OFF, disabled=True), State.INHIBITED, Level.MINOR),
        (replace(OFF, disabled=True, inhibited=True), State.INHIBITED, Level.MAJOR),
        (replace(OFF, interlocked=True), State.INHIBITED, Level.OK),
        (replace(OFF, interlocked=True, inhibited=True), State.INHIBITED, Level.MAJOR),
        (replace(OFF, interlocked=True, disabled=True), State.INHIBITED, Level.MINOR),
        (replace(OFF, unit_fault=True), State.FAULT, Level.OK),
        (replace(OFF, unit_fault=True, killed=True), State.FAULT, Level.MAJOR),
        (replace(OFF, unit_fault=True, inhibited=True), State.FAULT, Level.MAJOR),
        (replace(OFF, unit_fault=True, tripped=True), State.FAULT, Level.MAJOR),
        (replace(OFF, killed=True, inhibited=True), State.KILLED, Level.MAJOR),
        (replace(OFF, tripped=True, killed=True), State.TRIPPED, Level.MAJOR),
        (replace(OFF, tripped=True, fault=True), State.FAULT, Level.MAJOR),
        (replace(ON, fault=True), State.FAULT, Level.MAJOR),
    ],
)
def test_the_highest_state_that_applies_wins(found, state, level):
    assert shown(Story().looks(2, found)["STATE"]) == (state, level)


@given(st.integers(0, 0xFFFF), st.sampled_from(Profile))
def test_every_status_word_has_a_state_and_a_level(word, profile):
    story = Story()
    for _ in range(2):
        found = story.look(conditions(word, profile))
    state, level = shown(found["STATE"])
    assert State.OFF <= state < State.UNKNOWN
    assert (level is Level.OK) == (state <= State.RAMP_DOWN)
    assert (found["STATE"].cause is Cause.NONE) == (level is Level.OK)
    assert found["MOVING"].value == int(bool(word & 6))
    assert found["ON.RBV"].value == word & 1
    if word & 128:
        assert found["TRIP"].value == 1


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
@example(0, 9)  # ON and OVC
def test_one_corrupted_word_is_never_a_trip(good, bad):
    story = Story()
    steady = conditions(good & ~128, Profile.A)
    story.looks(3, steady)
    story.look(conditions(bad, Profile.A))
    assert story.looks(3, steady)["TRIP.COUNT"].value == 0


def test_limiting_becomes_major_after_thirty_seconds_and_starts_anew_after_a_ramp():
    story, limiting = Story(), replace(ON, limiting=True)
    assert story.looks(30, limiting)["STATE"].level is Level.MINOR
    assert story.look(limiting)["STATE"].level is Level.MAJOR
    assert story.channel.limiting_level is Level.MAJOR
    story.look(replace(limiting, up=True))
    assert story.looks(30, limiting)["STATE"].level is Level.MINOR


def test_deviation_counts_only_when_on_and_settled():
    story = Story()
    assert story.look(OFF, vmon=0.0)["VDIFF"] == Reading(-1500.0, 1_700_000_001.0)
    assert story.look(UP, vmon=700.0)["VDIFF"].level is Level.OK
    assert story.looks(4, ON, vmon=1470.0)["VDIFF"].level is Level.OK
    found = story.look(ON, vmon=1469.0)
    assert shown(found["VDIFF"]) == (-31.0, Level.MAJOR)
    assert shown(found["STATE"]) == (State.DEVIATING, Level.MAJOR)
    assert shown(story.look(ON, vmon=1480.0)["STATE"]) == (State.DEVIATING, Level.MINOR)
    assert shown(story.look(ON, vmon=1485.0)["STATE"]) == (State.ON, Level.OK)


@pytest.mark.parametrize(("vset", "minor", "major"), [(100.0, 10.0, 20.0), (3000.0, 30.0, 60.0)])
def test_deviation_limits_are_volts_or_per_cent_whichever_is_larger(vset, minor, major):
    channel = HvChannel(settle=0.0)

    def level(difference: float) -> Level:
        channel.update(Sample(0.0, 0.0, ON, vset, 0.0, vset))
        return channel.update(Sample(0.0, 1.0, ON, vset - difference, 0.0, vset))["VDIFF"].level

    assert [level(minor), level(minor + 0.1), level(major), level(major + 0.1)] == [
        Level.OK, Level.MINOR, Level.MINOR, Level.MAJOR,
    ]  # fmt: skip


def test_a_new_setting_starts_the_settling_time_again():
    channel = HvChannel(settle=5.0)
    for now in range(10):
        channel.update(Sample(0.0, float(now), ON, 1000.0, 1.0, 1000.0))
    assert channel.update(Sample(0.0, 10.0, ON, 1000.0, 1.0, 1200.0))["VDIFF"].level is Level.OK
    assert channel.update(Sample(0.0, 15.0, ON, 1000.0, 1.0, 1200.0))["VDIFF"].level is Level.MAJOR


def test_a_channel_that_is_limited_and_deviates_is_deviating_the_higher_of_the_two():
    story, limiting = Story(), replace(ON, limiting=True)
    assert shown(story.looks(5, limiting, vmon=100.0)["STATE"]) == (State.LIMITING, Level.MINOR)  # VDIFF settles
    found = story.look(limiting, vmon=100.0)
    assert found["VDIFF"].level is Level.MAJOR
    assert shown(found["STATE"]) == (State.DEVIATING, Level.MAJOR)


def test_a_small_deviation_does_not_make_long_limiting_less_alarming():
    story, limiting = Story(), replace(ON, limiting=True)
    assert shown(story.looks(30, limiting, vmon=1480.0)["STATE"]) == (State.DEVIATING, Level.MINOR)
    assert shown(story.look(limiting, vmon=1480.0)["STATE"]) == (State.DEVIATING, Level.MAJOR)


def test_limiting_right_after_a_ramp_is_not_alarming_until_it_has_settled():
    story, limiting = Story(), replace(ON, limiting=True)
    story.look(replace(limiting, up=True))
    for _ in range(4):
        assert shown(story.look(limiting)["STATE"]) == (State.ON, Level.OK)
    assert shown(story.look(limiting)["STATE"]) == (State.LIMITING, Level.MINOR)
    assert shown(story.looks(25, limiting)["STATE"]) == (State.LIMITING, Level.MINOR)
    assert shown(story.look(limiting)["STATE"]) == (State.LIMITING, Level.MAJOR)  # 30 s since the ramp ended


def test_status_reads_between_scans_do_not_hide_a_deviation():
    story = Story()
    story.looks(8, ON, vmon=1000.0)
    assert story.look(ON, vmon=None, imon=None)["STATE"].value == State.DEVIATING


def test_load_is_reported_above_ten_volts_and_kept_below():
    story = Story()
    assert story.look(OFF, vmon=0.0, imon=0.0)["EFFLOAD"].value == 0.0
    assert story.look(ON, vmon=1500.0, imon=15.0)["EFFLOAD"] == Reading(100.0, 1_700_000_002.0)
    for vmon, imon in ((10.0, 5.0), (1500.0, 0.0), (1500.0, -0.02), (1500.0, 0.004)):
        assert story.look(ON, vmon=vmon, imon=imon)["EFFLOAD"] == Reading(100.0, 1_700_000_002.0)


def test_a_steady_current_through_a_steady_load_is_not_frozen():
    assert Story().looks(200, ON)["FROZEN"].value == 0


@pytest.mark.parametrize("period", [0.1, 1.0, 10.0])
def test_a_current_with_noise_that_stops_with_everything_else_is_frozen_after_a_minute(period):
    story = Story()
    for number in range(6):
        assert story.look(ON, imon=10.0 + 0.01 * number, dt=period)["FROZEN"].value == 0
    begun = story.now
    while story.now - begun < 59.9 - period:
        assert story.look(ON, imon=10.05, dt=period)["FROZEN"].value == 0
    for _ in range(3):
        found = story.look(ON, imon=10.05, dt=period)
    assert shown(found["FROZEN"]) == (1, Level.MINOR)
    assert shown(story.look(ON, imon=10.01)["FROZEN"]) == (0, Level.OK)


def test_as_long_as_anything_else_of_the_unit_changes_a_current_may_stand_still():
    activity = Activity()
    story = Story(activity=activity)
    for number in range(100):
        activity.note("another channel", float(number), story.now)
        found = story.look(ON, imon=10.0 + 0.01 * min(number, 6))
    assert found["FROZEN"].value == 0


def test_a_current_that_does_not_follow_the_voltage_is_frozen_after_a_minute():
    story = Story()
    story.look(ON, vmon=1500.0)
    assert story.looks(59, ON, vmon=1000.0)["FROZEN"].value == 0
    assert shown(story.look(ON, vmon=1000.0)["FROZEN"]) == (1, Level.MINOR)


def test_a_current_at_its_limit_follows_no_voltage():
    story, limiting = Story(), replace(ON, limiting=True)
    story.look(limiting, vmon=1500.0)
    assert story.looks(100, limiting, vmon=1000.0)["FROZEN"].value == 0


@pytest.mark.parametrize(("found", "imon"), [(OFF, 10.0), (ON, 0.0), (ON, 0.09)])
def test_no_current_may_stand_still(found, imon):
    assert Story().looks(100, found, imon=imon)["FROZEN"].value == 0


def test_current_warns_at_ninety_per_cent_of_its_limit():
    story = Story()
    assert story.look(ON, imon=89.9)["IMON"].level is Level.OK
    found = story.look(ON, imon=90.0)["IMON"]
    assert (found.level, found.cause) == (Level.MINOR, Cause.HIGH)


def test_a_trip_needs_two_looks_in_a_row_and_stays_until_acknowledged():
    story = Story()
    story.look(ON, vmon=1499.0, imon=99.0)
    assert story.look(TRIPPED, vmon=900.0, imon=0.0)["TRIP"].value == 0
    found = story.look(TRIPPED, vmon=10.0, imon=0.0)
    assert shown(found["TRIP"]) == (1, Level.MAJOR)
    assert shown(found["STATE"]) == (State.TRIPPED, Level.MAJOR)
    assert (found["TRIP.COUNT"].value, found["TRIP.V"].value, found["TRIP.I"].value) == (1, 1499.0, 99.0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", str(found["TRIP.TIME"].value))
    found = story.looks(5, OFF, vmon=0.0, imon=0.0)
    assert shown(found["TRIP"]) == (1, Level.MAJOR)
    assert found["STATE"].value == State.OFF
    story.channel.trip.acknowledge()
    assert shown(story.look(OFF)["TRIP"]) == (0, Level.OK)
    assert story.look(OFF)["TRIP.COUNT"].value == 1


@pytest.mark.parametrize("other", ["undervoltage", "limiting", "down", "fault", "killed"])
def test_the_trip_bit_in_two_looks_in_a_row_is_a_trip_whatever_the_other_bits_do(other):
    story = Story()
    story.looks(3, ON)
    story.look(TRIPPED)
    assert story.look(replace(TRIPPED, **{other: True}))["TRIP.COUNT"].value == 1
    assert story.looks(3, TRIPPED)["TRIP.COUNT"].value == 1


def test_an_acknowledged_trip_does_not_latch_again_while_the_bit_stays():
    story = Story()
    story.looks(2, TRIPPED)
    story.channel.trip.acknowledge()
    found = story.looks(5, TRIPPED)
    assert (found["TRIP"].value, found["TRIP.COUNT"].value) == (0, 1)
    assert found["STATE"].value == State.TRIPPED


def test_the_next_trip_counts_again():
    story = Story()
    story.looks(2, TRIPPED)
    story.looks(2, OFF)
    story.channel.accept_on(True)
    story.looks(3, ON)
    assert story.looks(2, TRIPPED)["TRIP.COUNT"].value == 2


def test_an_output_that_is_gone_faster_than_it_ramps_is_a_trip():
    story = Story()
    story.looks(3, ON, vmon=1499.0, imon=9.0)
    assert story.look(OFF, vmon=0.0, imon=0.0)["TRIP"].value == 0
    found = story.look(OFF, vmon=0.0, imon=0.0)
    assert (found["TRIP"].value, found["TRIP.V"].value, found["STATE"].value) == (1, 1499.0, State.TRIPPED)
    assert found["ON.RBV"].level is Level.OK
    story.channel.accept_on(False)
    assert story.looks(2, OFF, vmon=0.0)["STATE"].value == State.OFF


@pytest.mark.parametrize("ramp_down", [500.0, None])
def test_an_output_that_may_have_been_ramped_down_between_two_looks_is_no_trip(ramp_down):
    story = Story(ramp_down)
    story.looks(3, ON, vmon=450.0)
    found = story.looks(3, OFF, vmon=0.0)
    assert (found["TRIP.COUNT"].value, found["STATE"].value) == (0, State.OFF)
    assert shown(story.look(OFF, vmon=0.0)["ON.RBV"]) == (0, Level.MAJOR)


def test_an_output_that_went_at_its_current_limit_is_a_trip():
    story = Story(500.0)
    story.looks(3, ON, vmon=450.0)
    story.look(replace(ON, limiting=True), vmon=440.0, imon=100.0)
    assert story.looks(2, OFF, vmon=0.0)["TRIP.COUNT"].value == 1


@pytest.mark.parametrize(("trip_time", "trips"), [(math.inf, 0), (10.0, 0), (4.0, 1), (None, 1)])
def test_an_output_at_its_current_limit_can_only_have_tripped_after_the_trip_time(trip_time, trips):
    story, limiting = Story(500.0), replace(ON, limiting=True)
    story.channel.accept_on(True)
    story.trip_time = trip_time
    story.looks(3, ON, vmon=450.0)
    story.looks(3, limiting, vmon=440.0, imon=100.0)
    found = story.looks(9, OFF, vmon=0.0, imon=0.0)  # gone 4 s after it was last seen below its limit
    assert found["TRIP.COUNT"].value == trips
    assert (found["ON.RBV"].level is Level.MAJOR) == (not trips)


def test_an_output_that_was_found_at_its_limit_may_have_been_there_for_the_trip_time():
    story, limiting = Story(500.0), replace(ON, limiting=True)
    story.channel.accept_on(True)
    story.trip_time = 10.0
    story.looks(2, limiting, vmon=440.0, imon=100.0)
    assert story.looks(3, OFF, vmon=0.0, imon=0.0)["TRIP.COUNT"].value == 1


def test_an_output_that_went_with_a_new_alarm_of_the_unit_is_a_trip():
    story = Story(500.0)
    story.looks(3, ON, vmon=450.0)
    story.look(OFF, vmon=0.0)
    assert story.channel.trip.undecided
    story.channel.trip.alarmed()
    assert story.looks(2, OFF, vmon=0.0)["TRIP.COUNT"].value == 1
    assert not story.channel.trip.undecided


def test_a_voltage_that_was_read_before_the_output_went_is_no_evidence():
    story = Story()
    story.looks(3, ON, vmon=1500.0)
    assert story.look(OFF, vmon=1500.0)["TRIP"].value == 0
    assert story.look(OFF, vmon=0.0)["TRIP"].value == 0
    assert story.look(OFF, vmon=0.0)["TRIP"].value == 1


def test_a_channel_that_another_switched_on_trips_as_well():
    story = Story()
    story.looks(2, OFF, vmon=0.0)
    story.looks(3, ON)
    collapsed = replace(ON, undervoltage=True)
    assert story.looks(2, collapsed, vmon=3.0)["TRIP.COUNT"].value == 1
    story.looks(3, ON)
    assert story.looks(2, OFF, vmon=0.0)["TRIP.COUNT"].value == 2


def test_a_channel_found_on_after_the_link_came_back_although_demanded_off_trips_as_well():
    story = Story()
    story.look(OFF, vmon=0.0)
    story.channel.link_lost()
    story.looks(3, ON)
    assert story.looks(2, OFF, vmon=0.0)["TRIP.COUNT"].value == 1


def test_an_output_that_is_still_on_while_it_is_switched_off_here_is_no_trip():
    story = Story()
    story.looks(3, ON)
    story.channel.demand_on = False
    story.look(ON)
    assert story.looks(5, OFF, vmon=0.0)["TRIP.COUNT"].value == 0


def test_a_collapsed_output_is_a_trip_although_the_unit_says_on():
    collapsed = replace(ON, undervoltage=True)
    story = Story()
    story.looks(3, ON)
    assert story.look(collapsed, vmon=3.0)["TRIP"].value == 0
    found = story.looks(2, collapsed, vmon=2.0)
    assert (found["TRIP"].value, found["TRIP.COUNT"].value, found["TRIP.V"].value) == (1, 1, 1500.0)
    story.looks(2, collapsed, vmon=None, imon=None)
    assert story.looks(20, collapsed, vmon=0.0)["TRIP.COUNT"].value == 1


@pytest.mark.parametrize("why", ["killed", "inhibited", "disabled", "fault"])
def test_an_output_taken_by_another_protection_is_no_trip(why):
    story = Story()
    story.looks(3, ON)
    story.looks(3, replace(OFF, **{why: True}), vmon=0.0)
    assert story.looks(5, OFF, vmon=0.0)["TRIP.COUNT"].value == 0


def test_an_output_switched_off_at_the_panel_is_no_trip_but_is_shown():
    story = Story()
    story.looks(3, ON)
    assert story.looks(2, DOWN, vmon=900.0)["ON.RBV"].level is Level.OK
    assert story.look(OFF, vmon=0.0)["ON.RBV"].level is Level.MINOR
    found = story.look(OFF, vmon=0.0)
    assert found["TRIP.COUNT"].value == 0
    assert shown(found["ON.RBV"]) == (0, Level.MAJOR)


def test_a_channel_disabled_at_its_switch_raises_one_alarm():
    story = Story()
    story.looks(3, ON)
    found = story.looks(10, replace(OFF, disabled=True), vmon=0.0, imon=0.0)
    assert {name for name, reading in found.items() if reading.level} == {"STATE"}
    story = Story(disabled=Level.OK)
    assert {reading.level for reading in story.looks(5, replace(OFF, disabled=True), vmon=0.0).values()} == {Level.OK}


@pytest.mark.parametrize(("band", "vmon", "settled"), [
    (None, 1496.9, 0), (None, 1497.1, 1), (None, 1502.9, 1), (1.0, 1498.9, 0), (1.0, 1499.1, 1),
])  # fmt: skip
def test_a_voltage_has_settled_after_the_settling_time_within_the_band(band, vmon, settled):
    story = Story(band=band)
    story.look(UP, vmon=vmon)
    assert story.looks(5, ON, vmon=vmon)["SETTLED"].value == 0
    assert story.look(ON, vmon=vmon)["SETTLED"].value == settled
    assert story.look(UP, vmon=vmon)["SETTLED"].value == 0
    assert story.look(OFF, vmon=vmon)["SETTLED"].value == 0


def test_off_on_request_is_quiet():
    story = Story()
    story.looks(3, ON)
    story.channel.accept_on(False)
    found = story.looks(10, OFF, vmon=0.0)
    assert {reading.level for reading in found.values()} == {Level.OK}


def test_off_after_a_known_trip_is_only_a_mismatch():
    story = Story()
    story.looks(3, ON)
    story.looks(2, TRIPPED)
    story.channel.trip.acknowledge()
    assert shown(story.looks(10, OFF, vmon=0.0)["ON.RBV"]) == (0, Level.MINOR)


def test_on_though_demanded_off_is_a_mismatch():
    story = Story()
    story.look(OFF)
    assert story.looks(2, ON)["ON.RBV"].level is Level.OK
    assert story.look(ON)["ON.RBV"].level is Level.MINOR


def test_an_output_found_off_after_the_link_came_back_is_reported_as_such():
    story = Story()
    story.looks(3, ON)
    story.channel.link_lost()
    found = story.looks(5, OFF, vmon=0.0)
    assert found["TRIP.COUNT"].value == 0
    assert shown(found["ON.RBV"]) == (0, Level.MAJOR)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.floats(0, 5000), st.booleans()), max_size=30))
def test_no_history_upsets_the_trip_memory(history):
    latch = TripLatch()
    for second, (word, vmon, demanded) in enumerate(history):
        before = latch.count
        found = conditions(word, Profile.A)
        latch.observe(Sample(1e9 + second, float(second), found, vmon, 1.0, 1500.0, ramp_down=50.0), demanded)
        assert latch.count - before in (0, 1)
        assert not (latch.count > before and not latch.latched)
    assert latch.latched == (latch.count > 0)


@given(st.lists(st.tuples(st.sampled_from([OFF, ON, UP, DOWN]), st.floats(0, 5000), st.booleans()), max_size=30))
def test_switching_at_the_panel_is_never_a_trip_without_a_sign_of_one(history):
    latch = TripLatch()
    for second, (found, vmon, demanded) in enumerate(history):
        latch.observe(Sample(1e9 + second, float(second), found, vmon, 1.0, 1500.0), demanded)
    assert latch.count == 0


def test_polarity_is_compared_with_the_last_connection():
    watch = PolarityWatch()
    assert shown(watch.observe(0, 1.0)) == (0, Level.OK)
    watch.link_lost()
    assert shown(watch.observe(1, 2.0)) == (1, Level.MAJOR)
    assert shown(watch.observe(1, 3.0)) == (1, Level.MAJOR)
    watch.link_lost()
    assert shown(watch.observe(1, 4.0)) == (1, Level.OK)
