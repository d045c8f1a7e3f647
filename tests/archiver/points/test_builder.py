"""Events as points: fields, types, stamps and what is refused."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace

import pytest

from archiver.config import PvSpec, Schema
from archiver.points.builder import LONGEST_TEXT, PointBuilder, Refused
from archiver.points.lineprotocol import Point, parse
from archiver.points.series import FieldType, Series, conflicts, field_type
from labioc_ca.events import Event, Kind
from tests.archiver.points.builder_rig import FOREIGN, IS_ON, MSG, NOW, SECOND, VMON, builder, points, value
from tests.archiver.schemas import PER_PV, SCHEMA


def test_a_point_of_the_default_schema_is_the_seeds() -> None:
    made, count = builder().build([value(VMON, 1499.5), value(VMON, 1500, NOW + 1)])
    assert count == 2
    assert points(made) == [
        Point("DT5533E", {"channel": "0", "device": "HV1"}, {"VMON": 1499.5, "VMON_sev": 0}, NOW),
        Point("DT5533E", {"channel": "0", "device": "HV1"}, {"VMON": 1500.0}, NOW + 1),
    ]


def test_a_state_is_an_integer_and_an_analogue_value_a_float() -> None:
    made, _ = builder().build([value(IS_ON, 1, kind=Kind.ENUM), value(VMON, 3, kind=Kind.LONG)])
    assert b"IS_ON=1i," in made
    assert b"VMON=3.0," in made


def test_a_measurement_for_each_pv() -> None:
    made, _ = builder(per_pv=True).build([value(VMON, 2.0)])
    assert points(made)[0] == Point(VMON.name, {"channel": "0", "device": "HV1"}, {"value": 2.0, "value_sev": 0}, NOW)


def test_a_pv_of_another_ioc_is_a_measurement_of_its_own() -> None:
    one = builder()
    made, _ = one.build([value(FOREIGN, 5, kind=Kind.LONG), value(FOREIGN, 'say "hi"\nnow', kind=Kind.STRING)])
    assert [point.fields["value"] for point in points(made)] == [5.0, 'say "hi"\\nnow']
    assert {point.measurement for point in points(made)} == {FOREIGN.name}


def test_the_severity_goes_along_while_it_is_not_zero_and_when_it_changes() -> None:
    severities = [0, 0, 2, 2, 0, 0]
    events = [value(VMON, 1.0, NOW + turn, severity) for turn, severity in enumerate(severities)]
    made, _ = builder().build(events)
    assert [point.fields.get("VMON_sev") for point in points(made)] == [0, None, 2, 2, 0, None]


@pytest.mark.parametrize("what", [math.nan, math.inf, -math.inf])
def test_no_number_is_never_sent_but_its_severity_is(what: float) -> None:
    one = builder()
    made, _ = one.build([value(VMON, what, severity=3), value(VMON, what, NOW + 1, 3), value(VMON, 1.0, NOW + 2)])
    assert [point.fields for point in points(made)] == [{"VMON_sev": 3}, {"VMON_sev": 3}, {"VMON": 1.0, "VMON_sev": 0}]
    assert one.refused == {Refused.NOT_FINITE: 2}


@pytest.mark.parametrize(
    ("stamp", "taken"),
    [
        (0, False),
        (662_688_000 * SECOND - 1, False),
        (662_688_000 * SECOND, True),
        (NOW + 86_400 * SECOND, True),
        (NOW + 86_400 * SECOND + 1, False),
    ],
)
def test_a_stamp_before_1991_or_more_than_a_day_ahead_is_refused_and_counted(stamp: int, taken: bool) -> None:
    one = builder()
    made, count = one.build([value(VMON, 1.0, stamp)])
    assert (count == 1) is taken
    assert (one.refused[Refused.STAMP] == 0) is taken
    assert bool(made) is taken


def test_a_value_that_does_not_fit_its_field_is_refused_and_counted() -> None:
    one = builder()
    made, _ = one.build(
        [value(VMON, "text", kind=Kind.STRING), value(IS_ON, 0.5), value(IS_ON, 2**63 * 1.0), value(MSG, 3.0)]
    )
    assert all(
        list(point.fields) == [f"{name}_sev"] for point, name in zip(points(made), ("VMON", "IS_ON"), strict=False)
    )
    assert one.refused == {Refused.TYPE: 4}


def test_arrays_are_json_texts_and_too_long_ones_are_refused() -> None:
    one = builder()
    made, _ = one.build([value(MSG, array("d", [1.0, math.nan])), value(MSG, ("a", "b"), NOW + 1)])
    assert [point.fields["COMM_MSG"] for point in points(made)] == ["[1.0,null]", '["a","b"]']
    one.build([value(MSG, array("d", bytes(8 * LONGEST_TEXT))), value(MSG, "\u00e9" * (LONGEST_TEXT - 10))])
    assert one.refused == {Refused.LONG: 2}


def test_connection_and_bridge_are_points_too() -> None:
    one = builder()
    lost = Event(VMON.name, Kind.CONNECTION, None, NOW, connected=False)
    made, _ = one.build([lost])
    assert points(made) == [Point("archive_connection", {"device": "HV1"}, {VMON.name: 0}, NOW)]
    assert parse(one.bridge(True)[0]) == Point("archive_bridge", {"host": "bridge"}, {"running": 1}, NOW)


def test_after_a_connection_the_first_point_tells_its_severity() -> None:
    one = builder()
    one.build([value(VMON, 1.0), Event(VMON.name, Kind.CONNECTION, None, NOW, connected=True)])
    assert b"VMON_sev=0i" in one.build([value(VMON, 1.0, NOW + 1)])[0]


def test_two_events_with_one_stamp_are_two_points() -> None:
    # A reading whose device is lost keeps its stamp, a put to a scanned record of base brings no new one.
    one = builder()
    made, _ = one.build(
        [
            value(VMON, 1.0),
            value(VMON, 1.0, severity=3),
            value(VMON, 2.0, severity=3),
            value(VMON, 4.0, NOW + 1, severity=3),
            value(VMON, 5.0, NOW + 3),
        ]
    )
    assert [(point.time, point.fields["VMON"], point.fields.get("VMON_sev")) for point in points(made)] == [
        (NOW, 1.0, 0),
        (NOW + 1, 1.0, 3),
        (NOW + 2, 2.0, 3),
        (NOW + 3, 4.0, 3),
        (NOW + 4, 5.0, 0),
    ]


def test_an_event_that_comes_again_is_the_same_point() -> None:
    one = builder()
    lost, found = (Event(VMON.name, Kind.CONNECTION, None, NOW, connected=connected) for connected in (False, True))
    one.build([value(VMON, 1.0), value(VMON, 1.0, severity=3)])
    made, _ = one.build([lost, found, value(VMON, 1.0, severity=3)])
    again = Point("DT5533E", {"channel": "0", "device": "HV1"}, {"VMON": 1.0, "VMON_sev": 3}, NOW + 1)
    assert again in points(made)


def test_a_clock_that_was_set_back_keeps_its_stamps() -> None:
    one = builder()
    made, _ = one.build([value(VMON, 1.0, NOW), value(VMON, 2.0, 0), value(VMON, 3.0, NOW - SECOND)])
    assert [point.time for point in points(made)] == [NOW, NOW - SECOND]


def test_lines_begin_as_their_series() -> None:
    one, series = builder(), Series(VMON, SCHEMA)
    assert one.build([value(VMON, 1.0)])[0].startswith(series.start.encode())
    assert one.build([value(VMON, math.nan, severity=1)])[0].startswith(series.severity_alone.encode())


def test_a_pv_that_is_not_configured_is_counted() -> None:
    one = builder()
    assert one.build([Event("LAB:WHO", Kind.LONG, 1, NOW)]) == (b"", 0)
    assert one.refused == {Refused.UNKNOWN: 1}


def test_each_pv_tells_its_state() -> None:
    one = builder(VMON)
    one.build([Event(VMON.name, Kind.CONNECTION, None, NOW), value(VMON, 1.0), value(VMON, 1.0, 5)])
    (state,) = one.states()
    assert (state.connected, state.events, state.points, state.refused, state.last_ns) == (True, 2, 1, 1, 5)


@pytest.mark.parametrize(
    ("rtyp", "expected"),
    [
        ("ai", FieldType.FLOAT),
        ("calc", FieldType.FLOAT),
        ("mbbi", FieldType.INTEGER),
        ("longin", FieldType.INTEGER),
        ("stringin", FieldType.TEXT),
        ("", FieldType.NUMBER_OR_TEXT),
    ],
)
def test_the_type_of_a_field_follows_from_the_record_type(rtyp: str, expected: FieldType) -> None:
    assert field_type(rtyp) is expected


def test_pvs_that_would_share_a_series_or_a_field_of_another_type_are_named() -> None:
    twin = replace(VMON, name="LAB:HV1:CH00:VMON2")
    other = replace(VMON, name="LAB:HV2:CH00:VMON", device="HV2", rtyp="longin")
    assert conflicts([VMON, IS_ON, MSG, FOREIGN, replace(FOREIGN, name="X")], SCHEMA) == []
    assert [error.partition(":C")[0] for error in conflicts([VMON, twin, other], SCHEMA)] == ["LAB:HV1", "LAB:HV2"]
    assert conflicts([VMON, twin, other], PER_PV) == []


def test_a_measurement_that_would_be_a_comment_is_named() -> None:
    (error,) = conflicts([VMON], Schema(measurements={"caen-dt55xx": "#HV"}))
    assert error.startswith("LAB:HV1:CH00:VMON: measurement #HV begins with '#'")


def test_a_nan_without_alarm_is_invalid() -> None:
    made, _ = builder().build([value(VMON, 1.0), value(VMON, math.nan, NOW + 1), value(VMON, 2.0, NOW + 2)])
    assert [point.fields for point in points(made)] == [
        {"VMON": 1.0, "VMON_sev": 0},
        {"VMON_sev": 3},
        {"VMON": 2.0, "VMON_sev": 0},
    ]


def test_a_record_that_was_never_processed_is_no_event_and_not_refused() -> None:
    one = builder()
    assert one.build([value(VMON, 0.0, 631_152_000 * SECOND, severity=3)]) == (b"", 0)
    assert not one.refused


def test_changes_of_connection_that_come_together_are_one_point_for_each_device() -> None:
    one = builder()
    made, count = one.build([Event(pv.name, Kind.CONNECTION, None, NOW, connected=False) for pv in (VMON, IS_ON)])
    assert count == 1
    assert points(made) == [Point("archive_connection", {"device": "HV1"}, {VMON.name: 0, IS_ON.name: 0}, NOW)]
    both = [Event(VMON.name, Kind.CONNECTION, None, NOW + turn, connected=bool(turn)) for turn in (0, 1)]
    assert [(point.fields, point.time) for point in points(one.build(both)[0])] == [
        ({VMON.name: 0}, NOW),
        ({VMON.name: 1}, NOW + 1),
    ]


@pytest.mark.parametrize(
    ("pv", "types", "what", "field"),
    [
        (IS_ON, {"IS_ON": "boolean"}, 1, True),
        (IS_ON, {"DT5533E.IS_ON": "float"}, 1, 1.0),
        (VMON, {"VMON": "integer"}, 1499.6, 1500),
        (VMON, {"VMON": "string"}, 1.5, "1.5"),
        (VMON, {"ISEG.VMON": "integer"}, 1.5, 1.5),
    ],
)
def test_a_field_is_sent_as_the_site_file_wants_it(
    pv: PvSpec, types: dict[str, str], what: float, field: object
) -> None:
    one = PointBuilder([pv], replace(SCHEMA, types=types), clock=lambda: NOW)
    found = points(one.build([value(pv, what)])[0])[0].fields[pv.field]
    assert (found, type(found)) == (field, type(field))
