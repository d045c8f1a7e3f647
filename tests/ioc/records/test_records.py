"""Records by themselves: readings, alarms, deadbands, fields and what happens when a device is lost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.database.dbfile import DatabaseError, RecordDef
from ioc.records import Record, RecordSet, alarm_status, fields_of
from ioc.records.analog import NumberRecord, differs, exceeds
from ioc.records.convert import number_text
from ioc.records.fieldtable import RECORD_TYPES
from ioc.records.put import PutContext, PutRefused
from ioc.server.channel import Channel, resolve
from ioc.server.dbr import encode
from tests.ioc.fakes import Asked

DOUBLE = 6
TIME_DOUBLE = 20
CHAR = 4


def defn(rtyp: str, name: str = "R", device: bool = False, **fields: str) -> RecordDef:
    if device:
        link = "OUT" if rtyp in ("ao", "bo", "mbbo", "longout", "stringout") else "INP"
        fields = {"DTYP": "labioc", link: "@DEV SIG"} | fields
    return RecordDef(name, rtyp, fields, {}, (), "some.template", 7, dict.fromkeys(fields, 8))


def make(rtyp: str, device: bool = True, **fields: str) -> Record:
    return RecordSet.build([defn(rtyp, device=device, **fields)])["R"]


class Watch:
    """A monitor that remembers value, status and severity of each event."""

    def __init__(self, record: Record, mask: int = 5, field: str = "VAL") -> None:
        self.record, self.mask, self.field = record, mask, field
        self.seen: list[tuple[object, int, int]] = []
        record.subscribe(field, self)

    def event(self, mask: int, shared: dict[object, bytes]) -> None:
        self.seen.append((self.record.get(self.field), self.record.stat, self.record.sevr))


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


LIMIT = st.one_of(st.integers(-5, 5).map(float), st.floats())


@given(
    st.dictionaries(st.sampled_from(["HIHI", "HIGH", "LOW", "LOLO", "HYST"]), LIMIT),
    st.dictionaries(st.sampled_from(["HHSV", "HSV", "LSV", "LLSV"]), st.sampled_from(["MINOR", "MAJOR"])),
    st.lists(st.tuples(LIMIT, st.sampled_from(["", "HIHI", "LOW", "HYST"]), LIMIT), max_size=8),
)
def test_the_short_way_of_a_quiet_value_alarms_as_the_long_one_does(
    limits: dict[str, float], severities: dict[str, str], course: list[tuple[float, str, float]]
):
    fields = {name: str(limit) for name, limit in limits.items()} | severities
    short, long = make("ai", **fields), make("ai", **fields)
    assert isinstance(long, NumberRecord)
    for value, tuned, limit in course:
        for record in (short, long):
            if tuned:
                record.put(fields_of("ai")[tuned], limit)
            if record is long:
                record._quiet = math.inf, -math.inf  # nothing lies between
            record.post(value, 1.7e9)
        assert [short.get(name) for name in ("STAT", "SEVR")] == [long.get(name) for name in ("STAT", "SEVR")]
        assert repr(short.get("LALM")) == repr(long.get("LALM"))


TUNED = {
    "ai": ["HIHI", "LOLO", "HYST", "HHSV", "LLSV", "MDEL", "ADEL"],
    "longin": ["HIGH", "LOW", "HYST", "HSV", "LSV", "MDEL"],
    "bi": ["ZSV", "OSV", "COSV"],
    "mbbo": ["ZRSV", "ONSV", "COSV"],
    "stringin": ["MPST", "APST"],
    "lsi": ["MPST", "APST"],
    "waveform": ["MPST", "APST"],
    "longout": ["DRVH", "HYST", "HHSV", "LLSV"],  # soft
}
READING = st.tuples(
    st.sampled_from([0, 1, 1, 1.0, True, -1, 2.5, math.nan, "x", "x" * 40, "", (1.0, 2.0), None]),
    st.sampled_from([0, 0, 1, 3]),
    st.integers(0, 9),
)


@pytest.mark.parametrize("rtyp", TUNED)
@given(data=st.data())
def test_the_same_reading_once_more_does_what_it_did_the_first_time(rtyp: str, data: st.DataObject):
    others = ["UDF", "DISA", "DISV", "ACKT", "lose", "acknowledge", "process"]
    acts = st.one_of(READING, st.tuples(st.sampled_from(TUNED[rtyp] + others), st.sampled_from([0, 1, -1])))
    course = data.draw(st.lists(acts, max_size=12))
    short, long = (make(rtyp, device=rtyp != "longout") for _ in range(2))
    short.database.time = long.database.time = lambda: 1.7e9
    watched = [[Watch(record, 15, field) for field in ("VAL", "SEVR", "STAT", "ACKS")] for record in (short, long)]
    for act in course:
        for record in (short, long):
            if len(act) == 3:
                value, severity, seconds = act
                record.post(value, 1.7e9 + seconds, severity, alarm_status("STATE") if severity else 0)
            elif act[0] == "lose":
                record.lose(alarm_status("COMM"))
            elif act[0] == "acknowledge":
                record.acknowledge(3)
            elif act[0] == "process":
                record.process()
            elif act[0] == "ACKT":
                record.acknowledge_transient(bool(act[1]))
            elif act[1] >= 0 or act[0] in ("MDEL", "ADEL"):
                record.put(fields_of(rtyp)[act[0]], act[1])
            if record is long:
                record._settled = False
        for field in ("VAL", "STAT", "SEVR", "ACKS", "UDF", "LALM", "MLST"):
            if field in fields_of(rtyp):
                assert repr(short.get(field)) == repr(long.get(field)), field
        assert (short.seconds, short.nanoseconds) == (long.seconds, long.nanoseconds)
    assert repr([one.seen for one in watched[0]]) == repr([one.seen for one in watched[1]])


def test_the_same_reading_counts_again_when_a_soft_record_was_processed_meanwhile() -> None:
    record = make("ao", device=False, DRVL="0", DRVH="8")
    record.post(10.0, 1.7e9)
    record.process()
    assert record.val == 8.0
    record.post(10.0, 1.7e9)
    assert record.val == 10.0


def test_a_number_is_not_the_same_reading_of_a_text_because_it_is_equal_to_the_one_before() -> None:
    record = make("stringin")
    record.post(5, 1.7e9)
    record.post(5.0, 1.7e9)
    assert record.val == "5.0"


def test_with_hysteresis_the_same_reading_is_judged_by_the_alarm_that_it_has_raised_itself() -> None:
    record = make("ai", HIHI="3", LOLO="3", HHSV="MAJOR", LLSV="MINOR", HYST="1")
    record.post(2.5, 1.7e9)
    assert (record.stat, record.sevr) == (alarm_status("LOLO"), 1)
    record.post(2.5, 1.7e9)
    assert (record.stat, record.sevr) == (alarm_status("HIHI"), 2)


def test_a_reading_whose_event_has_failed_is_posted_when_it_comes_again() -> None:
    record = make("ai")
    watch, fails = Watch(record), [False, True]

    class Failing:
        mask = 15

        def event(self, mask: int, shared: dict[object, bytes]) -> None:
            if fails.pop():
                raise RuntimeError("once")

    record.subscribe("STAT", Failing())
    with pytest.raises(RuntimeError):
        record.post(5.0, 1.7e9)
    assert watch.seen == []
    record.post(5.0, 1.7e9)
    assert [value for value, *_ in watch.seen] == [5.0]


@given(st.floats(), st.floats())
def test_what_differs_is_what_exceeds_no_deadband(old: float, new: float):
    assert differs(old, new) == exceeds(old, new, 0.0)
