"""What the tables of ``labioc top`` show: cells, alarms, order, what was lately. Without terminal and server."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ioc.client import Reading
from ioc.client.reading import Meta
from ioc.export.plant import Plant
from ioc.site.config import parse_site
from ioc.top.board import HISTORY_SECONDS, UNKNOWN, Board, Cell, in_order
from ioc.top.rows import ALARM, CHANNELS, FURNACES, LINKS, NAME, Row, tables

ROWS = [Row(name, "", {"V": f"{name}:V", "I": f"{name}:I"}, f"{name}:V", []) for name in ("A", "B", "C")]


def reading(value: float | int | str, severity: int = 0, status: int = 0) -> Reading:
    return Reading(value, 1.0, severity, status, Meta("V", 1))


def filled() -> Board:
    board = Board(ROWS)
    for name, value, severity in (("A", 2.0, 0), ("B", 1.0, 2), ("C", 3.0, 1)):
        board.take(f"{name}:V", reading(value, severity, 4 * bool(severity)), 0.0)
        board.take(f"{name}:I", reading(0.0), 0.0)
    return board


def test_a_site_is_tables_of_channels_furnaces_and_links(tmp_path: Path) -> None:
    site = parse_site(
        {
            "site": {"prefix": "LAB"},
            "device": [
                {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:23",
                 "channel": {"0": {"alias": "CALO:PMT07"}}},
                {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/ttyUSB0"},
            ],
            "archiver": {"influxdb": [{"url": "http://127.0.0.1:8086", "version": 1, "database": "x"}]},
        }
    )  # fmt: skip
    channels, furnaces, links = tables(Plant.build([site]))
    assert (channels.title, furnaces.title, links.title) == (CHANNELS, FURNACES, LINKS)
    first = channels.rows[0]
    assert (first.name, first.alias, first.cells["V"]) == ("HV1.0", "CALO:PMT07", "LAB:HV1:CH00:VMON")
    assert (first.setting, first.switch) == ("LAB:HV1:CH00:VSET", "LAB:HV1:CH00:ON")
    assert "LAB:HV1:CH00:TRIP" in first.details
    assert not [pv for pv in first.details if pv.endswith(":CMD") or "BBOX" in pv]
    assert furnaces.rows[0].cells["T"] == "LAB:FURN1:TEMP"
    assert (furnaces.rows[0].setting, furnaces.rows[0].switch) == ("LAB:FURN1:TSET", "")
    assert [row.name for row in links.rows] == ["HV1", "FURN1", "IOC", "ARCH"]
    assert [row.cells["state"] for row in links.rows[2:]] == ["LAB:IOC:ARMED", "LAB:ARCH:STATE"]


def test_a_row_shows_values_and_its_worst_alarm() -> None:
    board = filled()
    assert board.cell(ROWS[1], "V") == Cell("1.0 V", 2)
    assert board.cell(ROWS[1], ALARM) == Cell("MAJOR V HIGH", 2)
    assert board.cell(ROWS[0], ALARM) == Cell("")
    assert board.cell(ROWS[0], "nothing") == Cell("")
    assert board.summary(ROWS) == "1 MAJOR, 1 MINOR"
    board.changed.clear()
    board.take("A:I", None, 1.0)
    assert [board.has_changed(row) for row in ROWS] == [True, False, False]
    assert board.cell(ROWS[0], "I") == Cell("?", UNKNOWN)
    assert board.cell(ROWS[0], ALARM) == Cell("not connected", UNKNOWN)
    assert board.summary(ROWS) == "1 not connected, 1 MAJOR, 1 MINOR"


def test_rows_are_sorted_by_name_alarm_or_value_and_unknown_ones_come_last() -> None:
    board = filled()

    def order(column: str, backwards: bool = False) -> str:
        return "".join(row.name for row in in_order(board, ROWS, column, backwards))

    assert [order(NAME), order(NAME, True), order(ALARM), order(ALARM, True)] == ["ABC", "CBA", "BCA", "ACB"]
    assert [order("V"), order("V", True)] == ["BAC", "CAB"]
    board.take("B:V", reading(9.0, 3, 9), 1.0)
    assert [order("V"), order("V", True)] == ["ACB", "CAB"]  # an INVALID value is no value


def test_what_was_lately_is_drawn_and_held_until_the_next_value() -> None:
    board = Board(ROWS)
    for time, value in ((10.0, 0.0), (20.0, 70.0), (40.0, 35.0)):
        board.take("A:V", reading(value), time)
    board.take("A:V", None, 50.0)
    assert board.spark("A:V", 60.0, 60.0, 12) == "  ▁▁████▅▅  "
    assert board.spark("B:V", 60.0, 60.0, 4) == "    "
    parts = board.segments("A:V", 60.0, 45.0)
    assert [(part.begin / 1e9, part.end / 1e9, part.value) for part in parts] == [
        (15.0, 20.0, 0.0), (20.0, 40.0, 70.0), (40.0, 50.0, 35.0), (50.0, 60.0, None),
    ]  # fmt: skip
    board.take("A:V", reading(1.0), 60.0 + HISTORY_SECONDS)
    assert len(board.segments("A:V", 60.0 + HISTORY_SECONDS, 10 * HISTORY_SECONDS)) == 3  # what is too old is forgotten


@pytest.mark.parametrize("value", [math.nan, math.inf, "text"])
def test_what_is_no_number_is_not_drawn(value: float | str) -> None:
    board = Board(ROWS)
    board.take("A:V", reading(value), 10.0)
    assert board.spark("A:V", 20.0, 10.0, 2) == "  "
