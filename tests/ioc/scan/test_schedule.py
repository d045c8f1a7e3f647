"""Deadlines on a grid, shared batches, skipped ticks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.database.support import PERIODS
from ioc.scan.schedule import Schedule


def schedule(**rates: str) -> Schedule:
    made = Schedule()
    for name, scan in rates.items():
        made.place(name, f"{name}.SIGNAL", scan, 0.0)
    made.start(0.0)
    return made


def test_rates_that_fall_together_share_a_batch() -> None:
    made = schedule(FAST="1 second", SLOW="5 second", ONCE="Passive")
    assert [made.take(float(t)) for t in range(1, 6)] == [(["FAST.SIGNAL"], [])] * 4 + [
        (["FAST.SIGNAL"], ["SLOW.SIGNAL"])
    ]


def test_nothing_is_due_before_its_time_nor_twice() -> None:
    made = schedule(FAST="1 second")
    assert made.take(0.9) == ([], [])
    assert made.next_due() == 1.0
    assert made.take(1.0) == (["FAST.SIGNAL"], [])
    assert made.take(1.0) == ([], [])
    assert not made.is_due(1.9)
    assert made.is_due(2.0)


def test_ticks_that_passed_are_skipped_not_made_up_for() -> None:
    made = schedule(FAST="1 second")
    assert made.take(7.4) == (["FAST.SIGNAL"], [])
    assert made.next_due() == 8.0


def test_a_record_moves_to_another_rate_on_the_same_grid() -> None:
    made = schedule(A="10 second", B="1 second")
    made.place("A", "A.SIGNAL", ".5 second", 0.3)
    assert made.next_due() == 0.5
    assert made.take(0.5) == (["A.SIGNAL"], [])
    made.place("A", "A.SIGNAL", "Passive", 0.6)
    made.place("B", "B.SIGNAL", "Event", 0.6)
    assert made.next_due() is None
    assert made.take(100.0) == ([], [])


def test_two_records_of_one_signal_are_one_question() -> None:
    made = Schedule()
    made.place("A", "SIGNAL", "1 second", 0.0)
    made.place("B", "SIGNAL", "1 second", 0.0)
    made.start(0.0)
    assert made.take(1.0) == (["SIGNAL"], [])


def test_the_fast_scan_is_what_the_period_of_the_device_allows_or_else_the_shortest() -> None:
    made = schedule(OFTEN=".1 second", FAST="1 second", SLOW="5 second")
    assert made.fast() == ["OFTEN.SIGNAL", "FAST.SIGNAL"]
    assert schedule(SLOW="5 second", SLOWER="10 second").fast() == ["SLOW.SIGNAL"]
    assert schedule(ONCE="Passive").fast() == []


@given(st.sampled_from(sorted(PERIODS)), st.lists(st.floats(0.01, 30), max_size=50))
def test_deadlines_stay_on_the_grid_and_ahead(scan: str, pauses: list[float]) -> None:
    made, period, now = schedule(A=scan), PERIODS[scan], 0.0
    for pause in pauses:
        now += pause
        made.take(now)
        due = made.next_due()
        assert due is not None
        assert now < due <= now + period + 0.003
        assert abs(due / period - round(due / period)) < 1e-6


@given(
    st.floats(0.0, 0.999),
    st.lists(st.sampled_from(sorted(PERIODS)), min_size=1, max_size=4, unique=True),
    st.floats(0.0, 1e6),
)
def test_a_phase_moves_the_whole_grid_by_less_than_the_shortest_period(
    phase: float, scans: list[str], now: float
) -> None:
    made = Schedule(phase)
    for scan in scans:
        made.place(scan, scan, scan, now)
    made.start(now)
    shortest = min(PERIODS[scan] for scan in scans)
    first = made.next_due()
    assert first is not None
    assert first == pytest.approx(now + (1 - phase) * shortest, abs=1e-6)
    made.take(first)
    following = made.next_due()
    assert following is not None
    assert following > first
