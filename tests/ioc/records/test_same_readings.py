"""Short ways of readings: what is quiet, or the same once more, does what the long way does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.records import alarm_status, fields_of
from ioc.records.analog import NumberRecord, differs, exceeds
from tests.ioc.records.record_rig import Watch, make

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
