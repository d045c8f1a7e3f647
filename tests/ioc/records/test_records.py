"""Records by themselves: readings, alarms, deadbands, fields and what happens when a device is lost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.database.dbfile import DatabaseError
from ioc.records import RecordSet, alarm_status, fields_of
from ioc.records.convert import number_text
from ioc.records.fieldtable import RECORD_TYPES
from ioc.records.put import PutContext, PutRefused
from ioc.server.channel import Channel, resolve
from ioc.server.dbr import encode
from tests.ioc.fakes import Asked
from tests.ioc.records.record_rig import Watch, defn, make

DOUBLE = 6
TIME_DOUBLE = 20
CHAR = 4


@pytest.mark.parametrize("rtyp", RECORD_TYPES)
def test_a_record_of_a_device_starts_undefined_and_invalid_even_with_a_value_in_the_file(rtyp: str) -> None:
    fields = {} if rtyp in ("lsi", "waveform") else {"VAL": "1"}
    record = make(rtyp, **fields)
    assert (record.udf, record.sevr, record.stat) == (True, 3, alarm_status("UDF"))


def test_a_reading_becomes_value_time_and_alarm() -> None:
    record = make("ai", HIHI="10", HHSV="MAJOR")
    record.post(11.0, 1_700_000_000.25)
    assert (record.val, record.stat, record.sevr, record.udf) == (11.0, alarm_status("HIHI"), 2, False)
    assert (record.seconds, record.nanoseconds) == (1_700_000_000 - 631152000, 250_000_000)


def test_a_lost_device_keeps_value_and_time_and_shows_why() -> None:
    record = make("ai")
    record.post(11.0, 1_700_000_000.0)
    stamp = record.seconds
    record.lose(alarm_status("COMM"))
    assert (record.val, record.seconds, record.stat, record.sevr) == (11.0, stamp, alarm_status("COMM"), 3)
    record.post(12.0, 1_700_000_009.0)
    assert (record.val, record.sevr) == (12.0, 0)


@pytest.mark.parametrize(
    ("rtyp", "bad"),
    [("ai", "text"), ("longin", 2**40), ("bi", 2), ("mbbi", 16), ("waveform", 5.0), ("waveform", (1.0,) * 9)],
)
def test_a_reading_of_the_wrong_kind_is_INVALID_and_never_a_value(rtyp: str, bad: object) -> None:
    record = make(rtyp, **({"NELM": "8", "FTVL": "DOUBLE"} if rtyp == "waveform" else {}))
    before = record.val
    record.post(bad, 1_700_000_000.0)  # type: ignore[arg-type]
    assert (record.val, record.stat, record.sevr) == (before, alarm_status("READ"), 3)


def test_NaN_from_a_device_is_undefined_and_INVALID() -> None:
    record = make("ai", HIHI="10", HHSV="MAJOR")
    record.post(5.0, 1.7e9)
    record.post(math.nan, 1.7e9)
    assert (record.udf, record.stat, record.sevr) == (True, alarm_status("UDF"), 3)


def test_a_limit_without_severity_does_not_count() -> None:
    record = make("ai", HIHI="10")
    record.post(-5.0, 1.7e9)
    assert record.sevr == 0
    record.post(11.0, 1.7e9)
    assert record.sevr == 0


def test_the_worse_of_device_and_limits_wins() -> None:
    record = make("ai", HIHI="10", HHSV="MAJOR")
    record.post(11.0, 1.7e9, 1, alarm_status("STATE"))
    assert (record.stat, record.sevr) == (alarm_status("HIHI"), 2)
    record.post(11.0, 1.7e9, 3, alarm_status("READ"))
    assert (record.stat, record.sevr) == (alarm_status("READ"), 3)


def test_a_limit_moved_by_a_client_counts_at_once_even_for_a_scanned_record() -> None:
    record = make("ai", SCAN="1 second", HIHI="10", HHSV="MAJOR")
    record.post(9.0, 1.7e9)
    record.put(fields_of("ai")["HIHI"], 8.0)
    assert (record.stat, record.sevr) == (alarm_status("HIHI"), 2)


def test_a_moved_limit_does_not_hide_that_the_device_is_lost() -> None:
    record = make("ai", HIHI="10", HHSV="MAJOR")
    record.post(9.0, 1.7e9)
    record.lose(alarm_status("TIMEOUT"))
    record.put(fields_of("ai")["HIHI"], 8.0)
    assert (record.stat, record.sevr) == (alarm_status("TIMEOUT"), 3)


def test_nothing_is_posted_when_nothing_changed_beyond_the_deadband() -> None:
    record = make("ai", MDEL="1", ADEL="5")
    record.post(0.0, 1.7e9)
    value, log = Watch(record, 1), Watch(record, 2)
    for reading in (0.5, 1.0, 1.5, 1.5, 2.0, 5.5):
        record.post(reading, 1.7e9)
    assert [seen[0] for seen in value.seen] == [1.5, 5.5]
    assert [seen[0] for seen in log.seen] == [5.5]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=30), st.floats(0, 1e6))
def test_a_monitor_is_never_further_from_the_value_than_the_deadband(readings: list[float], deadband: float) -> None:
    record = make("ai", MDEL=repr(deadband))
    watch = Watch(record, 1)
    last = 0.0
    for reading in readings:
        record.post(reading, 1.7e9)
        last = float(watch.seen[-1][0]) if watch.seen else 0.0  # type: ignore[arg-type]
        assert abs(reading - last) <= deadband


def test_arrays_and_long_strings_of_a_device_are_served_at_full_length() -> None:
    records = RecordSet.build(
        [
            defn("waveform", "W", True, NELM="8", FTVL="DOUBLE"),
            defn("lsi", "L", True, SIZV="64"),
        ]
    )
    records["W"].post((1.0, 2.0), 1.7e9)
    records["L"].post("short", 1.7e9)
    for name, dbr, count in (("W", DOUBLE, 8), ("L.VAL$", CHAR, 64)):
        target = resolve(records, name)
        assert target is not None
        channel = Channel(name, target, 1, 1)
        for asked in (0, count):
            payload, elements = channel.read(dbr, asked)
            assert elements == channel.count == count
            assert len(payload) == count * (8 if dbr == DOUBLE else 1)
    assert records["W"].get("NORD") == 8


def test_limits_in_force_become_control_limits_and_are_reported_as_a_property() -> None:
    record = make("ao")
    watch = Watch(record, 8)
    record.set_drive_limits(0.0, 1500.0)
    record.set_drive_limits(0.0, 1500.0)
    meta = record.meta(fields_of("ao")["VAL"])
    assert (meta.ctrl_low, meta.ctrl_high) == (0.0, 1500.0)
    assert len(watch.seen) == 1


async def test_an_output_of_a_device_takes_a_value_only_through_its_device() -> None:
    record = make("ao")
    spec = fields_of("ao")["VAL"]
    assert record.concerns_device(spec)
    with pytest.raises(PutRefused, match="belongs to a device"):
        record.put(spec, 5.0)
    with pytest.raises(PutRefused, match="not served"):
        await record.put_device(spec, 5.0, PutContext())
    with pytest.raises(PutRefused, match="nan is not a value"):
        record.check_device_put(spec, math.nan)
    assert (record.val, record.udf) == (0.0, True)


def test_processing_an_output_of_a_device_writes_nothing() -> None:
    record = make("ao")
    record.source = source = Asked()
    record.process()
    record.put(fields_of("ao")["HIHI"], 5.0)
    assert not source.put_to
    assert not source.read_from


def test_a_disabled_record_takes_no_readings_alarm() -> None:
    record = make("ai", DISS="MINOR")
    record.post(1.0, 1.7e9)
    record.put(fields_of("ai")["DISA"], 1)
    record.post(2.0, 1.7e9)
    assert (record.stat, record.sevr) == (alarm_status("DISABLE"), 1)
    record.put(fields_of("ai")["DISA"], 0)
    record.post(3.0, 1.7e9)
    assert (record.val, record.sevr) == (3.0, 0)


@pytest.mark.parametrize(
    ("rtyp", "fields", "words"),
    [
        ("ai", {"ZNAM": "x"}, "record R: field ZNAM: ai records have no such field"),
        ("ai", {"LINR": "LINEAR"}, "record R: field LINR: labioc does not implement this field"),
        ("ai", {"HIHI": "high"}, "record R: field HIHI: 'high' is not a number"),
        ("ai", {"HHSV": "BAD"}, "record R: field HHSV: 'BAD' is not one of 'NO_ALARM', 'MINOR'"),
        ("longin", {"HIHI": "1e99"}, "record R: field HIHI: '1e99' is not a number of type LONG"),
        ("bi", {"ZNAM": "x" * 30}, "record R: field ZNAM: "),
        ("ai", {"DTYP": "labioc", "INP": "HV1"}, "record R: field INP: found 'HV1', allowed: @DEVICE SIGNAL"),
        ("ao", {"DTYP": "labioc", "OUT": "@A B", "PINI": "YES"}, "record R: field PINI: an output of a device"),
        ("calc", {}, "record R: no record type 'calc'; known: ai, ao"),
    ],
)
def test_mistakes_in_a_definition_name_file_line_record_and_field(
    rtyp: str, fields: dict[str, str], words: str
) -> None:
    with pytest.raises(DatabaseError) as caught:
        RecordSet.build([defn(rtyp, **fields)])
    assert words in caught.value.errors[0]
    assert caught.value.errors[0].startswith("some.template:")


def test_every_mistake_is_reported_at_once_and_duplicates_are_one() -> None:
    bad = [defn("ai", "A", HIHI="x", LOLO="y"), defn("ai", "B"), defn("ai", "B")]
    with pytest.raises(DatabaseError) as caught:
        RecordSet.build(bad)
    assert len(caught.value.errors) == 3


@given(st.floats(-9e6, 9e6), st.integers(0, 8))
def test_a_number_as_text_is_right_to_half_a_digit(value: float, precision: int) -> None:
    text = number_text(value, precision)
    assert abs(float(text) - value) <= 0.5000001 * 10.0**-precision + math.ulp(value)
    assert len(text.partition(".")[2]) == precision


def test_a_double_is_encoded_the_same_on_the_short_way_as_on_the_long_one() -> None:
    record = make("ai")
    record.post(12.5, 1.7e9 + 0.5)
    fast = encode(record, fields_of("ai")["VAL"], TIME_DOUBLE, 1)
    record.val = 12.5 if type(record.val) is float else record.val
    general = encode(record, fields_of("ai")["MLST"], TIME_DOUBLE, 1)
    assert fast == general


def test_a_disabled_record_holds_its_value_and_says_nothing_old_later() -> None:
    record = make("ai")
    record.post(1.0, 1_700_000_000.0)
    record.put(fields_of("ai")["DISA"], 1)
    record.post(2.0, 1_700_000_001.0)
    assert (record.val, record.seconds, record.stat) == (1.0, 1_700_000_000 - 631152000, alarm_status("DISABLE"))
    watch = Watch(record)
    record.put(fields_of("ai")["DISA"], 0)
    assert [value for value, *_ in watch.seen] == [1.0], "the reading made meanwhile has no time of its own any more"
    record.post(3.0, 1_700_000_002.0)
    assert (record.val, record.stat) == (3.0, 0)


def test_a_record_that_was_disabled_while_its_device_was_lost_or_found_tells_so_afterwards() -> None:
    record = make("ai")
    record.post(1.0, 1_700_000_000.0)
    record.put(fields_of("ai")["DISA"], 1)
    record.lose(alarm_status("COMM"))
    record.put(fields_of("ai")["DISA"], 0)
    assert (record.stat, record.sevr) == (alarm_status("COMM"), 3)
    record.put(fields_of("ai")["DISA"], 1)
    record.post(2.0, 1_700_000_001.0)
    record.source = source = Asked()
    record.put(fields_of("ai")["DISA"], 0)
    assert source.read_from == ["R"]
    assert (record.val, record.sevr) == (1.0, 3), "the old value is not good before it has been read again"


@pytest.mark.parametrize("rtyp", ["ao", "bo", "mbbo", "longout", "stringout"])
def test_a_put_to_a_disabled_output_does_not_get_to_the_device(rtyp: str) -> None:
    record = make(rtyp)
    record.put(fields_of(rtyp)["DISA"], 1)
    for field in ("VAL", "PROC"):
        with pytest.raises(PutRefused, match="R is disabled: DISA equals DISV"):
            record.check_device_put(fields_of(rtyp)[field], 1)
    record.put(fields_of(rtyp)["DISA"], 0)
    record.check_device_put(fields_of(rtyp)["VAL"], 1)


@pytest.mark.parametrize("rtyp", ["ao", "longout"])
@pytest.mark.parametrize("field", ["DRVH", "DRVL"])
def test_limits_in_force_cannot_be_put_where_a_put_would_not_move_them(rtyp: str, field: str) -> None:
    record = make(rtyp)
    record.set_drive_limits(0, 100)
    with pytest.raises(PutRefused, match=f"R.{field} is a limit in force, set by the device and the site file"):
        record.put(fields_of(rtyp)[field], 50)
    assert (record.get("DRVL"), record.get("DRVH")) == (0, 100)
    soft = make(rtyp, device=False)
    soft.put(fields_of(rtyp)[field], 50)
    assert soft.get(field) == 50
