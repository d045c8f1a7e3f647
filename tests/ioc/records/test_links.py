"""Links between records: what the database may say, and a device's records at either end."""

from __future__ import annotations

import pytest

from ioc.database.dbfile import DatabaseError, parse_text
from ioc.records import PutRefused, RecordSet, fields_of
from ioc.records import status as st
from tests.ioc.fakes import Asked

INPUT = 'record(ai, "%s") { field(DTYP, "labioc") field(INP, "@D %s") %s }'


def _records(text: str) -> RecordSet:
    return RecordSet.build(parse_text(text, "test.db").expand({}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('record(ai, "A") { field(FLNK, "NOBODY") }', "'NOBODY' is not a record of this IOC"),
        ('record(ai, "A") { field(SDIS, "A.NOPE") }', "ai records have no field 'NOPE'"),
        ('record(ai, "A") { field(SDIS, "A CP") }', "'CP' is not one of NPP, PP, NMS, MS, MSI, MSS"),
        ('record(ai, "A") { field(INP, "B CP MS") }', "a soft record of labioc has no such link"),
        ('record(ao, "A") { field(DTYP, "Soft Channel") field(OUT, "B") }', "a soft record of labioc has no such link"),
    ],
)
def test_GIVEN_a_link_that_cannot_be_followed_WHEN_it_is_loaded_THEN_file_line_and_reason_are_reported(
    text: str, reason: str
) -> None:
    with pytest.raises(DatabaseError, match=r"test\.db:1: record A: field (FLNK|SDIS|INP|OUT): ") as caught:
        _records(text)
    assert reason in str(caught.value)


def test_GIVEN_a_constant_in_sdis_WHEN_it_is_loaded_THEN_it_is_disa() -> None:
    records = _records('record(ai, "A") { field(SDIS, "1") } record(ai, "B") { field(SDIS, "1") field(DISA, "0") }')
    assert [records[name].get("DISA") for name in "AB"] == [1, 0]


def test_GIVEN_a_link_to_nobody_WHEN_it_is_put_THEN_it_is_refused_and_the_old_one_stays() -> None:
    records = _records('record(ai, "A") { field(FLNK, "B.PROC") } record(ai, "B") {} alias("B", "C")')
    spec = fields_of("ai")["FLNK"]
    with pytest.raises(PutRefused, match=r"A\.FLNK: 'NOBODY' is not a record"):
        records["A"].convert(spec, b"NOBODY")
    records["A"].put(spec, str(records["A"].convert(spec, b"C  NPP")))
    assert records["A"].get("FLNK") == "C"


def test_GIVEN_forward_links_in_a_circle_of_a_device_WHEN_a_reading_comes_THEN_each_is_asked_for_once() -> None:
    records = _records(INPUT % ("A", "A", 'field(FLNK, "B")') + INPUT % ("B", "B", 'field(FLNK, "A")'))
    source = Asked()
    asked = source.read_from
    for record in records.values():
        record.source = source
    records["A"].post(1.0, 1e9)
    assert asked == ["B"]
    scan = fields_of("ai")["SCAN"]
    records["B"].put(scan, 6)
    records["A"].post(2.0, 1e9)
    assert asked == ["B"], "what is scanned by itself is not read for a link"


@pytest.mark.parametrize("circle", [{"A": "A PP"}, {"A": "B PP", "B": "A PP"}])
def test_GIVEN_sdis_in_a_circle_WHEN_a_record_is_processed_THEN_each_is_processed_once(circle: dict[str, str]) -> None:
    records = _records("".join(f'record(longin, "{name}") {{}}' for name in "AB"))
    times = iter(range(1, 9))
    records.time = lambda: float(next(times))
    for name, text in circle.items():
        records[name].put(fields_of("longin")["SDIS"], text)
    records["A"].process()
    assert next(times) == len(circle) + 1


@pytest.mark.parametrize("rtyp", ["stringin", "lsi"])
def test_GIVEN_a_text_of_a_device_that_was_never_read_WHEN_a_field_is_put_THEN_it_stays_undefined(rtyp: str) -> None:
    record = _records(f'record({rtyp}, "A") {{ field(DTYP, "labioc") field(INP, "@D A") }}')["A"]
    record.put(fields_of(rtyp)["DESC"], "New words")
    assert (record.stat, record.sevr) == (st.UDF, st.INVALID)
    record.post("text", 1e9)
    assert (record.stat, record.sevr) == (st.NO_ALARM, st.NO_ALARM)
