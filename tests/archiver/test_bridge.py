"""The bridge as a user runs it, between a C softIoc and a real InfluxDB: exact, through outages, kills and restarts."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from archiver.history.samples import Sample, from_log
from archiver.log.reader import lines
from archiver.points.catalogue import load
from tests.archiver.influx.databases import Influx1
from tests.archiver.influx.fake_influx import FakeInflux, Status
from tests.conftest import unavailable
from tests.libca import Context
from tests.softioc import ROOT, ServerProcess, free_port, start_softioc

COUNTERS = 20
DATABASE = [(Path(__file__).parent / "counter.db", {"P": "T", "N": str(n)}) for n in range(COUNTERS)]
NAMES = [f"T:COUNT{n}" for n in range(COUNTERS)]
NS = 10**9
TIME_STRING, TIME_DOUBLE = 14, 20
LABIOC = [sys.executable, "-c", "import sys; from ioc.cli import main; sys.exit(main())"]


def wait(condition: Callable[[], bool], seconds: float = 25.0, what: Callable[[], object] = lambda: "") -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.02)


class BridgeProcess:
    """``labioc archive`` on a site file of its own."""

    def __init__(self, root: Path, port: int, servers: str = "", extra: str = "", pvs: Sequence[str] = NAMES) -> None:
        self.directory = root / "log"
        self.site = root / "site.toml"
        self.site.write_text(
            f'[site]\nprefix = "LAB"\n[archiver]\ndirectory = "log"\nlists = ["pvs.txt"]\n{extra}{servers}'
        )
        (root / "pvs.txt").write_text("# other IOCs\n" + "\n".join(pvs))
        self._environment = {
            **os.environ,
            "EPICS_CA_ADDR_LIST": f"127.0.0.1:{port}",
            "EPICS_CA_SERVER_PORT": str(free_port()),
            "EPICS_CA_MAX_SEARCH_PERIOD": "1",
        }
        self.log = root / "bridge.log"
        self.start()

    def start(self, command: Sequence[str] = LABIOC) -> None:
        with self.log.open("a") as file:
            self.process = subprocess.Popen(
                [*command, "archive", str(self.site)], cwd=ROOT, env=self._environment, stderr=file
            )

    def run(self, *arguments: str) -> str:
        command = [*LABIOC, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=True
        ).stdout

    def status(self) -> dict[str, Any]:
        """What it says of itself, as soon as it does."""
        end = time.monotonic() + 25
        while True:
            assert self.process.poll() is None, self.log.read_text()
            try:
                url = (self.directory / "status-address").read_text().strip()
                with urllib.request.urlopen(url + "/status", timeout=5) as answer:
                    status: dict[str, Any] = json.load(answer)
                    return status
            except OSError:
                assert time.monotonic() < end, self.log.read_text()
                time.sleep(0.02)

    def wait_points(self, points: int) -> None:
        wait(lambda: self.status()["points"] >= points, 25, lambda: (self.status(), self.log.read_text()))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM"""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0


def influx1(url: str, **more: str) -> str:
    lines = "".join(f'{key} = "{value}"\n' for key, value in {"url": url, "database": "lab", **more}.items())
    return f'[[archiver.influxdb]]\nversion = 1\nname = "db"\n{lines}'


@pytest.fixture
def softioc() -> Iterator[ServerProcess]:
    try:
        server = start_softioc(DATABASE)
    except (RuntimeError, TimeoutError) as error:
        unavailable(f"the softIoc does not start: {error}")
    yield server
    server.stop()


@pytest.fixture
def bridge(tmp_path: Path, softioc: ServerProcess) -> Iterator[Callable[..., BridgeProcess]]:
    running: list[BridgeProcess] = []

    def start(servers: str = "", extra: str = "") -> BridgeProcess:
        running.append(BridgeProcess(tmp_path, softioc.port, servers, extra))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.kill()


def counted(samples: list[Sample]) -> list[float]:
    return [float(sample.value) for sample in samples if sample.value is not None]


def assert_no_hole(values: list[float]) -> None:
    assert values == [values[0] + n for n in range(len(values))]


def history(directory: Path, pv: str) -> list[Sample]:
    return list(from_log(directory, load(directory), pv, 0, time.time_ns()))


def test_GIVEN_counting_records_WHEN_they_are_archived_THEN_influxdb_has_what_libca_saw_to_the_nanosecond(
    softioc: ServerProcess, influxd: Influx1, bridge: Callable[..., BridgeProcess]
) -> None:
    one = bridge(influx1(influxd.url))
    one.wait_points(COUNTERS * 5)
    with Context(softioc.address) as context:
        subscriptions = [channel.monitor(TIME_DOUBLE) for channel in context.connect(NAMES)]
        seen = [subscription.wait(15, 20) for subscription in subscriptions]
    one.wait_points(one.status()["points"] + COUNTERS)
    wait(lambda: one.status()["queue"] < COUNTERS * 5)
    one.stop()
    for name, replies in zip(NAMES, seen, strict=True):
        stored = {row["value"]: row["time"] for row in influxd.rows(f'SELECT value FROM "{name}"', "lab")}
        assert_no_hole(sorted(stored))
        for reply in replies:
            seconds, nanoseconds = struct.unpack_from("=II", reply.raw, 4)
            assert stored[reply.value] == (seconds + 631_152_000) * NS + nanoseconds
    (running,) = influxd.query("SELECT running FROM archive_bridge", "lab")
    assert [row[1] for row in running["values"]] == [1, 0]


