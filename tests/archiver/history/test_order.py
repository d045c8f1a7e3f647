"""Samples of a log in the order of their stamps, though only some are held."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from archiver.history.samples import Sample, in_order

PLACES = st.lists(st.tuples(st.integers(0, 30), st.sampled_from((None, True, False))), max_size=60)


@given(PLACES)
def test_of_each_stamp_the_last_one_comes_once_and_in_order(places: list[tuple[int, bool | None]]) -> None:
    samples = [
        Sample(time, None if connected is not None else float(number), connected=connected)
        for number, (time, connected) in enumerate(places)
    ]
    expected = {(sample.time, sample.connected is None): sample for sample in samples}
    found = list(in_order(samples, at_once=len(samples) + 1))
    assert found == [expected[place] for place in sorted(expected)]


@given(PLACES, st.integers(1, 5))
def test_nothing_is_missing_however_few_are_held(places: list[tuple[int, bool | None]], at_once: int) -> None:
    samples = [Sample(time, float(time), connected=connected) for time, connected in places]
    found = list(in_order(samples, at_once))
    assert {(one.time, one.connected is None) for one in found} == {
        (one.time, one.connected is None) for one in samples
    }


def test_those_that_are_held_are_enough_for_what_is_a_little_late() -> None:
    times = [3, 1, 2, 6, 5, 4, 9, 8, 7]
    assert [one.time for one in in_order([Sample(time, 0.0) for time in times], at_once=2)] == sorted(times)
