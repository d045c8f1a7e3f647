"""The difference between neighbours, whatever the ramps do."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ioc.automation.sequence import Range, allowed

VOLTS = st.floats(0.0, 4000.0)


@given(VOLTS, VOLTS, st.lists(st.tuples(VOLTS, VOLTS, st.floats(1.0, 500.0)), max_size=3))
def test_a_setting_never_moves_away_from_its_target_nor_past_it(
    target: float, present: float, others: list[tuple[float, float, float]]
) -> None:
    neighbours = [(Range(min(a, b), max(a, b)), difference) for a, b, difference in others]
    found = allowed(target, present, neighbours)
    assert min(target, present) <= found <= max(target, present)


@given(
    st.lists(st.floats(0.0, 300.0), min_size=2, max_size=5),
    st.lists(VOLTS, min_size=5, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.floats(0.0, 1.0)), max_size=60),
    st.booleans(),
)
def test_neighbours_stay_within_their_difference_for_any_ramps_and_any_order_of_moves(
    start: list[float], targets: list[float], moves: list[tuple[int, float]], negative: bool
) -> None:
    """Each move sets one channel as far as permitted, then every voltage goes some way to its setting."""
    difference, sign = 300.0, -1.0 if negative else 1.0
    volts, settings = [sign * one for one in start], [sign * one for one in start]
    for which, way in moves:
        at = which % len(start)
        near = [one for one in (at - 1, at + 1) if 0 <= one < len(start)]
        ranges = [(Range(min(volts[one], settings[one]), max(volts[one], settings[one])), difference) for one in near]
        settings[at] = allowed(sign * targets[at], settings[at], ranges)
        volts = [volt + way * (setting - volt) for volt, setting in zip(volts, settings, strict=True)]
        for one, other in pairwise(volts):
            assert abs(one - other) <= difference + 1e-6
