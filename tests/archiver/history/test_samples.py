"""Histories: read from the log, written as CSV and text, drawn."""

from __future__ import annotations

import importlib.util
import re
import time
from pathlib import Path

import pytest

from archiver.cli import HistoryRequest, show_history
from archiver.config import PvSpec, ServerConfig
from archiver.history import plot, read
from archiver.history.formats import as_lines, write_csv
from archiver.history.moments import local, moments, parse_moment, zone
from archiver.history.samples import HistoryError, Sample, from_influxdb, from_log, names
from archiver.log.segments import SegmentLog
from archiver.points.builder import PointBuilder
from archiver.points.catalogue import Catalogue, catalogue, load
from labioc_ca.events import Event, Kind
from tests.archiver.schemas import SCHEMA
from tests.conftest import unavailable

PV = PvSpec("LAB:HV1:CH01:VMON", "HV1", "caen-dt55xx", "01", "VMON", "monitor", "ai", unit="V", precision=1)
STATE = PvSpec(
    "LAB:HV1:CH01:STATE", "HV1", "caen-dt55xx", "01", "STATE", "monitor", "mbbi", states=("OFF", "ON", "RAMP UP")
)
MSG = PvSpec("LAB:HV1:PUT:MSG", "HV1", "caen-dt55xx", "", "PUT_MSG", "monitor", "stringin")
OTHER = PvSpec("LAB:HV1:CH01:IMON", "HV1", "caen-dt55xx", "01", "IMON", "monitor", "ai")
NS = 10**9
T = 1_700_000_000 * NS


@pytest.fixture
def known(tmp_path: Path) -> Catalogue:
    """A log with a short history of two PVs."""
    found = catalogue([PV, OTHER, STATE, MSG], SCHEMA)
    found.save(tmp_path)
    builder = PointBuilder([PV, OTHER, STATE, MSG], SCHEMA, clock=lambda: T)
    log = SegmentLog(tmp_path, max_age=1e12)
    events = [
        Event(PV.name, Kind.CONNECTION, None, T, connected=True),
        Event(STATE.name, Kind.ENUM, 1, T),
        Event(MSG.name, Kind.STRING, "above the limit", T + NS),
        Event(PV.name, Kind.DOUBLE, 1.5, T + 1),
        Event(OTHER.name, Kind.DOUBLE, 9.0, T + 2),
        Event(PV.name, Kind.DOUBLE, 2.5, T + 3 * NS, 2, 3),
        Event(PV.name, Kind.DOUBLE, float("nan"), T + 4 * NS, 3, 1),
        Event(PV.name, Kind.CONNECTION, None, T + 5 * NS, connected=False),
    ]
    log.append(*builder.build(events))
    log.close()
    return found


EXPECTED = [
    Sample(T, connected=True),
    Sample(T + 1, 1.5, 0),
    Sample(T + 3 * NS, 2.5, 2),
    Sample(T + 4 * NS, severity=3),
    Sample(T + 5 * NS, connected=False),
]


def test_what_went_into_the_log_comes_out(known: Catalogue, tmp_path: Path) -> None:
    assert load(tmp_path) == known
    assert list(from_log(tmp_path, known, PV.name, T, T + 10 * NS)) == EXPECTED
    assert list(from_log(tmp_path, known, PV.name, T + 2, T + 4 * NS)) == EXPECTED[1:4]
    with pytest.raises(HistoryError, match="LAB:HV1:CH01:VMON"):
        list(from_log(tmp_path, known, "LAB:HV1:CH01", T, T))


def test_what_was_in_force_before_the_window_comes_first(known: Catalogue, tmp_path: Path) -> None:
    later = T + 3600 * NS
    assert list(from_log(tmp_path, known, STATE.name, later, later + NS)) == [Sample(T, 1, 0)]
    assert list(from_log(tmp_path, known, PV.name, later, later + NS)) == [
        Sample(T + 3 * NS, 2.5, 2),
        Sample(T + 4 * NS, severity=3),
        Sample(T + 5 * NS, connected=False),
    ]
    assert list(as_lines({STATE.name: [Sample(T, 1, 0)]}, known.pvs, later)) == [f"{local(T)}  ON  (since then)"]


