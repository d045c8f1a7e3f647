"""Parsing and expanding EPICS database files."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.database.dbfile import DatabaseError, RecordDef, parse_template, parse_text
from ioc.database.macros import UndefinedError, quote, resolve, split_text
from ioc.export.db import write_db
from ioc.site.templates import FOLDER
from tests.machines import needs

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
NAMES = st.text(st.sampled_from("ABCXYZ019_:"), min_size=1, max_size=8)


def records(text: str, **macros: str) -> list[RecordDef]:
    return parse_text(text, "x.db").expand(macros)


def errors(text: str, **macros: str) -> list[str]:
    with pytest.raises(DatabaseError) as caught:
        records(text, **macros)
    return caught.value.errors


def test_a_record_with_everything():
    text = """# a comment with $(UNDEFINED) and a " quote
record(ai, "$(P):X") {   # another one
    field(DESC, "A \\"quoted\\" word # no comment")
    field("HIHI", 12.5)
    info(archive, "monitor 0.5")
    alias("$(P):Y")
}
grecord("bo", LAB:Z)
alias("LAB:Z", "LAB:ZZ")
"""
    first, second = records(text, P="LAB")
    assert first == RecordDef(
        name="LAB:X",
        rtyp="ai",
        fields={"DESC": 'A "quoted" word # no comment', "HIHI": "12.5"},
        info={"archive": "monitor 0.5"},
        aliases=("LAB:Y",),
        file="x.db",
        line=2,
        field_lines={"DESC": 3, "HIHI": 4},
    )
    assert (second.name, second.rtyp, second.aliases) == ("LAB:Z", "bo", ("LAB:ZZ",))


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (r"a\nb\tc", "a\nb\tc"),
        (r"\\ \" \' \?", "\\ \" ' ?"),
        (r"\x41\x7e\x20x", "A~ x"),
        (r"\$(P) \${P}", "$(P) ${P}"),
        ("5 $ and $x", "5 $ and $x"),
    ],
)
def test_escapes_mean_what_they_mean_in_base(raw: str, value: str):
    assert records(f'record(ai, "X") {{ field(DESC, "{raw}") }}', P="no")[0].fields["DESC"] == value


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("$(P)", "LAB"),
        ("${P}", "LAB"),
        ("a$(P)b${P}c", "aLABbLABc"),
        ("$(NONE=)", ""),
        ("$(NONE=a (b} c)", "a (b} c"),
        ("${NONE=a (b) c}", "a (b) c"),
        ("$(NONE=$(ALSO=$(P)))", "LAB"),
        ("$(P=unused)", "LAB"),
        ("$(P$(N))", "second"),
        ("$(EMPTY=default)", ""),
        (r"$(NONE=a\)b)", "a)b"),
        ("$(P)=$(P),{$(P)}", "LAB=LAB,{LAB}"),
    ],
)
def test_macros_are_replaced(raw: str, value: str):
    assert resolve(split_text(raw), {"P": "LAB", "N": "2", "P2": "second", "EMPTY": ""}) == value


@pytest.mark.parametrize("raw", [r"\1", r"\x4", "a\tb", "a\nb"])
def test_strings_that_base_refuses_are_syntax_errors(raw: str):
    assert "x.db:1: column 28" in errors(f'record(ai, "X") {{ field(A, "{raw}") }}')[0]


@pytest.mark.parametrize("raw", ["$(", "$(A", "${A)", "$()", "$(A.B)", "$(A,B=1)", "$(A=1,B=2)", "$(A=$(B)"])
def test_broken_macros_are_refused(raw: str):
    with pytest.raises(ValueError, match="macro reference"):
        split_text(raw)


def test_an_undefined_macro_is_named():
    with pytest.raises(UndefinedError, match=r"^B2$"):
        resolve(split_text("$(A=$(B$(N)))"), {"N": "2"})


def test_bare_words_may_hold_macros():
    (record,) = records("record($(T), $(P):X.1) { field(VAL, $(V=$(W=7))) }", T="ao", P="LAB")
    assert (record.rtyp, record.name, record.fields) == ("ao", "LAB:X.1", {"VAL": "7"})


def test_a_star_appends_to_an_earlier_record():
    text = 'record(ai, "X") { field(A, "1") field(B, "1") }\nrecord("*", "X") { field(B, "2") info(i, "j") alias("Y") }'
    (record,) = records(text)
    assert record.fields == {"A": "1", "B": "2"}
    assert (record.rtyp, record.info, record.aliases) == ("ai", {"i": "j"}, ("Y",))
    assert record.field_lines == {"A": 1, "B": 2}


def test_the_same_template_serves_many_channels():
    template = parse_text('record(ai, "$(P):CH$(CH)") { field(INP, "@HV CH$(CH)") field(EGU, "V") }', "x.db")
    expanded = [record for n in range(3) for record in template.expand({"P": "LAB", "CH": f"{n:02d}"})]
    assert [record.name for record in expanded] == ["LAB:CH00", "LAB:CH01", "LAB:CH02"]
    assert [record.fields["INP"] for record in expanded] == ["@HV CH00", "@HV CH01", "@HV CH02"]


def test_every_syntax_error_is_reported_with_its_place():
    text = (
        'record(ai "X") {\n}\nrecord(ai, "Y") { feld(A, "B") }\nrecord(ai, "Z") { field(A, "open) }\nrecord(ai, "W") {'
    )
    found = errors(text)
    assert found == [
        "x.db:1: column 11: found '\"X\"', expected ','",
        "x.db:3: column 19: found 'feld', expected '}' or alias or field or info",
        "x.db:4: column 28: found '\"', expected a quoted string or a word",
        "x.db:5: found end of file, expected '}' or alias or field or info",
    ]


def test_every_other_error_is_reported_with_its_place():
    text = """record(ai, "$(P):A") { field(DESC, "$(D)")
 field(EGU, "$(E)") info(i, "$(I)") alias("$(L)") }
