"""Snapshots as files: what is written is read again, what Phoebus writes too, and each mistake is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.snapshots.snapshot import Saved, Snapshot, SnapshotError, as_csv, as_json, checked_path, read, write

TEXTS = st.text(st.characters(codec="ascii", exclude_characters='"~;,\r\n'), min_size=1).map(str.strip).filter(bool)
NUMBERS = st.floats(-1e6, 1e6) | st.integers(-(2**31), 2**31 - 1)
STATES = st.lists(TEXTS, min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    names = draw(st.lists(st.from_regex(r"LAB:[A-Z0-9:]{1,20}", fullmatch=True), min_size=1, max_size=5, unique=True))
    settings = []
    for name in names:
        states = draw(st.just(()) | STATES)
        value = draw(st.sampled_from(states)) if states else draw(NUMBERS)
        units = "" if states else draw(st.sampled_from(["V", "uA", ""]))
        settings.append(Saved(name, value, units, draw(st.booleans()), states=states, readback=f"{name}:RBV"))
    return Snapshot("LAB", float(draw(st.integers(0, 2**31))), tuple(settings))


def content(snapshot: Snapshot) -> list[tuple[object, ...]]:
    return [(one.pv, one.value, one.units, one.restored) for one in snapshot.settings]


@pytest.mark.parametrize("ending", ["json", "csv"])
@given(snapshot=snapshots())
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, ending: str, snapshot: Snapshot
) -> None:
    path = tmp_path_factory.mktemp("snapshots") / f"a.{ending}"
    write(snapshot, path)
    found = read(path)
    assert content(found) == content(snapshot)
    assert (found.prefix, found.time) == (snapshot.prefix, snapshot.time)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_the_table_is_what_phoebus_exports() -> None:
    settings = (
        Saved("LAB:HV1:CH00:VSET", 1500.5, "V", readback="LAB:HV1:CH00:VSET:RBV", time=1.5, severity="MINOR"),
        Saved("LAB:HV1:CH00:ON", "ON", "", restored=False, states=("OFF", "ON")),
    )
    lines = as_csv(Snapshot("LAB", 0.0, settings), "before").splitlines()
    assert lines[:4] == ["# Hierarchy:", "# labioc/LAB", "# Snapshot name:", "# before"]
    assert lines[10].startswith(
        "PV,SELECTED,TIMESTAMP,STATUS,SEVERITY,VALUE_TYPE,VALUE,READBACK,READBACK_VALUE,DELTA,READ"
    )
    assert lines[11:] == [
        'LAB:HV1:CH00:VSET,1,1.500000000,NONE,MINOR,double,"1500.5",LAB:HV1:CH00:VSET:RBV,"1500.5",,0,V',
        'LAB:HV1:CH00:ON,1,0.0,NONE,NONE,enum,"ON~[OFF;ON]",,"---",,1,',
    ]


@pytest.mark.parametrize("text", ['a "b" c', "two\nlines", "two\rlines"])
def test_a_text_that_a_table_cannot_hold_is_not_written(tmp_path: Path, text: str) -> None:
    snapshot = Snapshot("LAB", 0.0, (Saved("LAB:A", text, ""),))
    with pytest.raises(SnapshotError, match=r"LAB:A: found .*; \.json can"):
        write(snapshot, tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []
    write(snapshot, tmp_path / "a.json")
    assert read(tmp_path / "a.json").settings[0].value == text


def test_a_snapshot_of_phoebus_is_read(tmp_path: Path) -> None:
    path = tmp_path / "before.csv"
    path.write_text(
        "# AUTO-GENERATED. DON'T EDIT BELOW IF YOU DON'T KNOW HOW THOSE WORK!\n# Hierarchy:\n# Root/HV/before\n"
        "# Snapshot name:\n# before\n# Description:\n# \n# Creator:\n# ann\n# Date:\n# 2026-11-21 07:00:49.123\n"
        "# Tags:\n"
        "PV,SELECTED,TIMESTAMP,STATUS,SEVERITY,VALUE_TYPE,VALUE,READBACK,READBACK_VALUE,DELTA,READ_ONLY\n"
        'LAB:HV1:CH00:VSET,1,1795244449.1,NONE,NONE,double,"1500.0",LAB:HV1:CH00:VSET:RBV,"1500.0",,0\n'
        'LAB:HV1:CH00:PDWN,1,1795244449.1,NONE,NONE,enum,"KILL~[RAMP;KILL]",,"---",,1\n'
    )
    found = read(path)
    assert content(found) == [("LAB:HV1:CH00:VSET", 1500.0, None, True), ("LAB:HV1:CH00:PDWN", "KILL", None, False)]
    assert found.prefix == ""


GOOD = {"pv": "LAB:A", "value": 1, "units": "", "restored": True}
HEAD = {"labioc": "1", "snapshot": 1, "prefix": "LAB", "time": "2026-11-21T07:00:00+00:00"}


@pytest.mark.parametrize(
    ("data", "mistakes"),
    [
        ([], ["it is no snapshot of version 1"]),
        (HEAD, ["it is no snapshot of version 1"]),
        (HEAD | {"snapshot": 2, "settings": []}, ["it is no snapshot of version 1"]),
        (HEAD | {"settings": [GOOD], "prefix": 3}, ["prefix and time have to be texts"]),
        (HEAD | {"settings": [GOOD], "time": "noon"}, ["Invalid isoformat string: 'noon'"]),
        (HEAD | {"settings": [GOOD, 3, GOOD | {"value": True}, GOOD | {"value": [1]}, GOOD | {"restored": 1}]},
         ["setting 2: found {}, needed", "setting 3, LAB:A: found True, allowed", "setting 4, LAB:A: found [1], ",
          "setting 5: found "]),
        (HEAD | {"settings": [GOOD, GOOD]}, ["LAB:A is in the file twice"]),
        (HEAD | {"settings": [GOOD | {"value": float("nan")}]}, ["setting 1, LAB:A: found nan, allowed"]),
    ],
)  # fmt: skip
def test_each_mistake_in_JSON_is_reported(tmp_path: Path, data: object, mistakes: list[str]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data))
    with pytest.raises(SnapshotError) as caught:
        read(path)
    assert len(caught.value.errors) == len(mistakes)
    assert all(mistake in error for mistake, error in zip(mistakes, caught.value.errors, strict=True))


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["a.csv: it is no snapshot: there is no column PV nor VALUE_TYPE nor VALUE"]),
        ("PV,READBACK,READ_ONLY\nLAB:A,,0\n", ["a.csv: it is no snapshot: there is no column VALUE_TYPE nor VALUE"]),
        ("# one\nPV,VALUE_TYPE,VALUE\nLAB:A,double,x\n\nLAB:B,double_array,1\n,int,1\nLAB:C,double,inf\n",
         ["a.csv:3: LAB:A: found 'x' of type 'double', allowed", "a.csv:5: LAB:B: found '1' of type 'double_array'",
          "a.csv:6: no PV: found '1' of type 'int'", "a.csv:7: LAB:C: found 'inf' of type 'double'"]),
        ("PV,VALUE_TYPE,VALUE\nLAB:A,int,1\nLAB:A,int,2\n", ["LAB:A is in the file twice"]),
    ],
)  # fmt: skip
def test_each_mistake_in_a_table_is_reported_with_its_line(tmp_path: Path, text: str, mistakes: list[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(SnapshotError) as caught:
        read(path)
    assert len(caught.value.errors) == len(mistakes)
    assert all(mistake in error for mistake, error in zip(mistakes, caught.value.errors, strict=True))


@pytest.mark.parametrize("text", ["{", "\x00", '"x"'])
def test_what_is_no_snapshot_at_all_is_reported(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(SnapshotError, match=r"a\.json"):
        read(path)


def test_the_ending_of_the_name_decides_the_format() -> None:
    assert checked_path("a/b.csv") == Path("a/b.csv")
    with pytest.raises(SnapshotError, match=r"found '\.txt', allowed: a name that ends in \.json or \.csv"):
        checked_path("b.txt")
    assert json.loads(as_json(Snapshot("LAB", 0.0, ())))["settings"] == []
