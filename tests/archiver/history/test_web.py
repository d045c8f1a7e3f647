"""The archive over HTTP: what the Data Browser's json: reader and the Archiver Appliance's clients are given."""

from __future__ import annotations

import gzip
import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from archiver.config import PvSpec, ServerConfig
from archiver.history.samples import Sample, combined
from archiver.history.web import ArchivePages, ArchiveServer, TooMany
from archiver.log.segments import SegmentLog
from archiver.points.builder import PointBuilder
from archiver.points.catalogue import catalogue
from labioc_ca.events import Event, Kind
from tests.archiver.schemas import SCHEMA

NS = 10**9
T = 1_795_000_000 * NS
VMON = PvSpec(
    "LAB:HV1:CH01:VMON", "HV1", "caen-dt55xx", "01", "VMON", "monitor", "ai", row_period=1.0, unit="V", precision=1
)
FLAG = PvSpec("LAB:HV1:CH01:STAT:ON", "HV1", "caen-dt55xx", "01", "IS_ON", "monitor", "bi", 1.0, states=("OFF", "ON"))
STATE = PvSpec("LAB:HV1:CH01:STATE", "HV1", "caen-dt55xx", "01", "STATE", "monitor", "mbbi", states=("OFF", "ON"))
COUNT = PvSpec("LAB:HV1:CH01:TRIP:COUNT", "HV1", "caen-dt55xx", "01", "TRIP_COUNT", "monitor", "longin")
MSG = PvSpec("LAB:HV1:PUT:MSG", "HV1", "caen-dt55xx", "", "PUT_MSG", "monitor", "stringin")
PVS = (VMON, FLAG, STATE, COUNT, MSG)


class Site:
    def __init__(self, directory: Path) -> None:
        now = [0]
        builder = PointBuilder(PVS, SCHEMA, clock=lambda: T, monotonic=lambda: now[0])
        log = SegmentLog(directory, max_age=1e12, clock=lambda: T + now[0])
        log.append(*builder.build([Event(pv.name, Kind.CONNECTION, None, T, connected=True) for pv in PVS]))
        for second in range(100):
            now[0] = second * NS
            stamp = T + second * NS
            events = [Event(VMON.name, Kind.DOUBLE, second + 0.5, stamp, 1 if second == 50 else 0)]
            if second == 0:
                events += [
                    Event(FLAG.name, Kind.ENUM, 1, stamp),
                    Event(STATE.name, Kind.ENUM, 1, stamp),
                    Event(COUNT.name, Kind.LONG, 7, stamp),
                    Event(MSG.name, Kind.STRING, 'said "no"', stamp, 2),
                ]
            log.append(*builder.build(events))
            now[0] += NS // 2
            log.append(*builder.tick())
        lost = [Event(VMON.name, Kind.CONNECTION, None, T + 200 * NS, connected=False)]
        log.append(*builder.build(lost))
        log.close()
        self.directory = directory
        self.known = known = catalogue(PVS, SCHEMA)
        self.pages = ArchivePages(known, partial(combined, directory, None, known), "LAB", lambda: T + 300 * NS)
        self.server = ArchiveServer(self.pages, "127.0.0.1", 0)
        self.server.start()

    def get(self, path: str, **headers: str) -> Any:
        url = "http://{}:{}".format(*self.server.address) + path
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            body = answer.read()
            if answer.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            return json.loads(body)

    def samples(self, pv: str, start: int, end: int, count: int | None = None) -> list[dict[str, Any]]:
        more = f"&count={count}" if count else ""
        found: list[dict[str, Any]] = self.get(
            f"/archive/1/samples/{urllib.parse.quote(pv)}?start={start}&end={end}{more}"
        )
        return found

    def status_of(self, path: str) -> int:
        try:
            self.get(path)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        return 200


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    one = Site(tmp_path_factory.mktemp("archive"))
    yield one
    one.server.stop()


def test_the_archive_is_named(site: Site) -> None:
    (info,) = site.get("/archive/")
    assert set(info) == {"key", "name", "description"}
    assert info["key"] == 1