record(ai, "B") { }
record(bi, "B") { }
record("*", "C") { }
alias("D", "E")
alias("B", "$(F)")
"""
    assert errors(text, P="LAB") == [
        "x.db:1: record LAB:A: field DESC: macro D is not defined",
        "x.db:2: record LAB:A: field EGU: macro E is not defined",
        "x.db:1: record LAB:A: info i: macro I is not defined",
        "x.db:1: record LAB:A: alias: macro L is not defined",
        "x.db:4: record B: already defined in x.db:3",
        "x.db:5: record C: nothing to append to",
        "x.db:6: record D: no such record to give the alias E",
        "x.db:7: alias: macro F is not defined",
    ]


def test_a_field_given_twice_and_a_broken_macro_are_errors():
    text = 'record(ai, "A") { field(B, "1")\nfield(B, "2") }\nrecord(ai, "$(A")'
    assert errors(text) == [
        "x.db:2: field B: given twice in one record",
        "x.db:3: macro reference in '$(A' is not closed",
    ]


@pytest.mark.parametrize("word", ["field", "info", "record", "link"])
def test_a_word_that_base_takes_for_a_statement_must_stand_in_quotes(word: str):
    assert errors(f'record(ai, A) {{ info({word}, "x") field({word}, 1) }}\nrecord({word}, B)\nrecord(ai, {word})') == [
        f"x.db:1: info {word}: this word must stand in quotes",
        f"x.db:1: field {word}: this word must stand in quotes",
        f"x.db:2: {word} must stand in quotes here",
        f"x.db:3: {word} must stand in quotes here",
    ]
    assert records(f'record(ai, "{word}") {{ info("{word}", "x") }}')[0].info == {word: "x"}


def test_a_macro_value_cannot_break_out_of_its_string():
    assert errors('record(ai, "$(P)")', P='X") {') == ["x.db: macro P: 'X\") {' cannot stand inside a database string"]


def test_includes_are_found_next_to_the_file(tmp_path: Path):
    (tmp_path / "inner.db").write_text('record(ai, "$(P):INNER")')
    outer = tmp_path / "outer.db"
    outer.write_text('include "inner.db"\nrecord(ai, "$(P):OUTER")')
    assert [(r.name, Path(r.file).name, r.line) for r in parse_template(outer).expand({"P": "LAB"})] == [
        ("LAB:INNER", "inner.db", 1),
        ("LAB:OUTER", "outer.db", 2),
    ]


def test_a_missing_file_and_an_endless_include_are_errors(tmp_path: Path):
    loop, back = tmp_path / "loop.db", tmp_path / "back.db"
    loop.write_text('include "back.db"\ninclude "gone.db"')
    back.write_text('\ninclude "loop.db"')
    with pytest.raises(DatabaseError) as caught:
        parse_template(loop)
    assert caught.value.errors[0] == f"{back}:2: loop.db is being read already"
    assert caught.value.errors[1].startswith(f"{tmp_path / 'gone.db'}: cannot be read: ")


@given(st.lists(TEXT, max_size=4), TEXT, TEXT)
def test_any_text_survives_export_and_parsing(values: list[str], name: str, alias: str):
    words = {f"F{n}": value for n, value in enumerate(values)}
    record = RecordDef(name, "ai", words, words, (alias,), "x.db", 1, {})
    (parsed,) = parse_text(write_db([record]), "x.db").expand({})
    assert (parsed.name, parsed.rtyp, parsed.fields, parsed.info, parsed.aliases) == (
        name,
        "ai",
        words,
        words,
        (alias,),
    )


@given(TEXT)
def test_quoting_is_undone_by_parsing(text: str):
    assert resolve(split_text(quote(text)[1:-1]), {}) == text


@given(st.text(st.sampled_from('record(ai,"X"){field$=} \n\\#*'), max_size=60))
def test_any_text_gives_records_or_a_database_error(text: str):
    with contextlib.suppress(DatabaseError):
        records(text)


@given(st.dictionaries(NAMES, st.text(st.sampled_from("abc019 .,:()"), max_size=10), max_size=4))
def test_macros_stand_for_their_value_as_it_is(macros: dict[str, str]):
    macros = {name.replace(":", "_"): value for name, value in macros.items()}
    raw = "|".join(f"$({name})" for name in macros)
    assert resolve(split_text(raw), macros) == "|".join(macros.values())


_DUMP = """
import json, sys
from epicscorelibs.ioc import DEFAULT_DBD_PATH, dbLoadDatabase, dbLoadRecords, ioc, iocshRegisterCommon, pdbbase
from epicscorelibs.ioc import registerRecordDeviceDriver
dbd, db, macros = json.loads(sys.argv[1])
iocshRegisterCommon()
assert not dbLoadDatabase(b"base.dbd", DEFAULT_DBD_PATH.encode(), None)
registerRecordDeviceDriver(pdbbase)
assert not dbLoadDatabase(dbd.encode(), None, None)
if db.endswith(".substitutions"):
    ioc(f'dbLoadTemplate "{db}" "{macros}"')
