"""Rows: every core field in every scan, one stamp, nothing while the device is lost, and nothing lost in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.config import PvSpec, Schema
from archiver.points.builder import PointBuilder
from archiver.points.lineprotocol import Point
from labioc_ca.events import Event, Kind, Value
from tests.archiver.influx.fake_influx import parse_all
from tests.archiver.schemas import SCHEMA

NOW = 1_795_000_000_000_000_000
SECOND = 10**9
NAMES = {"VSET": "ai", "VMON": "ai", "IS_ON": "bi", "STAT": "longin"}


def core(field: str, channel: str = "00", archive: str = "monitor") -> PvSpec:
    name = f"LAB:HV1:CH{channel}:{field}"
    return PvSpec(name, "HV1", "caen-dt55xx", channel, field, archive, NAMES[field], row_period=1.0)


RTT = PvSpec("LAB:HV1:COMM:RTT", "HV1", "caen-dt55xx", "", "COMM_RTT", "monitor 10%", "ai")
PVS = [core(field) for field in NAMES]


class Rows:
    """A builder with its clocks in seconds from NOW."""

    def __init__(self, *pvs: PvSpec, schema: Schema = SCHEMA) -> None:
        self.now = 0.0
        self.last_received = 0.0
        self.builder = PointBuilder(
            [*(pvs or PVS), RTT], schema, clock=lambda: NOW, monotonic=lambda: round((self.now + 1000) * SECOND)
        )
        self.points: list[Point] = []
        self.builder.build([Event(f"LAB:HV1:CH00:{field}", Kind.CONNECTION, None, NOW) for field in NAMES])

    def send(self, stamp: float, severity: int = 0, **values: Value) -> None:
        """Let values come, all with one stamp."""
        events = [
            Event(f"LAB:HV1:CH00:{field}", Kind.DOUBLE, value, NOW + round(stamp * SECOND), severity)
            for field, value in values.items()
        ]
        self._keep(self.builder.build(events))

    def beat(self, stamp: float) -> None:
        """Let the device report something that is in no row."""
        self._keep(self.builder.build([Event(RTT.name, Kind.DOUBLE, stamp, NOW + round(stamp * SECOND))]))

    def look(self, now: float) -> None:
        self.now = now
        self._keep(self.builder.tick(lambda pv: round((self.last_received + 1000) * SECOND)))

    def scan(self, second: float, **values: Value) -> None:
        """One scan of the device: values that have changed, then its own figures; and four looks in the second."""
        self.now = second
        self.send(second, **values)
        self.beat(second + 0.01)
        for quarter in range(1, 5):
            self.look(second + 0.2 * quarter)

    def _keep(self, made: tuple[bytes, int]) -> None:
        self.points += [point for point in parse_all(made[0]) if "channel" in point.tags]

    def rows(self) -> list[tuple[float, dict[str, object]]]:
        return [
            (
                round(((point.time or 0) - NOW) / SECOND, 3),
                {name: value for name, value in point.fields.items() if not name.endswith("_sev")},
            )
            for point in self.points
        ]


FIRST: dict[str, Value] = {"VSET": 1500.0, "VMON": 1499.5, "IS_ON": 1, "STAT": 1}


def test_a_steady_channel_has_a_row_with_all_fields_for_each_scan() -> None:
    rows = Rows()
    rows.scan(0, **FIRST)
    for second in range(1, 6):
        rows.scan(second)
    assert [row for _, row in rows.rows()] == [FIRST] * 6
    assert [stamp for stamp, _ in rows.rows()] == [0.0, 0.01 + 1, 0.01 + 2, 0.01 + 3, 0.01 + 4, 0.01 + 5]
    assert {point.measurement for point in rows.points} == {"DT5533E"}
    assert all(point.tags == {"channel": "0", "device": "HV1"} for point in rows.points)
    assert rows.points[0].fields["VMON_sev"] == 0
    assert "VMON_sev" not in rows.points[1].fields


def test_a_value_that_changes_is_in_the_row_of_its_scan_with_its_stamp() -> None:
    rows = Rows()
    rows.scan(0, **FIRST)
    rows.scan(1, VMON=1600.0)
    rows.scan(2, VMON=1700.0, IS_ON=0)
    assert rows.rows()[1:] == [(1.0, {**FIRST, "VMON": 1600.0}), (2.0, {**FIRST, "VMON": 1700.0, "IS_ON": 0})]


def test_a_value_that_comes_before_the_last_one_was_written_makes_a_row_at_once() -> None:
    rows = Rows()
    rows.scan(0, **FIRST)
    for step in range(1, 6):
        rows.send(step / 10, VMON=1500.0 + step)
    rows.look(1.0)
    assert [(stamp, row["VMON"]) for stamp, row in rows.rows()[1:]] == [(n / 10, 1500.0 + n) for n in range(1, 6)]


def test_of_a_lost_device_one_row_tells_the_severities_and_then_there_are_none() -> None:
    rows = Rows()
    rows.scan(0, **FIRST)
    rows.now = 1
    rows.send(0, severity=3, **FIRST)
    for second in (1, 2, 3):
        rows.beat(second + 0.5)  # COMM:AGE and its like go on
        for quarter in range(4):
            rows.look(second + 0.6 + 0.1 * quarter)
    lost = rows.points[1:]
    assert [point.fields for point in lost] == [{f"{field}_sev": 3 for field in NAMES}]
    assert lost[0].time == NOW + 10**6  # behind the last good row, which stays
    rows.scan(5, **FIRST)
    assert rows.points[-1].fields == {**FIRST, **{f"{field}_sev": 0 for field in NAMES}}


def test_one_bad_reading_leaves_its_field_out() -> None:
    rows = Rows()
    rows.scan(0, **FIRST)
    rows.send(1, severity=3, VMON=1499.5)
    rows.scan(1)
    rows.scan(2)
    assert [point.fields for point in rows.points[1:]] == [
        {"VSET": 1500.0, "VMON_sev": 3, "IS_ON": 1, "STAT": 1},
    ] * 2
    rows.scan(3, VMON=float("nan"))
    assert rows.points[-1].fields == {"VSET": 1500.0, "VMON_sev": 3, "IS_ON": 1, "STAT": 1}


def test_a_pv_that_is_gone_is_in_no_row() -> None:
    rows = Rows()
    rows.scan(0, **FIRST)
    rows.builder.build([Event("LAB:HV1:CH00:VMON", Kind.CONNECTION, None, NOW, connected=False)])
    rows.scan(1)
    assert rows.rows()[-1] == (1.01, {"VSET": 1500.0, "IS_ON": 1, "STAT": 1})


def test_a_device_of_which_nothing_moves_has_rows_for_as_long_as_its_server_is_heard() -> None:
    rows = Rows()
    rows.scan(0, **FIRST)
    for quarter in range(1, 41):
        rows.last_received = min(quarter / 4, 6.0)
        rows.look(quarter / 4)
    stamps = [stamp for stamp, _ in rows.rows()]
    assert len(stamps) in (4, 5)
    assert stamps[-1] <= 6.0 - 2.0 + 0.01 + 0.001  # some time is left to an event that is on its way


def test_with_a_period_rows_come_with_changes_beyond_the_dead_band_and_at_least_so_often() -> None:
    rows = Rows(core("VMON", archive="monitor 0.5"), core("IS_ON"), schema=replace(SCHEMA, row_every=10.0))
    rows.scan(0, VMON=100.0, IS_ON=1)
    for second in range(1, 25):
        rows.scan(second, VMON=100.0 + (second % 2) * 0.1 + (5 if second >= 15 else 0))
    assert [stamp for stamp, _ in rows.rows()] in ([0.0, 8.01, 15.0, 23.01], [0.0, 8.0, 15.0, 23.0])


def test_the_end_writes_what_waits() -> None:
    rows = Rows()
    rows.scan(0, **FIRST)
    rows.send(1, VMON=1.0)
    made, count = rows.builder.finish()
    assert count == 1
    assert next(parse_all(made)).fields["VMON"] == 1.0


def test_without_rows_or_with_a_measurement_for_each_pv_every_change_is_a_point() -> None:
    for schema in (replace(SCHEMA, rows=False), replace(SCHEMA, per_pv=True)):
        rows = Rows(schema=schema)
        rows.scan(0, **FIRST)
        rows.scan(1)
        assert len(rows.points) == 4


@given(st.lists(st.tuples(st.sampled_from(list(NAMES)), st.integers(0, 3), st.booleans()), max_size=40))
def test_no_change_is_lost_whatever_comes_between(changes: list[tuple[str, int, bool]]) -> None:
    rows = Rows()
    sent: dict[str, list[object]] = {name: [] for name in NAMES}
    for number, (field, value, look) in enumerate(changes):
        rows.send(number / 100, **{field: value})
        if not sent[field] or sent[field][-1] != value:
            sent[field].append(value)
        if look:
            rows.look(rows.now + 0.1)
    rows.points += list(parse_all(rows.builder.finish()[0]))
    stamps = [point.time for point in rows.points]
    assert stamps == sorted(set(stamps))
    assert all(stamp % 10**6 == 0 for stamp in stamps if stamp is not None)
    for field, values in sent.items():
        found: list[object] = []
        for point in rows.points:
            if field in point.fields and (not found or found[-1] != point.fields[field]):
                found.append(point.fields[field])
        assert found == values


@pytest.mark.parametrize("jump", [-3600.0, -10.0, 3600.0])
def test_a_clock_that_jumps_keeps_its_stamps(jump: float) -> None:
    rows = Rows()
    rows.scan(0, **FIRST)
    rows.now = 1
    rows.send(1 + jump, VMON=1.0)
    rows.beat(1.01 + jump)
    rows.look(1.2)
    assert rows.rows()[-1] == (1 + jump, {**FIRST, "VMON": 1.0})
