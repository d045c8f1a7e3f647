"""When a high-voltage channel has tripped, and when its output went for another reason."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.caen.protocol import Profile
from devices.model import Level
from devices.rules.hv_channel import State
from devices.rules.hv_trip import Sample, TripLatch
from tests.devices.rules.story import DOWN, OFF, ON, TRIPPED, UP, Story, conditions, shown


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


@pytest.mark.parametrize(
    ("before", "since", "expected"),
    [
        ([1500.0, 1400.0], [3.0, 700.0], (1400.0, 90.0)),  # a look at an output that is on again is not from before
        ([1500.0], [1450.0, 3.0], (1500.0, 90.0)),
        ([300.0], [800.0, 1200.0, 3.0], (1200.0, 90.0)),  # on the way up
        ([], [800.0, 3.0], (800.0, 90.0)),  # the memory was read before the output was on
    ],
)
def test_a_trip_that_only_the_memory_of_the_unit_knows_has_the_highest_values_since_it_was_empty(
    before, since, expected
):
    story = Story()
    story.look(ON, vmon=2000.0, imon=99.0)
    story.channel.accept_on(False)
    story.looks(2, OFF, vmon=0.0)
    story.channel.accept_on(True)
    for vmon in before:
        story.look(ON, vmon=vmon, imon=90.0)
    story.channel.trip.memory_empty()
    for vmon in since:
        story.look(ON, vmon=vmon, imon=90.0 if vmon > 100.0 else 1.0)
    story.channel.missed_trip(Sample(1e9, story.now, ON))
    found = story.channel.derived
    assert (found["TRIP"].value, found["TRIP.COUNT"].value) == (1, 1)
    assert (found["TRIP.V"].value, found["TRIP.I"].value) == expected


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