else:
    assert not dbLoadRecords(db.encode(), macros.encode())
sys.stdout.flush()
ioc("dbDumpRecord")
"""

_TYPES = "ai ao bi bo mbbi mbbo longin longout stringin stringout lsi waveform"


def dumped_by_base(db: Path, folder: Path, macros: dict[str, str]) -> dict[str, RecordDef]:
    """What the C database library made of a file: its own dump, read back."""
    needs("epicscorelibs")
    dbd = folder / "labioc.dbd"
    dbd.write_text("".join(f'device({rtyp}, INST_IO, devLabioc_{rtyp}, "labioc")\n' for rtyp in _TYPES.split()))
    arguments = json.dumps([str(dbd), str(db), ",".join(f"{k}={v}" for k, v in macros.items())])
    done = subprocess.run(
        [sys.executable, "-c", _DUMP, arguments], capture_output=True, text=True, timeout=30, check=False, cwd=db.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Base does not escape "$(" when it writes.
    dump = parse_text(done.stdout, "dump").expand({"P": "$(P)"})
    return {record.name: record for record in dump}


NASTY = r"""
# comment with "quotes" and 'more'
record(ai, "$(P):A") { field(DESC, "q \" b \\ t\tx\x41 \e $(D=de(f) $(E=ault))") field(EGU,${U=V})
 field(HIHI,12.5) field(HHSV,"MAJOR") info(archive, "monitor $(A=0.5)") alias("$(P):B") }
