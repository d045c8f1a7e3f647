"""State, deviation and current of a high-voltage channel."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devices.caen.protocol import Profile
from devices.model import Cause, Level, Reading
from devices.rules.hv_channel import STATES, HvChannel, PolarityWatch, State
from devices.rules.hv_trip import Activity, Sample
from tests.devices.rules.story import DOWN, OFF, ON, UP, Story, conditions, shown


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


def test_polarity_is_compared_with_the_last_connection():
    watch = PolarityWatch()
    assert shown(watch.observe(0, 1.0)) == (0, Level.OK)
    watch.link_lost()
    assert shown(watch.observe(1, 2.0)) == (1, Level.MAJOR)
    assert shown(watch.observe(1, 3.0)) == (1, Level.MAJOR)
    watch.link_lost()
    assert shown(watch.observe(1, 4.0)) == (1, Level.OK)
