"""The clock for requirements in seconds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.fair_time import FairClock


@pytest.mark.parametrize(
    ("waited", "counted"),
    [({"1": 0.0}, 2.0), ({"1": 0.5}, 1.5), ({"1": 0.5, "2": 0.5}, 1.0), ({"1": 1.9, "2": 1.9}, 0.2)],
    ids=["idle", "one thread", "two threads one after the other", "two threads at the same time"],
)
def test_seconds_without_those_in_which_threads_waited_but_never_none(monkeypatch, waited, counted):
    now, delays = 100.0, dict.fromkeys(waited, 0)
    monkeypatch.setattr("tests.fair_time.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(FairClock, "_delays", staticmethod(lambda: dict(delays)))
    clock = FairClock()
    now += 2.0
    delays |= {thread: int(seconds * 1e9) for thread, seconds in waited.items()}
    assert clock() == pytest.approx(counted)
