"""Fixtures of the archiver's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver.log.segments import SegmentLog
from tests.archiver.influx.databases import Influx1, VictoriaMetrics
from tests.conftest import unavailable
from tests.debian import program


@pytest.fixture
def influxd(tmp_path: Path) -> Iterator[Influx1]:
    """An InfluxDB 1 with the database ``lab``."""
    binary = program("influxd", "influxdb")
    if binary is None:
        unavailable("no influxd, and Debian's package influxdb cannot be downloaded")
    server = Influx1(binary, tmp_path / "influxdb")
    try:
        server.query("CREATE DATABASE lab")
        yield server
    finally:
        server.stop()


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    """A VictoriaMetrics."""
    binary = program("victoria-metrics", "victoria-metrics")
    if binary is None:
        unavailable("no victoria-metrics, and Debian's package victoria-metrics cannot be downloaded")
    server = VictoriaMetrics(binary, tmp_path / "victoria")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def make_log(tmp_path: Path) -> Iterator[Callable[..., SegmentLog]]:
    """Open a durable log, always in the same folder: the one that was open before is closed first."""
    made: list[SegmentLog] = []

    def start(**options: object) -> SegmentLog:
        for log in made:
            log.close()
        made.append(SegmentLog(tmp_path / "log", **options))  # type: ignore[arg-type]
        return made[-1]

    yield start
    for log in made:
        log.close()
