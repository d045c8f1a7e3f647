"""Which values of a PV become points: dead-band, minimum interval, heartbeat, and what is repeated."""

from __future__ import annotations

import math

import pytest

from archiver.config import PvSpec
from archiver.points.builder import PointBuilder, Refused
from archiver.points.lineprotocol import Point
from archiver.points.thinning import Thinning, parse_tag
from labioc_ca.events import Event, Kind
from tests.archiver.points.builder_rig import NOW, SECOND, VMON, builder, points, value
from tests.archiver.schemas import SCHEMA


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("monitor", Thinning()),
        ("monitor 0.5", Thinning(0.5, heartbeat=60)),
        ("monitor 1%", Thinning(1, percent=True, heartbeat=60)),
        ("monitor min 0.1", Thinning(minimum=0.1)),
        ("monitor 2 min 1 heartbeat 0", Thinning(2, minimum=1)),
        ("monitor heartbeat 10", Thinning(heartbeat=10)),
    ],
)
def test_the_archive_tag(tag: str, expected: Thinning) -> None:
    assert parse_tag(tag) == expected


@pytest.mark.parametrize(
    "tag", ["", "scan 1", "monitor x", "monitor -1", "monitor nan", "monitor 1 min", "monitor 1 2"]
)
def test_a_wrong_tag_is_named(tag: str) -> None:
    with pytest.raises(ValueError, match="archive tag"):
        parse_tag(tag)


def thinned(tag: str, *samples: tuple[float, float] | tuple[float, float, int]) -> list[float]:
    """Values that become points; samples are (seconds, value[, severity])."""
    one = builder(PvSpec("X", "HV1", "caen-dt55xx", "", "X", tag, "ai"))
    made = []
    for when, what, *severity in samples:
        payload, _ = one.build([Event("X", Kind.DOUBLE, what, NOW + round(when * SECOND), *severity)])
        made += [point.fields["X"] for point in points(payload)]
    return made  # type: ignore[return-value]


def test_only_what_leaves_the_dead_band_is_a_point() -> None:
    assert thinned("monitor 0.5", (0, 10), (1, 10.4), (2, 10.5), (3, 10.6), (4, 10.2), (5, 9)) == [10, 10.6, 9]


def test_a_dead_band_in_percent_is_of_the_last_point() -> None:
    assert thinned("monitor 10%", (0, 100), (1, 109), (2, 111), (3, 121), (4, 123)) == [100, 111, 123]
    assert thinned("monitor 10%", (0, 0), (1, 0), (2, 0.001)) == [0, 0.001]


def test_a_change_of_severity_is_always_a_point() -> None:
    assert thinned("monitor 5 min 100", (0, 10, 0), (1, 10.5, 1), (2, 10.5, 1), (3, 10.4, 0)) == [10, 10.5, 10.4]


def test_an_event_within_the_dead_band_passes_after_the_heartbeat() -> None:
    assert thinned("monitor 5 heartbeat 10", (0, 1), (5, 1.1), (9.9, 1.2), (10, 1.3), (11, 1.4)) == [1, 1.3]


def test_a_clock_that_jumps_back_holds_nothing_up() -> None:
    assert thinned("monitor min 10", (100, 1), (0, 2), (1, 3), (20, 4)) == [1, 2, 4]


def other(seconds: float) -> Event:
    return Event("Y", Kind.DOUBLE, 0.0, NOW + round(seconds * SECOND))


def pair(tag: str) -> PointBuilder:
    made = builder(
        PvSpec("X", "HV1", "caen-dt55xx", "", "X", tag, "ai"),
        PvSpec("Y", "HV1", "caen-dt55xx", "", "Y", "monitor", "ai"),
    )
    made.build([Event(name, Kind.CONNECTION, None, NOW) for name in "XY"])
    return made


def test_the_last_value_is_not_lost_to_the_minimum_interval() -> None:
    one = pair("monitor min 1")
    one.build([value(PvSpec("X"), 1.0, NOW), value(PvSpec("X"), 2.0, NOW + 5), value(PvSpec("X"), 3.0, NOW + 6)])
    assert one.due() == (b"", 0)
    one.build([other(1.0)])
    assert points(one.due()[0]) == [Point("DT5533E", {"device": "HV1"}, {"X": 3.0}, NOW + 6)]
    assert one.due() == (b"", 0)


def test_what_is_no_number_stays_invalid_when_it_is_repeated() -> None:
    one = pair("monitor 5 heartbeat 60")
    one.build([value(PvSpec("X"), math.nan)])
    one.build([other(63)])
    marker = {"X_sev": 3}
    assert points(one.due()[0]) == [Point("DT5533E", {"device": "HV1"}, marker, NOW + 61 * SECOND)]
    assert one.refused[Refused.NOT_FINITE] == 1


def test_the_last_value_is_repeated_in_the_time_of_its_device() -> None:
    one = pair("monitor 5 heartbeat 60")
    one.build([value(PvSpec("X"), 1.0, NOW, severity=1)])
    one.build([other(61.9)])
    assert one.due() == (b"", 0)  # some time is left to an event that is on its way
    one.build([other(63)])
    assert points(one.due()[0]) == [Point("DT5533E", {"device": "HV1"}, {"X": 1.0, "X_sev": 1}, NOW + 61 * SECOND)]
    assert one.due() == (b"", 0)


