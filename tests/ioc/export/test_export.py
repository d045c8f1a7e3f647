"""The expanded database as a .db file, read by our parser and by the C softIoc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ioc.database.dbfile import RecordDef, parse_text
from ioc.export.db import write_db
from ioc.site.config import load_site
from ioc.site.expansion import Database, expand
from tests.machines import needs
from tests.softioc import free_port

ROOT = Path(__file__).resolve().parents[3]

_SOFTIOC = """
import json, sys
from epicscorelibs.ioc import ioc, start_ioc
db, commands = json.loads(sys.argv[1])
start_ioc(database=db)
sys.stdout.flush()
for command in commands:
    ioc(command)
"""

_USUAL = ("IOC ", "Starting iocInit", "#", "iocRun: All initialization complete")
"""How the lines begin that a softIoc prints without a complaint."""


@pytest.fixture(scope="module")
def database() -> Database:
    return expand(load_site(ROOT / "examples" / "site.toml"))


def softioc(db: Path, commands: list[str]) -> list[str]:
    """Load a file into the C softIoc, start it, and return what it prints to these commands."""
    needs("epicscorelibs")
    done = subprocess.run(
        [sys.executable, "-c", _SOFTIOC, json.dumps([str(db), commands])],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "EPICS_CA_SERVER_PORT": str(free_port())},
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return [line.strip() for line in done.stdout.splitlines() if line and not line.startswith(_USUAL)]


def comparable(record: RecordDef) -> RecordDef:
    return replace(record, file="", line=0, field_lines={})


def test_the_export_says_the_same_as_the_templates(database: Database):
    parsed = parse_text(write_db(database.records.values()), "x.db").expand({})
    assert [comparable(record) for record in parsed] == [comparable(r) for r in database.records.values()]


def test_the_soft_export_has_no_links_and_keeps_everything_else(database: Database):
    soft = parse_text(write_db(database.records.values(), soft=True), "x.db").expand({})
    for record, original in zip(soft, database.records.values(), strict=True):
        assert record.fields["DTYP"] == "Soft Channel"
        assert record.fields["SCAN"] == "Passive"
        assert not {"INP", "OUT"} & record.fields.keys()
        changed = {"DTYP", "SCAN", "INP", "OUT"}
        rest = {name: value for name, value in original.fields.items() if name not in changed}
        assert record.fields.items() >= rest.items()
        assert (record.info, record.aliases) == (original.info, original.aliases)


def test_records_that_are_soft_already_stay_as_they_are():
    fields = {"INP": "LAB:OTHER CP", "SCAN": "1 second"}
    record = RecordDef("LAB:X", "ai", fields, {}, (), "x.db", 1, {})
    assert parse_text(write_db([record], soft=True), "x.db").expand({})[0].fields == fields


def test_the_c_softioc_loads_the_soft_export_without_a_complaint(database: Database, tmp_path: Path):
    path = tmp_path / "soft.db"
    path.write_text(write_db(database.records.values(), soft=True))
    asked = {
        f"{name}.{field}": value
        for name in ("LAB:HV1:CH00:VMON", "LAB:HV1:CH00:STATE", "LAB:HV1:COMM", "LAB:HV2:CH01:IMON", "LAB:IOC:LAG")
        for field, value in database.records[name].fields.items()
        if field not in {"DTYP", "SCAN", "INP"}
    }
    asked["CALO:PMT07:VMON.HIHI"] = "1500"
    printed = softioc(path, ["dbl", *(f"dbgf {field}" for field in asked)])
    names, values = printed[: -len(asked)], printed[-len(asked) :]
    assert sorted(names) == sorted([*database.records, *database.aliases])
    for (field, value), line in zip(asked.items(), values, strict=True):
        # "DBF_DOUBLE: 1500", "DBF_SHORT: 1 = 0x1" or 'DBF_STRING: "MAJOR"'
        assert line.split(":", 1)[1].split(" = ")[0].strip().strip('"') == value, field