def test_channels_are_found_by_pattern(site: Site) -> None:
    assert site.get("/archive/1/channels-by-pattern/LAB%3AHV1%3ACH01%3A*") == [
        FLAG.name, STATE.name, COUNT.name, VMON.name,
    ]  # fmt: skip
    assert site.get("/archive/1/channels-by-pattern/NONE*") == []


def test_raw_samples_come_with_all_that_the_reader_wants(site: Site) -> None:
    found = site.samples(VMON.name, T + 49 * NS, T + 51 * NS)
    assert [sample["value"] for sample in found] == [[48.5], [49.5], [50.5], [51.5]]  # what was in force comes first
    assert [sample["time"] - T for sample in found] == [second * NS for second in (48, 49, 50, 51)]
    assert [sample["severity"]["level"] for sample in found] == ["OK", "OK", "MINOR", "OK"]
    mandatory = {"time", "severity", "status", "quality", "type", "value", "metaData"}
    assert all(set(sample) == mandatory for sample in found)
    assert set(found[0]["metaData"]) == {
        "type", "precision", "units", "displayLow", "displayHigh", "warnLow", "warnHigh", "alarmLow", "alarmHigh",
    }  # fmt: skip
    assert (found[0]["metaData"]["units"], found[0]["metaData"]["precision"]) == ("V", 1)


def test_each_kind_of_value_has_its_type(site: Site) -> None:
    (state,) = site.samples(STATE.name, T + 100 * NS, T + 101 * NS)
    assert (state["type"], state["value"], state["metaData"]) == (
        "enum",
        [1],
        {"type": "enum", "states": ["OFF", "ON"]},
    )
    (count,) = site.samples(COUNT.name, T + 100 * NS, T + 101 * NS)
    assert (count["type"], count["value"]) == ("long", [7])
    (text,) = site.samples(MSG.name, T + 100 * NS, T + 101 * NS)
    assert (text["type"], text["value"], text["severity"]["level"]) == ("string", ['said "no"'], "MAJOR")
    assert "metaData" not in text
    assert {sample["value"][0] for sample in site.samples(FLAG.name, T, T + 90 * NS)} == {1}


def test_a_lost_channel_is_a_gap(site: Site) -> None:
    lost = site.samples(VMON.name, T + 99 * NS, T + 250 * NS)[-1]
    assert (lost["value"], lost["status"], lost["severity"]["level"]) == (["NaN"], "Disconnected", "INVALID")


def test_many_samples_become_bins(site: Site) -> None:
    found = site.samples(VMON.name, T, T + 100 * NS, 10)
    assert len(found) == 10
    assert {sample["type"] for sample in found} == {"minMaxDouble"}
    first = found[0]
    assert (first["minimum"], first["maximum"], first["value"], first["time"]) == (0.5, 9.5, [5.0], T)
    assert [sample["severity"]["level"] for sample in found].count("MINOR") == 1
    assert len(site.samples(VMON.name, T, T + 5 * NS, 100)) == 6


def test_a_long_answer_is_compressed_for_those_who_take_it(site: Site) -> None:
    path = f"/archive/1/samples/{VMON.name}?start={T}&end={T + 99 * NS}"
    assert site.get(path) == site.get(path, **{"Accept-Encoding": "gzip, deflate"})


def test_what_is_not_there_is_a_404_and_what_cannot_be_read_a_400(site: Site) -> None:
    assert site.status_of("/archive/1/samples/NONE?start=1&end=2") == 404
    assert site.status_of("/archive/2/samples/LAB?start=1&end=2") == 404
    assert site.status_of("/") == 404
    assert site.status_of(f"/archive/1/samples/{VMON.name}?start=x") == 400
    assert site.status_of("/retrieval/data/getData.json?pv=sum_3(LAB)") == 400
    assert site.status_of(f"/archive/1/channels-by-pattern/{'*A' * 1000}") == 400
    assert site.get(f"/archive/1/channels-by-pattern/{'*A' * 100}") == []
    assert site.status_of(f"/retrieval/data/getData.json?pv={VMON.name}&from=yesterday") == 400