@pytest.mark.parametrize("heartbeat", [0.5, 1, 60])
def test_no_value_is_repeated_for_a_time_before_it_came(heartbeat: float) -> None:
    one = pair(f"monitor 5 heartbeat {heartbeat}")
    one.build([value(PvSpec("X"), 1.0, NOW), other(1.5)])
    assert one.due() == (b"", 0)
    lone = Lone(f"monitor 5 heartbeat {heartbeat}")
    lone.event(7.0, 0)
    assert lone.due(1.5) == []


def test_of_a_value_that_is_invalid_the_severity_alone_is_repeated() -> None:
    one = pair("monitor 5 heartbeat 60")
    one.build([value(PvSpec("X"), 1.0, NOW), value(PvSpec("X"), 1.0, NOW, severity=3), other(63)])
    assert [(point.fields, point.time) for point in points(one.due()[0])] == [({"X_sev": 3}, NOW + 61 * SECOND)]


def test_no_value_is_repeated_in_the_time_of_a_clock_that_was_wrong() -> None:
    one = pair("monitor 5 heartbeat 60")
    one.build([value(PvSpec("X"), 1.0, NOW), other(36_000)])  # the clock of the IOC was ten hours ahead for a while
    assert [point.time for point in points(one.due()[0])] == [NOW + 35_998 * SECOND]
    one.build([other(63)])
    assert [point.time for point in points(one.due()[0])] == [NOW + 61 * SECOND]
    one.build([other(100)])
    assert one.due() == (b"", 0)
    one.build([other(123)])
    assert [point.time for point in points(one.due()[0])] == [NOW + 121 * SECOND]


def test_an_invalid_value_that_comes_first_does_not_take_the_place_of_a_good_one_of_an_earlier_run() -> None:
    made = [point for run in (builder(), builder()) for point in points(run.build([value(VMON, 1.0, severity=3)])[0])]
    assert [point.time for point in made] == [NOW + 1] * 2
    first = builder()
    events = [value(VMON, 1.0), value(VMON, 1.0, severity=3)]
    assert [point.time for point in points(first.build(events)[0])] == [NOW, NOW + 1]


def test_a_pv_that_is_not_connected_is_not_repeated_and_a_waiting_value_is_sent_first() -> None:
    one = pair("monitor min 1 heartbeat 5")
    one.build([value(PvSpec("X"), 1.0, NOW), value(PvSpec("X"), 2.0, NOW + 5)])
    made, _ = one.build([Event("X", Kind.CONNECTION, None, NOW + 9, connected=False), other(100)])
    assert [dict(point.fields) for point in points(made)][:2] == [{"X": 2.0}, {"Y": 0.0, "Y_sev": 0}]
    assert one.due() == (b"", 0)


def test_a_value_whose_stamp_is_refused_ends_the_repetition_of_the_one_before() -> None:
    one = pair("monitor 5 min 1 heartbeat 60")
    one.build([value(PvSpec("X"), 1.0, NOW), value(PvSpec("X"), 9.0, NOW + 5)])
    made, _ = one.build([value(PvSpec("X"), 100.0, 0, severity=3), other(63)])
    assert [dict(point.fields) for point in points(made)] == [{"X": 9.0}, {"Y": 0.0, "Y_sev": 0}]
    assert one.due() == (b"", 0)


class Lone:
    """A PV of another IOC, and the monotonic clock of the bridge, in ns."""

    def __init__(self, tag: str) -> None:
        self.now = 10**15
        self.pv = PvSpec("MAG:I", archive=tag)
        self.made = PointBuilder([self.pv], SCHEMA, host="bridge", clock=lambda: NOW, monotonic=lambda: self.now)
        self.made.build([Event("MAG:I", Kind.CONNECTION, None, NOW)])

    def event(self, what: float, seconds: float) -> list[float]:
        return self.values(self.made.build([value(self.pv, what, NOW + round(seconds * SECOND))]))

    def due(self, passed: float, received: float | None = None) -> list[tuple[float, float]]:
        """Value and stamp (s) of what is due when so much time has passed since the start."""
        self.now = 10**15 + round(passed * SECOND)
        seen = self.now if received is None else 10**15 + round(received * SECOND)
        payload, _ = self.made.due(lambda pv: seen)
        return [(float(point.fields["value"]), ((point.time or 0) - NOW) / SECOND) for point in points(payload)]

    @staticmethod
    def values(made: tuple[bytes, int]) -> list[float]:
        return [float(point.fields["value"]) for point in points(made[0])]


def test_the_last_value_of_another_iocs_pv_is_not_lost_to_the_minimum_interval() -> None:
    one = Lone("monitor min 5")
    assert one.event(1.0, 0) == [1.0]
    assert one.event(2.0, 0.1) == []
    assert one.due(4.0) == []
    assert one.due(5.1) == [(2.0, 0.1)]
    assert one.due(99.0) == []


def test_what_was_held_back_is_written_at_the_end() -> None:
    one = Lone("monitor min 5")
    one.event(1.0, 0)
    one.event(2.0, 0.1)
    assert one.values(one.made.finish()) == [2.0]
    assert one.made.finish() == (b"", 0)


def test_a_silent_pv_of_another_ioc_is_repeated_for_as_long_as_its_server_answers() -> None:
    one = Lone("monitor 1 heartbeat 60")
    one.event(7.0, 0)
    assert one.due(61.0) == []  # some time is left to an event that is on its way
    assert one.due(70.0, received=30.0) == []
    assert one.due(70.0, received=65.0) == [(7.0, 63.0)]
    assert one.due(75.0) == []
    one.made.build([Event("MAG:I", Kind.CONNECTION, None, NOW, connected=False)])
    assert one.due(1000.0) == []