def test_GIVEN_an_outage_of_the_database_WHEN_it_comes_back_THEN_nothing_is_missing_and_the_pvs_tell(
    softioc: ServerProcess, influxd: Influx1, bridge: Callable[..., BridgeProcess]
) -> None:
    one = bridge(influx1(influxd.url))
    one.wait_points(COUNTERS * 5)
    influxd.kill()
    before = one.status()["points"]
    wait(lambda: one.status()["state"] == "SPOOLING")
    one.wait_points(before + COUNTERS * 10)
    influxd.start()
    wait(lambda: one.status()["state"] == "OK" and one.status()["queue"] < COUNTERS * 5, 40, one.status)
    one.stop()
    for name in NAMES:
        assert_no_hole([row["value"] for row in influxd.rows(f'SELECT value FROM "{name}"', "lab")])


def test_GIVEN_a_running_bridge_WHEN_it_is_killed_again_and_again_THEN_all_that_it_counted_is_there(
    softioc: ServerProcess, bridge: Callable[..., BridgeProcess]
) -> None:
    fake = FakeInflux()
    try:
        one = bridge(influx1(fake.url))
        chance = random.Random(5)
        logged = 0
        for attempt in range(4):
            fake.always = Status(503) if attempt % 2 else None
            one.wait_points(COUNTERS * 3)
            counted = one.status()["points"]
            time.sleep(chance.random() / 2)  # the moment of the kill, not a wait for anything
            one.kill()
            before, logged = logged, points_in_log(one)
            assert logged - before >= counted
            one.start()
        fake.always = None
        wait(lambda: one.status()["points"] > COUNTERS and one.status()["queue"] < COUNTERS * 5, 25)
        one.stop()
        stored = {key[0] for key in fake.points}
        assert stored >= set(NAMES)
        sent = {(key[0], key[-1]) for key in fake.points}
        kept = {
            (name, sample.time) for name in NAMES for sample in history(one.directory, name) if sample.value is not None
        }
        assert kept <= sent
    finally:
        fake.stop()


def points_in_log(one: BridgeProcess) -> int:
    return sum(1 for _ in lines(one.directory, [b"T:COUNT", b"archive_"]))


def test_GIVEN_the_log_alone_WHEN_the_ioc_restarts_THEN_the_history_shows_the_gap(
    softioc: ServerProcess, bridge: Callable[..., BridgeProcess], tmp_path: Path
) -> None:
    one = bridge()
    one.wait_points(COUNTERS * 5)
    port = softioc.port
    softioc.kill()
    wait(lambda: one.status()["connected"] == 0)
    again = start_softioc(DATABASE, port=port)
    try:
        wait(lambda: one.status()["connected"] == COUNTERS, 20, one.status)
        one.wait_points(one.status()["points"] + COUNTERS * 3)
        shown = one.run("history", NAMES[3], "--directory", str(one.directory))
        shown_changes = [line.split("  ")[1] for line in shown.splitlines() if "***" in line]
        assert shown_changes == ["*** connected", "*** disconnected", "*** connected"]
        text = one.run("history", NAMES[3], "--site", str(one.site), "--plot", "terminal", "--since", "1m")
        assert NAMES[3] in text
        one.run(
            "history",
            NAMES[3],
            "--site",
            str(one.site),
            "--plot",
            str(tmp_path / "p.png"),
            "--csv",
            str(tmp_path / "p.csv"),
        )
        assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
        rows = (tmp_path / "p.csv").read_text().splitlines()
        assert len(rows) > 10
        table = one.run("archive", str(one.site), "status")
        assert f"PVs        {COUNTERS} of " in table
        one.stop()
    finally:
        again.stop()


def test_GIVEN_a_bridge_WHEN_another_is_started_on_its_log_THEN_that_one_says_why_it_ends(
    bridge: Callable[..., BridgeProcess],
) -> None:
    one = bridge()
    one.wait_points(COUNTERS)
    with pytest.raises(subprocess.CalledProcessError) as error:
        one.run("archive", str(one.site))
    assert "is written to by another process" in error.value.stderr
    one.stop()


def test_GIVEN_arch_pvs_WHEN_a_client_asks_THEN_they_tell_state_and_rate(
    bridge: Callable[..., BridgeProcess],
) -> None:
    port = free_port()
    one = bridge(influx1("http://127.0.0.1:9"), extra=f"port = {port}\n")
    one.wait_points(COUNTERS * 5)
    with Context(f"127.0.0.1:{port}") as context:
        names = [f"LAB:ARCH:{name}" for name in ("STATE", "QUEUE", "SPOOL", "LOST", "LAG", "RATE")]
        state, queue, spool, lost, lag, rate = context.connect(names)
        state.monitor(TIME_STRING).wait_value("SPOOLING", 20)
        reply = state.get(TIME_STRING)
        assert (reply.decoded.value, reply.decoded.severity) == ("SPOOLING", 1)
        assert queue.value() > COUNTERS
        assert spool.value() > 0
        assert lost.value() == 0
        assert lag.value() > 0
        # A busy computer takes the events of two seconds in one, or of half a second.
        rates = [reply.value for reply in rate.monitor(TIME_DOUBLE).wait(4, 20)]
        assert COUNTERS * 10 * 0.2 < max(rates) < COUNTERS * 10 * 5
    one.stop()
