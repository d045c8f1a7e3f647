"""A writer against every fault a server can have: nothing is lost, nothing is stored twice, neighbours get through."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest

from archiver.config import ServerConfig
from archiver.influx.api import Verdict, judge
from archiver.influx.deadletter import DeadLetters
from archiver.influx.http import Answer
from archiver.influx.writers import State, Writer
from archiver.points.lineprotocol import Point
from tests.archiver.influx.fake_influx import CloseAfter, Dribble, FakeInflux, Fault, Hang, LoseAnswer, Reset, Status
from tests.archiver.influx.writer_rig import Bench, MemoryLog
from tests.softioc import free_port

FAULTS: dict[str, Fault] = {
    "500": Status(500, '{"error":"timeout"}'),
    "502 with a page": Status(502, "<html>Bad Gateway</html>"),
    "503": Status(503),
    "429": Status(429, '{"code":"too many requests"}', {"Retry-After": "0"}),
    "401": Status(401, '{"error":"authorization failed"}'),
    "403": Status(403, '{"message":"forbidden"}'),
    "404": Status(404, '{"error":"database not found: \\"d\\""}'),
    "no retention policy": Status(500, '{"error":"retention policy not found: x"}'),
    "200 of a proxy": Status(200, "<html>please log in</html>"),
    "redirect": Status(302, "", {"Location": "/elsewhere"}),
    "reset in the body": Reset(),
    "lost answer": LoseAnswer(),
    "closed behind our back": CloseAfter(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_GIVEN_a_server_WHEN_it_fails_now_and_then_THEN_everything_is_stored_once(bench: Bench, fault: Fault) -> None:
    for first in range(0, 1000, 100):
        bench.log.add(first, 100)
        bench.fake.faults.extend([fault, None])
    bench.writer.start()
    bench.wait_drained()
    assert len(bench.fake.points) == 1000
    assert all(fields == {"VMON": key[-1] - 10**18 + 0.5} for key, fields in bench.fake.points.items())
    assert bench.progress.points == 1000
    assert bench.progress.refused == 0
    assert bench.progress.state is State.OK
    assert not bench.letters.path.exists()


@pytest.mark.parametrize("fault", [Hang(), Dribble()], ids=["hang", "dribble"])
def test_GIVEN_a_server_that_never_ends_its_answer_WHEN_time_is_up_THEN_the_points_are_sent_again(
    tmp_path: Path, fault: Fault
) -> None:
    bench = Bench(tmp_path, timeout=0.3)
    bench.log.add(0, 50)
    bench.fake.faults.append(fault)
    bench.writer.start()
    try:
        bench.wait_drained()
        assert len(bench.fake.points) == 50
        assert bench.progress.failures == 1
    finally:
        bench.writer.stop(0)
        bench.fake.stop()


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        (Status(503, "overloaded"), State.RETRYING, "503 overloaded"),
        (Status(401, '{"error":"authorization failed"}'), State.MISCONFIGURED, "401 authorization failed"),
        (Status(404, '{"error":"database not found"}'), State.MISCONFIGURED, "404 database not found"),
        (Status(500, '{"error":"retention policy not found: x"}'), State.MISCONFIGURED, "policy not found"),
        (Status(200, "hello"), State.MISCONFIGURED, "is this the address of a database"),
    ],
)
def test_GIVEN_a_lasting_fault_WHEN_it_is_mended_THEN_the_state_says_so_all_along(
    bench: Bench, fault: Status, state: State, words: str
) -> None:
    bench.fake.always = fault
    bench.log.add(0, 10)
    bench.writer.start()
    bench.wait(lambda: bench.progress.failures >= 2)
    assert bench.progress.state is state
    assert words in bench.progress.reason
    assert bench.progress.oldest_ns == 1
    bench.fake.always = None
    bench.wait_drained()
    assert bench.progress.state is State.OK
    bench.wait(lambda: bench.progress.oldest_ns == 0)


@pytest.mark.parametrize("code", [400, 413, 422])
def test_GIVEN_a_server_that_refuses_whole_batches_WHEN_they_are_split_THEN_all_the_good_ones_arrive(
    bench: Bench, code: int
) -> None:
    store = bench.fake.store

    def all_or_nothing(points: list[Point]) -> str:
        return '{"error":"nothing of it"}' if any(point.time == 10**18 + 20 for point in points) else store(points)

    bench.fake.refusal = code
    bench.fake.store = all_or_nothing  # type: ignore[method-assign]
    bench.log.add(0, 40)
    bench.writer.start()
    bench.wait_drained()
    assert len(bench.fake.points) == 39
    assert bench.progress.refused == 1


def test_GIVEN_a_limit_on_the_body_WHEN_a_batch_is_too_large_THEN_it_is_sent_in_pieces(bench: Bench) -> None:
    bench.fake.faults.append(Status(413, "Request Entity Too Large"))
    bench.fake.faults.append(Status(413, "Request Entity Too Large"))
    bench.log.add(0, 64)
    bench.writer.start()
    bench.wait_drained()
    assert len(bench.fake.points) == 64
    assert bench.progress.refused == 0


def test_GIVEN_retry_after_WHEN_the_server_asks_for_it_THEN_it_is_left_alone_for_that_long(bench: Bench) -> None:
    bench.fake.faults.append(Status(429, "", {"Retry-After": "1"}))
    bench.log.add(0, 10)
    began = time.monotonic()
    bench.writer.start()
    bench.wait_drained()
    assert time.monotonic() - began >= 1.0


def test_GIVEN_a_full_disk_WHEN_the_position_cannot_be_kept_THEN_it_is_later_and_no_point_sent_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver.influx.writers.LONGEST_DELAY", 0.05)
    bench.log.commit_errors = 2
    bench.log.add(0, 10)
    bench.writer.start()
    bench.wait_drained()
    assert len(bench.fake.points) == 10
    assert set(bench.fake.times_sent.values()) == {1}
    bench.log.add(10, 10)
    bench.wait_drained()
    assert len(bench.fake.points) == 20


def test_GIVEN_a_healthy_server_WHEN_the_writer_is_stopped_THEN_everything_in_the_log_is_sent_first(
    bench: Bench,
) -> None:
    for first in range(0, 2000, 100):
        bench.log.add(first, 100)
    bench.writer.start()
    bench.writer.stop(5.0)
    assert len(bench.fake.points) == 2000


@pytest.mark.parametrize("fault", [Hang(), Status(503), Status(429, "", {"Retry-After": "100"})])
def test_GIVEN_a_server_in_trouble_WHEN_the_writer_is_stopped_THEN_it_ends_long_before_the_server_answers(
    tmp_path: Path, fault: Fault
) -> None:
    bench = Bench(tmp_path, timeout=300.0)
    bench.fake.always = fault
    bench.log.add(0, 10)
    bench.writer.start()
    try:
        bench.wait(lambda: bool(bench.fake.requests))
        bench.writer.stop(0.2)
        assert not bench.writer.alive
        assert bench.log.committed == 0
    finally:
        bench.fake.stop()


def test_GIVEN_no_answer_of_the_name_service_WHEN_the_writer_is_stopped_THEN_it_is_left_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("archiver.influx.writers._END_SECONDS", 0.05)
    asked, answer = threading.Event(), threading.Event()

    def resolve(*_: object, **__: object) -> NoReturn:
        asked.set()
        answer.wait()
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr("archiver.influx.http.socket.create_connection", resolve)
    bench.log.add(0, 10)
    bench.writer.start()
    assert asked.wait(10)
    bench.writer.stop(0.05)
    assert bench.writer.alive
    assert "not waited for any longer" in caplog.text
    answer.set()
    bench.wait(lambda: not bench.writer.alive)
    assert bench.log.committed == 0


def test_GIVEN_many_batches_WHEN_nothing_goes_wrong_THEN_one_connection_is_enough(bench: Bench) -> None:
    for first in range(0, 2000, 100):
        bench.log.add(first, 100)
    bench.writer.start()
    bench.wait_drained()
    assert bench.fake.connections == 1
    assert bench.progress.requests == 20
    assert bench.fake.requests[0][1]["Content-Encoding"] == "gzip"


def test_GIVEN_no_server_at_the_port_WHEN_the_server_comes_THEN_the_points_do_too(tmp_path: Path) -> None:
    port = free_port()
    log = MemoryLog()
    log.add(0, 10)
    server = ServerConfig("x", f"http://127.0.0.1:{port}", database="d")
    writer = Writer(server, log, DeadLetters(tmp_path, "x"), first_delay=0.02)
    writer.start()
    end = time.monotonic() + 20
    while writer.progress.failures < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert "refused" in writer.progress.reason
    second = FakeInflux(port)
    try:
        while log.committed == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert len(second.points) == 10
    finally:
        writer.stop(1.0)
        second.stop()


def test_an_unexpected_failure_does_not_end_the_writer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archiver.influx.writers.LONGEST_DELAY", 0.02)
    answers = iter([RuntimeError("a mistake in the program")])

    def once(answer: Answer) -> Verdict:
        for error in answers:
            raise error
        return judge(answer)

    monkeypatch.setattr("archiver.influx.writers.judge", once)
    bench.log.add(0, 10)
    bench.writer.start()
    bench.wait(lambda: bench.progress.failures == 1)
    bench.wait_drained()
    assert len(bench.fake.points) == 10