grecord(bo, $(P):C) { field("ZNAM", "a{b}") field(ONAM, "c,d=e") }
record("*", "$(P):A") { field(HHSV, MINOR) field(PREC, 3) }
record(stringin, "$(P):D$(N$(ONE)=x)"){field(VAL,"1 # no comment") info(x,"\$(P)")}
alias("$(P):C", "$(P):E")
record(longin, "$(P):EMPTY")
"""


def test_base_reads_a_nasty_file_as_we_do(tmp_path: Path):
    db = tmp_path / "nasty.db"
    db.write_text(NASTY)
    macros = {"P": "LAB", "ONE": "1", "N1": "7"}
    ours = {record.name: record for record in parse_template(db).expand(macros)}
    base = dumped_by_base(db, tmp_path, macros)
    assert sorted(base) == sorted(ours)
    for name, record in ours.items():
        assert {**base[name].fields, **record.fields} == base[name].fields, name
        assert (base[name].rtyp, base[name].info) == (record.rtyp, record.info), name


@pytest.mark.parametrize(
    "name",
    [
        "ioc.substitutions",
        "all-off.substitutions",
        "archiver.substitutions",
        "caen-dt55xx.substitutions",
        "caen-dt55xx-channel.substitutions",
        "hv-channel.substitutions",
        "group.substitutions",
        "interlock.substitutions",
        "iseg-edcp.substitutions",
        "eurotherm-3200.substitutions",
        "eurotherm-3200-full.substitutions",
    ],
)
def test_base_reads_our_templates_as_we_do(name: str, tmp_path: Path):
    path = FOLDER / name
    macros = {"P": "LAB", "DEV": "HV1", "CH": "07", "FAST": ".5 second", "GROUP": "CALO", "INTERLOCK": "HOT"}
    ours = {record.name: record for record in parse_template(path).expand(macros)}
    base = dumped_by_base(path, tmp_path, macros)
    assert sorted(base) == sorted(ours)
    for record in ours.values():
        # Base leaves out what equals the default of the field, and device links before the IOC starts.
        left_out = {key: value for key, value in record.fields.items() if key not in base[record.name].fields}
        links = {"INP": record.fields.get("INP"), "OUT": record.fields.get("OUT")}
        defaults = {
            "SCAN": "Passive",
            "PREC": "0",
            "LOPR": "0",
            "LOW": "0",
            "OSV": "NO_ALARM",
            "ZSV": "NO_ALARM",
            **links,
        }
        assert left_out.items() <= defaults.items(), record.name
        assert base[record.name].fields == {k: v for k, v in record.fields.items() if k not in left_out}
        assert {key: text for key, text in base[record.name].info.items() if text} == record.info


def test_a_field_that_macros_have_made_empty_takes_the_place_of_an_earlier_value_where_it_is_appended() -> None:
    text = 'record(ai, "R") { field(EGU, "V") }  record("*", "R") { field(EGU, "$(U=)") }'
    (record,) = parse_text(text, "test.db").expand({})
    assert record.fields == {"EGU": ""}
