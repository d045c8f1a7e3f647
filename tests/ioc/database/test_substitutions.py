"""Substitution files and macros of files: what msi and dbLoadTemplate of base make of them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.database.dbfile import DatabaseError, RecordDef, parse_template, parse_text
from ioc.database.macros import resolve, split_text
from tests.ioc.database.test_dbfile import dumped_by_base

MACROS = {"P": "LAB", "DEV": "D1"}
INNER = """record(ai, "$(P):$(NAME)") { field(DESC, "$(DESC=none)") field(EGU, "$(EGU=)") info(by, "$(BY=-)") }\n"""

# Each becomes the file outer.substitutions beside inner.template; base reads all of them.
TABLES = {
    "a pattern": 'file "inner.template" { pattern {NAME, DESC} {A, "one, two"} {B, \'three\'} {"C" "x=y"} }',
    "without commas": "file inner.template {\npattern { NAME EGU }\n# a comment\n{A V}\n# another\n{ B mV }\n}",
    "fewer values than columns": "file inner.template { pattern {NAME, DESC, EGU} {A} {B, text} {C, , } }",
    "definitions": 'file inner.template { {NAME=A, DESC="one"} {NAME="B",EGU=V,} }',
    "globals": """
global {BY="all-$(NAME)", DESC="of $(P)"}
file inner.template { pattern {NAME} {A} global {DESC=later} {B} }
global {EGU=V}
file inner.template { {NAME=C} global {BY=end} {NAME=D, DESC=own} }
file inner.template { {NAME=E} }""",
    "macros in values": 'file inner.template { pattern {NAME, N, DESC} {"X$(N)", 1, "$(Q=def) of $(P)"} {"Y$(N)", 2} }',
    "nothing": "file inner.template {\npattern {NAME}\n}\nfile inner.template { {NAME=A} }\nglobal {\n}\n",
    "the macros from outside": 'file inner.template { {NAME=A} {NAME=B, P=OTHER} {NAME=C, EGU="$(DEV)"} }',
}
# What only msi knows: substitute in a template, which lasts to the end of the file and of what includes it.
SUBSTITUTE = {
    "outer.template": """substitute "NAME=A, DESC='one, two',EGU=V"
include "inner.template"
substitute "NAME=B,DESC=all of $(P) $(EGU)"
include "inner.template"
include "more.template"
record(ai, "$(P):$(NAME):END") { field(DESC, "$(DESC)") }
""",
    "more.template": 'substitute "NAME=C$(N=0)"\ninclude "inner.template"\n',
    "outer.substitutions": "file outer.template { pattern {EGU, N} {mV, 1} {A, 2} }\n",
}


def write(folder: Path, **files: str) -> None:
    (folder / "inner.template").write_text(INNER)
    for name, text in files.items():
        (folder / name).write_text(text)


def ours(path: Path, **macros: str) -> dict[str, RecordDef]:
    return {record.name: record for record in parse_template(path).expand(MACROS | macros)}


def errors(text: str, folder: Path, name: str = "outer.substitutions", **macros: str) -> list[str]:
    write(folder, **{name: text})
    with pytest.raises(DatabaseError) as caught:
        ours(folder / name, **macros)
    return [error.replace(f"{folder}/", "") for error in caught.value.errors]


def by_msi(msi: str, folder: Path, *arguments: str) -> dict[str, RecordDef]:
    """What the macro tool of base makes of a file, read as a file without macros."""
    macros = ",".join(f"{name}={value}" for name, value in MACROS.items())
    done = subprocess.run(
        [msi, "-V", "-M", macros, *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return {record.name: record for record in parse_text(done.stdout, "msi.db").expand({})}


def contents(records: dict[str, RecordDef]) -> dict[str, tuple[str, dict[str, str], dict[str, str]]]:
    """Without empty fields, which base leaves out of its dump, and DTYP, which it adds."""
    return {
        name: (
            record.rtyp,
            {key: value for key, value in record.fields.items() if value and key != "DTYP"},
            record.info,
        )
        for name, record in records.items()
    }


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_base_reads_substitution_files_as_we_do(table: str, tmp_path: Path):
    write(tmp_path, **{"outer.substitutions": table})
    read = ours(tmp_path / "outer.substitutions")
    assert read
    assert contents(read) == contents(dumped_by_base(tmp_path / "outer.substitutions", tmp_path, MACROS))


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_msi_expands_substitution_files_as_we_do(table: str, tmp_path: Path):
    msi = shutil.which("msi")
    if msi is None:
        pytest.skip("no msi of EPICS base in the PATH")
    write(tmp_path, **{"outer.substitutions": table})
    assert contents(by_msi(msi, tmp_path, "-S", "outer.substitutions")) == contents(
        ours(tmp_path / "outer.substitutions")
    )


def test_substitute_lasts_to_the_end_of_its_file_and_of_what_includes_it(tmp_path: Path):
    write(tmp_path, **SUBSTITUTE)
    read = ours(tmp_path / "outer.template", EGU="unused")
    assert {name: (record.fields["DESC"], record.fields.get("EGU")) for name, record in read.items()} == {
        "LAB:A": ("one, two", "V"),
        "LAB:B": ("all of LAB V", "V"),
        "LAB:C0": ("all of LAB V", "V"),
        "LAB:C0:END": ("all of LAB V", None),
    }
    msi = shutil.which("msi")
    if msi is None:
        pytest.skip("no msi of EPICS base in the PATH")
    assert contents(by_msi(msi, tmp_path, "outer.template")) == contents(read)


def test_a_macro_without_a_value_is_defined_no_more(tmp_path: Path):
    include = '\ninclude "inner.template"\n'
    text = f'substitute "NAME=A,DESC=one"{include}substitute "DESC,NAME=B"{include}'
    write(tmp_path, **{"outer.template": text})
    read = ours(tmp_path / "outer.template")
    assert {name: record.fields["DESC"] for name, record in read.items()} == {"LAB:A": "one", "LAB:B": "none"}
    assert errors('\nsubstitute "NAME,D.E"', tmp_path, "outer.template") == [
        "outer.template:2: macro D.E: a name is letters, digits, _ and -"
    ]


def test_what_a_row_substitutes_is_forgotten_in_the_next(tmp_path: Path):
    text = 'record(ai, "$(P):$(N):$(LATE=first)")\nsubstitute "LATE=second"\nrecord(ai, "$(P):$(N):$(LATE)")\n'
    write(tmp_path, **{"late.template": text, "outer.substitutions": "file late.template {pattern {N} {1} {2}}"})
    assert list(ours(tmp_path / "outer.substitutions")) == [
        "LAB:1:first", "LAB:1:second", "LAB:2:first", "LAB:2:second",
    ]  # fmt: skip


def test_the_name_of_an_included_file_may_hold_macros(tmp_path: Path):
    write(tmp_path, **{"outer.template": 'substitute "NAME=X"\ninclude "$(KIND=inner).template"\n'})
    assert list(ours(tmp_path / "outer.template")) == ["LAB:X"]
    assert errors('include "$(KIND).template"', tmp_path, "outer.template") == [
        "outer.template:1: name of the file: macro KIND is not defined"
    ]
    (found,) = errors('\ninclude "$(KIND).template"', tmp_path, "outer.template", KIND="gone")
    assert found.startswith("gone.template: cannot be read: ")
    assert errors('include "$(KIND).template"', tmp_path, "outer.template", KIND="outer") == [
        "outer.template:1: outer.template is being read already"
    ]


def test_other_folders_are_searched_after_that_of_the_file(tmp_path: Path):
    near, far = tmp_path / "near", tmp_path / "far"
    for folder in (near, far):
        folder.mkdir()
    write(far)
    (near / "outer.substitutions").write_text("file inner.template { {NAME=A} }")
    template = parse_template(near / "outer.substitutions", [far])
    assert [record.file for record in template.expand(MACROS)] == [str(far / "inner.template")]
    write(near)
    template = parse_template(near / "outer.substitutions", [far])
    assert [record.file for record in template.expand(MACROS)] == [str(near / "inner.template")]


def test_every_mistake_in_a_substitution_file_is_reported_with_its_place(tmp_path: Path):
    text = """file inner.template { pattern {NAME, DESC} {A, B, C} }