def iso(seconds: int) -> str:
    return {0: "2026-11-18T11:06:40Z", 10: "2026-11-18T11:06:50.000Z"}[seconds]


def test_clients_of_the_archiver_appliance_get_their_form(site: Site) -> None:
    query = f"from={iso(0)}&to={iso(10)}"
    ((answer),) = site.get(f"/retrieval/data/getData.json?pv={VMON.name}&{query}")
    assert answer["meta"] == {"name": VMON.name, "EGU": "V", "PREC": "1"}
    assert answer["data"][0] == {"secs": T // NS, "nanos": 0, "val": 0.5, "severity": 0, "status": 0}
    assert len(answer["data"]) == 11
    (quick,) = site.get(f"/retrieval/data/getData.qw?pv={VMON.name}&{query}")
    assert quick["data"][3]["millis"] == T // 10**6 + 3000
    for operator, values in {
        "mean_5": [2.5, 7.5, 10.5],
        "max_5": [4.5, 9.5, 10.5],
        "optimized_2": [2.5, 7.5, 10.5],
    }.items():
        (few,) = site.get(f"/retrieval/data/getData.json?pv={operator}({VMON.name})&{query}")
        assert [sample["val"] for sample in few["data"]] == values
    assert site.get("/retrieval/bpl/getMatchingPVs?pv=*VMON&limit=-1") == [VMON.name]


def test_GIVEN_more_samples_than_are_held_at_once_WHEN_they_are_asked_for_THEN_it_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver.history.web.MOST_SAMPLES", 50)
    path = f"/archive/1/samples/{VMON.name}?start={T}&end="
    assert len(list(site.pages.page(f"{path}{T + 40 * NS}"))) == 41
    with pytest.raises(TooMany, match="more than 50 samples there: ask for a shorter time, or for bins"):
        site.pages.page(f"{path}{T + 90 * NS}")
    for count in (10, 60):
        few = list(site.pages.page(f"{path}{T + 90 * NS}&count={count}"))
        assert 9 <= len(few) <= 52
        assert few[-1]["maximum"] == 90.5


def test_GIVEN_a_loss_WHEN_a_client_of_the_appliance_asks_THEN_the_next_sample_says_how_long(site: Site) -> None:
    samples = [
        Sample(T, 1.0, 0), Sample(T + 5 * NS, connected=False), Sample(T + 8 * NS, connected=True),
        Sample(T + 9 * NS, 2.0), Sample(T + 10 * NS, 3.0), Sample(T + 20 * NS, severity=3), Sample(T + 30 * NS, 4.0, 0),
    ]  # fmt: skip
    pages = ArchivePages(site.known, lambda *_: iter(samples), "LAB", lambda: T)
    (found,) = pages.page(f"/retrieval/data/getData.json?pv={VMON.name}")
    assert [sample.get("fields") for sample in found["data"]] == [
        None,
        {"cnxlostepsecs": str(T // NS + 5), "cnxregainedepsecs": str(T // NS + 9)},
        None,
        {"cnxlostepsecs": str(T // NS + 20), "cnxregainedepsecs": str(T // NS + 30)},
    ]


def test_GIVEN_many_clients_that_ask_nothing_WHEN_there_are_too_many_THEN_further_ones_are_closed(site: Site) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(site.server.address, timeout=10)) for _ in range(40)]
        assert any(one.recv(1) == b"" for one in idle[-1:])
    deadline = time.monotonic() + 10
    while True:  # the others have gone, so that there is room again
        try:
            site.get("/archive/")
        except OSError:
            assert time.monotonic() < deadline
            continue
        break


def test_GIVEN_no_answer_of_the_database_WHEN_the_log_has_a_part_THEN_that_is_given(site: Site) -> None:
    server = ServerConfig("none", "http://127.0.0.1:1", 1, database="lab")
    found = list(combined(site.directory, server, site.known, VMON.name, T - 3600 * NS, T + 9 * NS))
    assert [sample.value for sample in found if sample.value is not None] == [second + 0.5 for second in range(10)]
    assert list(combined(site.directory, None, site.known, VMON.name, T - 3600 * NS, T + 9 * NS)) == found
