"""The rules for PVs, checked over everything that the example sites serve."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devices.registry import FAMILIES
from ioc.database.dbfile import RecordDef
from ioc.database.support import SERVER_SIGNALS, STATUS_SIGNALS, parse_link
from ioc.records import RecordSet
from ioc.site.config import load_site
from ioc.site.contract import OUTPUTS, SEVERITY_FIELDS, contract_mistakes
from ioc.site.expansion import Database, expand
from ioc.site.templates import family_records, labels

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.toml"))

UNITS = {"V", "uA", "V/s", "s", "Mohm", "ms", "MB", "C", "C/min", "%", "%/s", "1/s", "A", "mV"}
WITHOUT_UNIT = ":COOLGAIN"


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda path: path.name)
def database(request: pytest.FixtureRequest) -> Database:
    return expand(load_site(request.param))


@pytest.fixture(scope="module")
def records(database: Database) -> list[RecordDef]:
    return list(database.records.values())


def of_family(family: str) -> dict[str, RecordDef]:
    """The records of a device with one channel by the name of their signal."""
    device, channel = family_records(family)
    return {suffix.replace(":", "."): record for suffix, record in device.items()} | {
        f"CH00.{suffix.replace(':', '.')}": record for suffix, record in channel.items()
    }


def test_names_and_aliases_keep_the_form(database: Database):
    for name in (*database.records, *database.aliases):
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*(:_?[A-Z0-9][A-Z0-9_]*)+", name)
        assert len(name) <= 60


def test_the_signal_of_a_link_is_the_suffix_of_the_name(records: list[RecordDef]):
    for record in records:
        field = "OUT" if record.rtyp in OUTPUTS else "INP"
        device, signal = parse_link(record.fields[field])
        assert record.name == f"LAB:{device}:{signal.replace('.', ':')}"
        assert record.fields["DTYP"] == "labioc"


def test_descriptions_are_short_and_start_with_a_capital(records: list[RecordDef]):
    for record in records:
        text = record.fields["DESC"]
        assert 1 <= len(text) <= 40, record.name
        assert text.isascii(), record.name
        assert text[0].isupper(), record.name
        assert not text.endswith("."), record.name


def test_guidance_is_one_sentence_without_a_full_stop(records: list[RecordDef]):
    for record in records:
        text = record.info.get("guidance", "None")
        assert text.isascii(), record.name
        assert text[0].isupper() or text[0].isdigit(), record.name
        assert not text.endswith("."), record.name


def test_numbers_have_a_unit_and_a_precision(records: list[RecordDef]):
    for record in records:
        if record.rtyp in {"ai", "ao"}:
            unit = record.fields.get("EGU", "")
            assert unit in UNITS or WITHOUT_UNIT in record.name, record.name
            assert record.fields["PREC"].isdigit(), record.name
            assert len(unit) <= 7, record.name


def test_every_setting_has_a_readback_and_limits(database: Database):
    for record in database.records.values():
        local = {"DISABLE", "ARMED", "ACCESS", "GO"}
        if record.rtyp not in OUTPUTS or record.name.endswith(":CMD") or record.name.split(":")[-1] in local:
            continue
        if ":REC:" in record.name:
            continue
        readback = database.records[f"{record.name}:RBV"]
        assert labels(readback) == labels(record)
        assert readback.fields.get("EGU") == record.fields.get("EGU")
        of_iseg = "LAB:ISEG" in record.name  # whose limits are control limits, and PVs where the table of PVs says so
        if record.rtyp == "ao" and not of_iseg:
            for limit in ("HI", "LO"):
                assert database.records[f"{record.name}:{limit}"].fields.get("EGU") == record.fields.get("EGU")


def test_settings_and_commands_are_written_only_by_a_put(records: list[RecordDef]):
    for record in records:
        if record.rtyp in OUTPUTS:
            assert record.fields["SCAN"] == "Passive", record.name
            assert not {"PINI", "DOL", "OMSL", "VAL"} & record.fields.keys(), record.name


def test_only_outputs_may_be_written(records: list[RecordDef]):
    groups = {"R": "READONLY", "O": "OPERATOR", "E": "EXPERT"}
    for record in records:
        access = record.info["access"]
        assert (access == "R") == (record.rtyp not in OUTPUTS), record.name
        assert record.fields["ASG"] == groups[access], record.name


def test_archiving_is_written_in_one_form_and_deadbands_agree(records: list[RecordDef]):
    for record in records:
        form = re.fullmatch(r"monitor( (?P<number>[0-9.]+)(?P<percent>%?))?", record.info.get("archive", "monitor"))
        assert form is not None, record.name
        if form["number"] and not form["percent"] and record.name != "LAB:IOC:MEM_USED":
            assert record.fields["ADEL"] == form["number"], record.name
        if record.name.endswith(":CMD"):
            assert "archive" not in record.info, record.name


def test_what_can_alarm_by_itself_tells_the_operator_what_to_do(records: list[RecordDef]):
    for record in records:
        if record.name.startswith("LAB:HV2"):
            continue  # its alarms are the site's own
        if any(record.fields.get(field, "NO_ALARM") != "NO_ALARM" for field in SEVERITY_FIELDS):
            assert record.info.get("guidance"), record.name


@pytest.mark.parametrize("family", FAMILIES)
def test_records_of_a_family_keep_the_contract_with_its_driver(family: str):
    assert contract_mistakes(FAMILIES[family]) == []


def test_server_and_template_name_the_same_signals(database: Database):
    ours = {name.removeprefix("LAB:IOC:").replace(":", ".") for name in database.records if ":IOC:" in name}
    assert ours == SERVER_SIGNALS


def test_what_the_server_knows_of_a_device_is_posted_and_never_scanned():
    known = of_family("caen-dt55xx")
    for name in STATUS_SIGNALS - {"DISABLE"}:
        assert known[name].fields["SCAN"] == "I/O Intr"


def test_every_record_can_be_made(records: list[RecordDef]):
    assert len(RecordSet.build(records)) >= len(records)