def test_names_are_wildcards_too(known: Catalogue) -> None:
    assert names(known, ["LAB:HV1:CH0?:?MON", PV.name]) == [OTHER.name, PV.name]
    for pattern in ("LAB:X*", "LAB:HV1:CH01"):
        with pytest.raises(HistoryError, match="is not archived here"):
            names(known, [pattern])


def test_text_tells_everything(known: Catalogue) -> None:
    words = [line.split("  ", 1)[1] for line in as_lines({PV.name: [*EXPECTED, Sample(T + 6 * NS, 7)]}, known.pvs, T)]
    assert words == [
        "*** connected", "1.5 V", "2.5 V  MAJOR", "*** no number  INVALID", "*** disconnected", "7 V  INVALID",
    ]  # fmt: skip
    both = list(as_lines({PV.name: EXPECTED[1:3], STATE.name: [Sample(T + 2, 2)]}, known.pvs, T))
    assert [line.split("  ")[0].strip() for line in both] == [PV.name, STATE.name, PV.name]
    assert both[1].endswith("  RAMP UP")


def test_the_table_is_what_the_data_browser_imports(known: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "table"
    with path.open("w") as file:
        assert write_csv({PV.name: EXPECTED, STATE.name: [Sample(T, 2, 0)]}, known.pvs, file) == 6
    rows = path.read_text().splitlines()
    assert rows[0] == f"# {PV.name} [V], times {zone(T)}"
    # The import takes time and value; behind them three numbers would be error bars, and anything else is ignored.
    one = re.compile(r"\s*(\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d\.\d*)[ \t,]+([-+0-9.,eE]+)\s*.*")
    three = re.compile(one.pattern.removesuffix(r"\s*.*") + r"[ \t,]+([-+0-9.,eE]+)[ \t,]+([-+0-9.,eE]+)\s*.*")
    data = [row for row in rows if not row.startswith("#")]
    assert [match[2] for row in data if (match := one.fullmatch(row))] == ["1.5", "2.5", "2"]
    assert not any(three.fullmatch(row) for row in data)
    assert data[0][:29] == local(T + 1)[:29]
    assert data[2].split("\t")[1:] == ["2", "NO_ALARM", "RAMP UP"]
    assert sum("disconnected" in row for row in rows) == 1


def test_read_gives_columns(known: Catalogue, tmp_path: Path) -> None:
    table = read(["LAB:HV1:CH01:VMON", "*STATE"], tmp_path, local(T - NS)[:19], local(T + 10 * NS)[:19])
    assert {len(column) for column in table.values()} == {6}
    assert table["value"] == [None, 1.5, 2.5, None, None, 1]
    assert table["alarm"] == ["NO_ALARM", "NO_ALARM", "MAJOR", "INVALID", "INVALID", "NO_ALARM"]
    assert table["connected"] == [True, True, True, True, False, True]
    assert table["time"][1] == T + 1


def test_the_two_ends_are_in_order() -> None:
    assert moments("2h", "1h", T) == (T - 7200 * NS, T - 3600 * NS)
    for ends in (("1h", "2h"), ("1h", "1h"), ("2100-01-01", "")):
        with pytest.raises(ValueError, match="nothing lies between"):
            moments(*ends, T)


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "UTC"])
def test_times_have_their_zone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", name)
    time.tzset()
    try:
        expected = {"Europe/Berlin": "23:13:20.000000001+01:00", "UTC": "22:13:20.000000001+00:00"}
        assert local(T + 1).split()[1] == expected.get(name, "17:13:20.000000001-05:00")
        assert zone(T).endswith(f"(UTC{local(T)[29:]})")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [("90s", T - 90 * NS), ("1.5h", T - 5400 * NS), ("7d", T - 7 * 86400 * NS), ("2023-11-14T22:13:20+00:00", T)],
)
def test_moments_are_read(text: str, moment: int) -> None:
    assert parse_moment(text, T) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "1x", "-1h"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        parse_moment(text, T)


@pytest.mark.parametrize("text", ["99999w", "9" * 400 + "w", "0001-01-01", "1969-12-31T00:00Z", "9999-12-31T00:00Z"])
def test_what_no_stamp_can_be_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"between the years|neither"):
        parse_moment(text, T)


