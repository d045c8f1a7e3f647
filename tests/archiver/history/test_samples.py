"""Histories: read from the log, written as CSV and text, drawn."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest

from archiver.ca.events import Event, Kind
from archiver.cli import HistoryRequest, show_history
from archiver.config import PvSpec, ServerConfig
from archiver.history import plot
from archiver.history.samples import (
    HistoryError,
    Sample,
    as_lines,
    from_influxdb,
    from_log,
    parse_moment,
    write_csv,
)
from archiver.log.segments import SegmentLog
from archiver.points.builder import PointBuilder
from archiver.points.catalogue import Catalogue, catalogue, load
from tests.archiver.schemas import SCHEMA

PV = PvSpec("LAB:HV1:CH01:VMON", "HV1", "caen-dt55xx", "01", "VMON", "monitor", "ai")
OTHER = PvSpec("LAB:HV1:CH01:IMON", "HV1", "caen-dt55xx", "01", "IMON", "monitor", "ai")
NS = 10**9
T = 1_700_000_000 * NS


@pytest.fixture
def known(tmp_path: Path) -> Catalogue:
    """A log with a short history of two PVs."""
    found = catalogue([PV, OTHER], SCHEMA)
    found.save(tmp_path)
    builder = PointBuilder([PV, OTHER], SCHEMA, clock=lambda: T)
    log = SegmentLog(tmp_path, max_age=1e12)
    events = [
        Event(PV.name, Kind.CONNECTION, None, T, connected=True),
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
    assert from_log(tmp_path, known, PV.name, T, T + 10 * NS) == EXPECTED
    assert from_log(tmp_path, known, PV.name, T + 2, T + 4 * NS) == EXPECTED[2:4]
    with pytest.raises(HistoryError, match="LAB:HV1:CH01:VMON"):
        from_log(tmp_path, known, "LAB:HV1:CH01", T, T)


def test_csv_and_text_tell_everything() -> None:
    file = io.StringIO()
    write_csv([*EXPECTED, Sample(T + 6 * NS, "a, b")], file)
    assert file.getvalue().splitlines()[:3] == [
        "time,unix_ns,value,severity,connected",
        f"2023-11-14T22:13:20.000000000Z,{T},,,1",
        f"2023-11-14T22:13:20.000000001Z,{T + 1},1.5,NO_ALARM,",
    ]
    assert '"a, b"' in file.getvalue()
    words = [line.split("  ", 1)[1] for line in as_lines([*EXPECTED, Sample(T + 6 * NS, 7)])]
    assert words == ["*** connected", "1.5", "2.5  MAJOR", "*** no number  INVALID", "*** disconnected", "7  INVALID"]


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
    picture = plot.png("LAB:X", parts, 300, 120)
    width, height = struct.unpack_from(">II", picture, 16)
    assert (width, height) == (300, 120)
    at = picture.index(b"IDAT")
    (size,) = struct.unpack_from(">I", picture, at - 4)
    assert len(zlib.decompress(picture[at + 4 : at + 4 + size])) == 120 * 301


def test_the_command_prints_exports_and_draws(
    known: Catalogue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    since = "2023-11-14T22:13:20+00:00"
    assert show_history(HistoryRequest(PV.name, since), tmp_path, None, None) == 0
    assert "2.5  MAJOR" in capsys.readouterr().out
    request = HistoryRequest(PV.name, since, csv=tmp_path / "x.csv", plot=str(tmp_path / "x.png"))
    assert show_history(request, tmp_path, None, None) == 0
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 6
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert show_history(HistoryRequest("NONE", since), tmp_path, None, None) == 1
    assert show_history(HistoryRequest(PV.name, "never"), tmp_path, None, None) == 1
    assert show_history(HistoryRequest(PV.name), tmp_path / "nothing", None, None) == 1
    assert "nothing has been archived" in capsys.readouterr().err


def test_what_cannot_be_asked_says_so(known: Catalogue) -> None:
    with pytest.raises(HistoryError, match="how to ask it is not known"):
        from_influxdb(ServerConfig("vm", "http://127.0.0.1:9", "line"), known, PV.name, 0, 1)
    with pytest.raises(HistoryError, match="refused"):
        from_influxdb(ServerConfig("db", "http://127.0.0.1:9", 1, database="d"), known, PV.name, 0, 1)
