"""The fields of a database that others have filled, compared with those of the configuration when the bridge starts."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from archiver.bridge import Bridge
from archiver.config import ArchiverConfig, PvSpec, ServerConfig
from archiver.influx.fields import FieldsUnknown, other_types
from archiver.influx.http import HttpClient
from archiver.points.series import FieldType, field_types
from archiver.status import as_text, prometheus
from tests.archiver.influx.databases import Influx1
from tests.archiver.influx.fake_influx import FakeInflux
from tests.archiver.schemas import PER_PV, SCHEMA
from tests.softioc import free_port

VMON = PvSpec("LAB:HV1:CH00:VMON", "HV1", "caen-dt55xx", "00", "VMON", "monitor", "ai")
IS_ON = PvSpec("LAB:HV1:CH00:STAT:ON", "HV1", "caen-dt55xx", "00", "IS_ON", "monitor", "bi")
MSG = PvSpec("LAB:HV1:COMM:MSG", "HV1", "caen-dt55xx", "", "COMM_MSG", "monitor", "waveform")
FOREIGN = PvSpec("VAC:GAUGE")
PVS = (VMON, IS_ON, MSG, FOREIGN)
CONFLICT = "field VMON of DT5533E is integer there, and sent as float"


def write(influxd: Influx1, line: str) -> None:
    with urllib.request.urlopen(f"{influxd.url}/write?db=lab", data=line.encode(), timeout=10) as answer:
        assert answer.status == 204


async def run_until(directory: Path, url: str, condition: Callable[[Bridge], bool]) -> Bridge:
    """Run a bridge, whose PVs are not served, until something is so."""
    servers = (ServerConfig("db", url, database="lab"),)
    config = ArchiverConfig("LAB", directory, local_only=True, schema=SCHEMA, servers=servers)
    env = {"EPICS_CA_ADDR_LIST": f"127.0.0.1:{free_port()}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
    bridge = Bridge(config, PVS, env)
    await bridge.start()
    try:
        async with asyncio.timeout(15):
            while not condition(bridge):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        await bridge.stop()
    return bridge


async def test_GIVEN_a_database_with_a_field_of_another_type_WHEN_the_bridge_starts_THEN_it_tells_which(
    influxd: Influx1, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(influxd, 'DT5533E,device=HV9,channel=0 VMON=7i,IS_ON=1i,COMM_MSG="x",OTHER=1\nVAC:GAUGE value=1.5\nZ VMON=1i')
    with caplog.at_level(logging.WARNING):
        bridge = await run_until(tmp_path, influxd.url, lambda one: bool(one.snapshot.servers[0].points))
    assert bridge.snapshot.servers[0].conflicts == (CONFLICT,)
    messages = [one.getMessage() for one in caplog.records if one.name == "labioc.archiver"]
    assert messages == [f"db: {CONFLICT}"]
    assert bridge.snapshot.refusing
    assert bridge.snapshot.conflicts == 1
    assert bridge.snapshot.message == f"db: {CONFLICT}"
    assert CONFLICT in as_text(json.loads(json.dumps(bridge.snapshot.as_json())))
    assert 'labioc_archiver_server_field_conflicts{server="db"} 1' in prometheus(bridge.snapshot)


async def test_GIVEN_a_database_that_is_down_WHEN_it_comes_THEN_its_fields_are_compared(
    influxd: Influx1, tmp_path: Path
) -> None:
    write(influxd, "DT5533E,device=HV1,channel=0 VMON=7i")
    influxd.kill()

    def come(bridge: Bridge) -> bool:
        if bridge.snapshot.servers[0].state == "retrying" and not started.is_set():
            started.set()
            influxd.start()
            bridge.log.append(b"archive_bridge,host=other running=1i 1\n", 1)
        return bool(bridge.snapshot.servers[0].conflicts)

    started = threading.Event()
    bridge = await run_until(tmp_path, influxd.url, come)
    assert bridge.snapshot.servers[0].conflicts == (CONFLICT,)


async def test_GIVEN_a_server_that_does_not_tell_its_fields_WHEN_the_bridge_starts_THEN_it_gets_its_points(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeInflux()
    try:
        with caplog.at_level(logging.INFO):
            await run_until(tmp_path, fake.url, lambda one: bool(one.snapshot.servers[0].points))
    finally:
        fake.stop()
    assert [key[0] for key in fake.points] == ["archive_bridge", "events", "archive_bridge"]
    assert "db: its fields could not be compared: 501" in caplog.text


@contextmanager
def answering(status: int, data: object) -> Iterator[tuple[str, list[str]]]:
    """A server that gives one answer to every question; its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(data).encode())

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def compare(server: ServerConfig) -> list[str]:
    client = HttpClient(server.url, 5.0)
    try:
        return list(other_types(client, server, field_types(PVS, SCHEMA)).values())
    finally:
        client.close()


def test_v2_and_v3_are_asked_in_their_own_way() -> None:
    columns = ["fieldKey", "fieldType"]
    series = [
        {"name": "DT5533E", "columns": columns, "values": [["VMON", "float"], ["IS_ON", "float"]]},
        {"name": "VAC:GAUGE", "columns": columns, "values": [["value", "string"], ["value_sev", "float"]]},
    ]
    expected = [
        "field IS_ON of DT5533E is float there, and sent as integer",
        "field value_sev of VAC:GAUGE is float there, and sent as integer",
    ]
    with answering(200, {"results": [{"series": series}]}) as (url, asked):
        assert compare(ServerConfig("two", url, 2, bucket="lab", org="o", token="t")) == expected
    assert asked == ["/query?db=lab&q=SHOW+FIELD+KEYS"]
    rows = [
        {"iox::measurement": one["name"], "fieldKey": field, "fieldType": kind}
        for one in series
        for field, kind in one["values"]
    ]
    with answering(200, rows) as (url, asked):
        assert compare(ServerConfig("three", url, 3, database="lab", token="t")) == expected
    assert asked == ["/api/v3/query_influxql?db=lab&q=SHOW+FIELD+KEYS&format=json"]
    assert compare(ServerConfig("vm", "http://127.0.0.1:9", "line")) == []


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (403, {"error": "not authorized"}),
        (200, {"results": [{"error": "database not found: lab"}]}),
        (200, {"results": []}),
        (200, ["x"]),
        (200, None),
        (200, {"results": [{"series": [{"name": "DT5533E", "values": [["VMON"]]}]}]}),
    ],
)
def test_what_cannot_be_understood_is_reported(status: int, data: object) -> None:
    with answering(status, data) as (url, _), pytest.raises(FieldsUnknown, match=str(status)):
        compare(ServerConfig("db", url, database="lab"))


def test_every_field_has_one_type_also_with_a_measurement_for_each_pv() -> None:
    expected = {
        ("DT5533E", "VMON"): FieldType.FLOAT,
        ("DT5533E", "IS_ON"): FieldType.INTEGER,
        ("DT5533E", "COMM_MSG"): FieldType.TEXT,
        ("VAC:GAUGE", "value"): FieldType.NUMBER_OR_TEXT,
    }
    found = field_types(PVS, SCHEMA)
    assert {key: kind for key, kind in found.items() if not key[1].endswith("_sev")} == expected
    assert {key[0] for key in field_types(PVS, PER_PV)} == {pv.name for pv in PVS}