def test_segments_have_gaps_where_nothing_is_known() -> None:
    parts = plot.segments(EXPECTED, T - NS, T + 7 * NS)
    assert [(part.begin - T, part.end - T, part.value) for part in parts] == [
        (-NS, 0, None),
        (0, 1, None),
        (1, 3 * NS, 1.5),
        (3 * NS, 4 * NS, 2.5),
        (4 * NS, 5 * NS, None),
        (5 * NS, 7 * NS, None),
    ]
    back = [Sample(T, 4.0), Sample(T + NS, connected=False), Sample(T + 2 * NS, connected=True)]
    assert [part.value for part in plot.segments(back, T, T + 3 * NS)] == [4.0, None, 4.0]


def test_the_value_of_a_lost_device_is_a_gap_until_it_is_good_again() -> None:
    lost = [Sample(T, 4.0, 0), Sample(T + NS, 4.0, 3), Sample(T + 2 * NS, severity=3), Sample(T + 3 * NS, 5.0, 0)]
    assert [part.value for part in plot.segments(lost, T, T + 4 * NS)] == [4.0, None, None, 5.0]


@pytest.mark.parametrize(
    "samples", [EXPECTED, [], [Sample(T + NS, 5.0)], [Sample(T, "text")], [Sample(T, -1e300), Sample(T + 1, 1e300)]]
)
@pytest.mark.parametrize("seconds", [1, 8, 3600, 10_000_000])
def test_any_history_can_be_drawn(samples: list[Sample], seconds: int) -> None:
    parts = plot.segments(samples, T, T + seconds * NS)
    text = plot.terminal("LAB:X", parts)
    assert len(text.splitlines()) == 18


def test_what_is_unchanged_is_drawn_from_the_beginning_of_the_window() -> None:
    parts = plot.segments([Sample(T - 3600 * NS, 4.0, 0)], T, T + NS)
    assert [(part.begin, part.end, part.value) for part in parts] == [(T, T + NS, 4.0)]


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plots_are_drawn(known: Catalogue, tmp_path: Path, suffix: str, magic: bytes) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        unavailable("no matplotlib")
    path = tmp_path / f"x.{suffix}"
    plot.figure(path, {PV.name: EXPECTED, STATE.name: [Sample(T, 1)]}, known.pvs, T, T + 10 * NS)
    assert path.read_bytes().startswith(magic)
    if suffix == "svg":
        text = path.read_text()
        assert all(word in text for word in (PV.name, "RAMP UP", f"local time, {zone(T)}"))
    with pytest.raises(plot.PlotError, match=r"x\.nothing"):
        plot.figure(tmp_path / "x.nothing", {PV.name: EXPECTED}, known.pvs, T, T + NS)


def test_the_command_prints_exports_and_draws(
    known: Catalogue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    since = "2023-11-14T22:13:20+00:00"
    assert show_history(HistoryRequest((PV.name,), since), tmp_path, None, None) == 0
    assert "2.5 V  MAJOR" in capsys.readouterr().out
    request = HistoryRequest((PV.name, MSG.name), since, csv=tmp_path / "x.csv", plot="terminal")
    assert show_history(request, tmp_path, None, None) == 0
    assert f"{PV.name} [V]" in capsys.readouterr().out
    assert "above the limit" in (tmp_path / "x.csv").read_text()
    for bad in ((("NONE",), since), ((PV.name,), "never"), ((PV.name,), "1h", "2h")):
        assert show_history(HistoryRequest(*bad), tmp_path, None, None) == 1
    capsys.readouterr()
    assert show_history(HistoryRequest((PV.name,)), tmp_path / "nothing", None, None) == 1
    assert "nothing has been archived" in capsys.readouterr().err


def test_a_text_is_listed_and_has_no_axis(known: Catalogue, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = HistoryRequest((MSG.name,), "2023-11-14T22:13:20+00:00", plot="terminal")
    assert show_history(request, tmp_path, None, None) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert out.endswith("above the limit\n")


def test_what_cannot_be_asked_says_so(known: Catalogue) -> None:
    with pytest.raises(HistoryError, match="how to ask it is not known"):
        list(from_influxdb(ServerConfig("vm", "http://127.0.0.1:9", "line"), known, PV.name, 0, 1))
    with pytest.raises(HistoryError, match="refused"):
        list(from_influxdb(ServerConfig("db", "http://127.0.0.1:9", 1, database="d"), known, PV.name, 0, 1))