file inner.template { pattern {NAME, D.E} {A} }
file inner.template { {NAME="a\\\\b"} {NAME="$(X"} }
file gone.template { {NAME=A} }
"""
    found = errors(text, tmp_path)
    assert found[:4] == [
        "outer.substitutions:1: found 3 values, allowed: at most 2, one for each column",
        "outer.substitutions:2: macro D.E: a name is letters, digits, _ and -",
        "outer.substitutions:3: 'a\\\\\\\\b' cannot stand inside a database string",
        "outer.substitutions:3: macro reference in '$(X' is not closed",
    ]
    assert found[4].startswith("gone.template: cannot be read: ")
    assert errors("file inner.template { NAME=A }\nglobal { A, B }\nfile { }", tmp_path) == [
        "outer.substitutions:1: column 23: found 'NAME', expected '{' or '}' or global or pattern",
        "outer.substitutions:2: column 11: found ',', expected '='",
        "outer.substitutions:3: column 6: found '{', expected a quoted string or a word",
    ]
    assert errors('substitute "A B"', tmp_path, "outer.template") == [
        "outer.template:1: substitute: found 'A B', allowed: NAME=VALUE, NAME='VALUE, WITH COMMA'"
    ]


def test_a_mistake_in_a_row_names_the_row_and_the_template(tmp_path: Path):
    text = "file inner.template {\n{NAME=A}\n{NAME=A}\n{DESC=B}\n{NAME=C,DESC=$(NAME2)} }\n"
    assert errors(text, tmp_path) == [
        "outer.substitutions:3: inner.template:1: record LAB:A: already defined in inner.template:1",
        "outer.substitutions:4: inner.template:1: record LAB:$(NAME): macro NAME is not defined",
        "outer.substitutions:5: inner.template:1: record LAB:C: field DESC: macro NAME2 is not defined",
    ]


def test_a_macro_defined_by_itself_is_not_defined(tmp_path: Path):
    assert errors('file inner.template { {NAME=A, DESC="$(DESC)2"} }', tmp_path) == [
        "outer.substitutions:1: inner.template:1: record LAB:A: field DESC: macro DESC is not defined"
    ]
    assert errors('file inner.template { {NAME=A, DESC="$(EGU)", EGU="$(DESC)"} }', tmp_path)[0].endswith(
        "field DESC: macro DESC is not defined"
    )


def test_values_stand_for_their_macros_where_they_are_used():
    macros = {"A": split_text("<$(B)>"), "B": split_text("$(C=c)$(D)"), "D": "d"}
    assert resolve(split_text("$(A)$(D)"), macros) == "<cd>d"


@given(st.text(st.sampled_from('file "a"{pattern,global}=$()N \n\\#\''), max_size=60))
def test_any_text_gives_records_or_a_database_error(text: str):
    with contextlib.suppress(DatabaseError):
        parse_text(text, "x.substitutions").expand({})


@given(st.text(st.sampled_from("AB=,'\\$() "), max_size=20))
def test_any_text_of_a_substitute_gives_macros_or_a_database_error(text: str):
    with contextlib.suppress(DatabaseError):
        parse_text(f'substitute "{text}"', "x.db").expand({})
