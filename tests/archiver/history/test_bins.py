"""Samples in bins: what is lost in between is a gap, and no line from the last good value to the next."""

from __future__ import annotations

import math

from archiver.history.bins import bins
from archiver.history.samples import Sample


def shown(samples: list[Sample]) -> list[tuple[int, float | None]]:
    return [(one.time, None if math.isnan(one.mean) else one.mean) for one in bins(samples, 0, 10)]


def test_GIVEN_a_loss_of_many_bins_WHEN_the_values_come_again_THEN_there_is_a_gap_between() -> None:
    for loss in (Sample(7, connected=False), Sample(7, severity=3), Sample(7, 99.0, 3)):
        samples = [Sample(3, 1.0, 0), Sample(5, 3.0), loss, Sample(95, connected=True), Sample(97, 8.0, 0)]
        assert shown(samples) == [(0, 2.0), (10, None), (90, 8.0)]


def test_GIVEN_a_loss_WHEN_it_lasts_THEN_the_last_bin_is_a_gap() -> None:
    assert shown([Sample(3, 1.0, 0), Sample(31, severity=3)]) == [(0, 1.0), (30, None)]
    assert shown([Sample(3, 1.0, 0), Sample(4, connected=False)]) == [(0, 1.0), (10, None)]


def test_GIVEN_a_value_that_rests_WHEN_bins_are_empty_THEN_that_is_no_gap() -> None:
    assert shown([Sample(3, 1.0, 0), Sample(95, 2.0)]) == [(0, 1.0), (90, 2.0)]


def test_GIVEN_an_alarm_from_before_WHEN_samples_say_nothing_of_it_THEN_their_bins_have_it() -> None:
    samples = [Sample(-20, 1.0, 2), Sample(3, 2.0), Sample(15, 3.0), Sample(17, 3.0, 0), Sample(25, 4.0)]
    found = list(bins(samples, 0, 10))
    assert [(one.time, one.mean, one.severity) for one in found] == [(0, 2.0, 2), (10, 3.0, 2), (20, 4.0, 0)]


def test_GIVEN_a_loss_from_before_WHEN_values_come_later_THEN_it_begins_with_a_gap() -> None:
    samples = [Sample(-20, 1.0, 0), Sample(-5, connected=False), Sample(33, connected=True), Sample(34, 2.0)]
    assert shown(samples) == [(0, None), (30, 2.0)]


def test_GIVEN_a_loss_of_one_bin_WHEN_values_are_on_both_sides_THEN_it_is_a_gap() -> None:
    samples = [Sample(3, 1.0, 0), Sample(12, severity=3), Sample(23, 2.0, 0)]
    assert shown(samples) == [(0, 1.0), (10, None), (20, 2.0)]


def test_GIVEN_an_alarm_that_ends_in_a_bin_WHEN_it_stood_at_its_begin_THEN_the_bin_has_it() -> None:
    samples = [Sample(-20, 1.0, 2), Sample(5, 2.0, 0), Sample(15, 3.0)]
    assert [(one.time, one.severity) for one in bins(samples, 0, 10)] == [(0, 2), (10, 0)]
