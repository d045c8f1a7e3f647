"""What the bridge tells: metrics, page, text."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from archiver.bridge import Pace
from archiver.influx.http import Answer, HttpClient
from archiver.points.series import PvState
from archiver.status import BridgeState, ServerStatus, Snapshot, as_text, fetch_status, prometheus, status_pages
from labioc_pages.page import NotRunning

SERVER = ServerStatus(
    name='a"b', url="http://h", state="retrying", reason="503 full", since=1.7e9, points=10, refused=2, requests=3,
    failures=1, queued=500, lost=4, lag=61.0, rate=100.0,
)  # fmt: skip
SNAPSHOT = Snapshot(
    state=BridgeState.LOSING, time=1.7e9, started=1.6e9, pvs=3, connected=2, events=100, points=90, rate=12.5,
    queue=500, spool=2_500_000, lost=4, lag=61.0, log_error="No space left on device", refused={"NaN or infinity": 7},
    servers=(SERVER,),
)  # fmt: skip
STATES = [PvState("LAB:A", True, 1_700_000_000_000_000_000, 5, 4, 1), PvState("LAB:B", False, 0, 0, 0, 0)]


def test_metrics_are_in_the_text_format_of_prometheus() -> None:
    lines = prometheus(SNAPSHOT).splitlines()
    sample = re.compile(r'labioc_archiver_[a-z_]+(\{[a-z]+="([^"\\]|\\.)*"\})? -?[0-9.e+]+')
    assert all(line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line) for line in lines)
    assert "labioc_archiver_state 2" in lines
    assert "labioc_archiver_log_writable 0" in lines
    assert 'labioc_archiver_server_queued_points{server="a\\"b"} 500' in lines
    assert 'labioc_archiver_refused_events_total{reason="NaN or infinity"} 7' in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_a_value_that_is_no_number_is_kept_as_invalid_and_counts_not_as_refused() -> None:
    assert SNAPSHOT.refused_points == SERVER.refused == 2
    refused = {**SNAPSHOT.refused, "value does not fit the type of the field": 5}
    assert replace(SNAPSHOT, refused=refused).refused_points == 2 + 5


def test_people_see_what_matters() -> None:
    text = as_text(json.loads(json.dumps(SNAPSHOT.as_json(STATES))))
    assert "State      LOSING (the log cannot be written: No space left on device)" in text
    assert "2 of 3 connected, 12.5 events/s" in text
    assert "503 full" in text
    assert "500 points wait, the oldest for 61 s, about 5 s to go" in text
    assert re.search(r"LAB:B +NO +- +0 +0 +0", text)
    assert re.search(r"LAB:A +yes +20\d\d-", text)


def test_how_long_an_outage_takes_to_drain_is_computed_from_what_was_drained() -> None:
    pace = Pace()
    assert pace.rate(0.0, 0, good=True) == 0.0
    assert [pace.rate(second, 0, good=False) for second in (1, 2)] == [0.0, 0.0]
    # The first second after the recovery has one small batch in it: nothing is reported yet.
    assert [pace.rate(second, points, good=True) for second, points in ((3, 1), (4, 4001), (5, 8001))] == [0.0] * 3
    assert pace.rate(6.0, 12_001, good=True) == 4000.0
    for second in range(7, 30):
        rate = pace.rate(second, 12_001 + (second - 6) * 8000, good=True)
    assert rate == 8000.0


async def test_the_page_answers_and_says_where_it_is(tmp_path: Path) -> None:
    page = status_pages(tmp_path, lambda: SNAPSHOT.as_json(STATES), lambda: prometheus(SNAPSHOT))
    with pytest.raises(NotRunning, match=r"no bridge on .* is running"):
        fetch_status(tmp_path)
    await page.start("127.0.0.1", 0)
    try:
        status = await asyncio.to_thread(fetch_status, tmp_path)
        assert status["pv"][0]["pv"] == "LAB:A"
        assert status["servers"][0]["queued"] == 500

        def ask(method: str, path: str) -> Answer:
            client = HttpClient("http://{}:{}".format(*page.address), 2.0)
            try:
                return client.request(method, path)
            finally:
                client.close()

        metrics = await asyncio.to_thread(ask, "GET", "/metrics?x=1")
        assert (metrics.status, metrics.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert metrics.body.decode() == prometheus(SNAPSHOT)
        assert (await asyncio.to_thread(ask, "GET", "/other")).status == 404
        assert (await asyncio.to_thread(ask, "POST", "/metrics")).status == 405
        reader, writer = await asyncio.open_connection(*page.address)
        writer.write(b"nonsense\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 405")
        writer.close()
        await writer.wait_closed()
        _, silent = await asyncio.open_connection(*page.address)
    finally:
        await page.stop()
    silent.close()
    await silent.wait_closed()
    with pytest.raises(NotRunning, match=r"no bridge on .* is running"):
        fetch_status(tmp_path)


async def test_nobody_reads_half_of_the_address(tmp_path: Path) -> None:
    left = tmp_path / "status-address"
    left.write_text("http://127.0.0.1:1\n")
    read_by_somebody = tmp_path / "same file"
    read_by_somebody.hardlink_to(left)
    page = status_pages(tmp_path, dict, str)
    await page.start("127.0.0.1", 0)
    await page.stop()
    assert read_by_somebody.read_text() == "http://127.0.0.1:1\n"
    assert sorted(os.listdir(tmp_path)) == ["same file"]
