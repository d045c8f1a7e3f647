"""A writer against every fault a server can have: nothing is lost, nothing is stored twice, neighbours get through."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from archiver.config import ServerConfig
from archiver.influx.api import Verdict, judge
from archiver.influx.deadletter import DeadLetters
from archiver.influx.delivery import Progress, State
from archiver.influx.http import Answer
from archiver.influx.writers import Writer
from archiver.points.lineprotocol import Point
from tests.archiver.influx.fake_influx import CloseAfter, Dribble, FakeInflux, Fault, Hang, LoseAnswer, Reset, Status
from tests.softioc import free_port


@dataclass
class MemoryBlock:
    position: int
    payload: bytes
    points: int
    oldest_ns: int = 1


class MemoryLog:
    """A log in memory; a block is what was added at once."""

    def __init__(self) -> None:
        self.blocks: list[MemoryBlock] = []
        self.committed = 0
        self.next = 0
        self.commit_errors = 0

    def add(self, first: int, count: int) -> None:
        payload = b"".join(
            b"HV,channel=%d VMON=%d.5 %d\n" % (n % 7, n, 10**18 + n) for n in range(first, first + count)
        )
        self.blocks.append(MemoryBlock(len(self.blocks) + 1, payload, count))

    def read(self, max_bytes: int) -> MemoryBlock | None:
        if self.next == len(self.blocks):
            return None
        self.next += 1
        return self.blocks[self.next - 1]

    def commit(self, position: int) -> None:
        if self.commit_errors:
            self.commit_errors -= 1
            raise OSError(28, "No space left on device")
        self.committed = position


class Bench:
    """One fake server, one writer."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.fake = FakeInflux()
        self.log = MemoryLog()
        self.server = ServerConfig(
            "fake", self.fake.url, database="d", **{"timeout": 2.0, "batch_seconds": 0.01, **settings}
        )
        self.letters = DeadLetters(directory, "fake")
        self.writer = Writer(self.server, self.log, self.letters, first_delay=0.02)

    @property
    def progress(self) -> Progress:
        return self.writer.progress

    def wait(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{self.progress}, {len(self.fake.points)} points"
            time.sleep(0.005)

    def wait_drained(self) -> None:
        self.wait(lambda: self.log.committed == len(self.log.blocks))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    if one.writer._thread.is_alive():
        one.writer.stop(0)
    one.fake.stop()


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


def test_GIVEN_refused_points_in_a_batch_WHEN_it_is_sent_THEN_they_alone_go_to_the_dead_letters(bench: Bench) -> None:
    bad = {3, 4, 77, 500, 999}
    bench.fake.refuse = lambda point: "field type conflict" if point.time - 10**18 in bad else None  # type: ignore[operator]
    bench.log.add(0, 1000)
    bench.log.add(1000, 100)
    bench.writer.start()
    bench.wait_drained()
    assert len(bench.fake.points) == 1095
    assert bench.progress.refused == 5
    assert bench.progress.points == 1095
    text = bench.letters.path.read_text(encoding="utf-8").splitlines()
    assert {int(line.split()[-1]) - 10**18 for line in text[1::2]} == bad
    assert len(text) == 2 * len(bad)
    assert all(line.startswith("# 20") and "field type conflict" in line for line in text[::2])


def test_GIVEN_a_field_that_is_refused_WHEN_it_is_spread_over_a_batch_THEN_few_requests_find_it(bench: Bench) -> None:
    bench.fake.refuse = lambda point: "type" if "BAD" in point.fields else None
    payload = b"".join(
        b"HV,channel=%d %s=%d.5 %d\n" % (n % 7, b"BAD" if n % 20 == 0 else b"VMON", n, 10**18 + n) for n in range(2000)
    )
    bench.log.blocks.append(MemoryBlock(1, payload, 2000))
    bench.writer.start()
    bench.wait_drained()
    assert (bench.progress.points, bench.progress.refused) == (1900, 100)
    assert bench.progress.requests < 250  # two for each that is refused, and some to find where they begin
    values = {key[-1]: fields["VMON"] for key, fields in bench.fake.points.items()}
    assert values == {10**18 + n: n + 0.5 for n in range(2000) if n % 20}


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
    monkeypatch.setattr("archiver.influx.delivery.LONGEST_DELAY", 0.05)
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
    monkeypatch.setattr("archiver.influx.delivery._END_SECONDS", 0.05)
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


def test_GIVEN_nobody_listens_WHEN_the_server_comes_THEN_the_points_do_too(tmp_path: Path) -> None:
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
    monkeypatch.setattr("archiver.influx.delivery.LONGEST_DELAY", 0.02)
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


def test_GIVEN_a_full_disk_WHEN_a_dead_letter_cannot_be_kept_THEN_it_is_later_and_the_others_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver.influx.delivery.LONGEST_DELAY", 0.02)
    bad = [5, 40, 90]
    bench.fake.refuse = lambda point: "no" if point.time - 10**18 in bad else None  # type: ignore[operator]
    failing = [OSError(28, "No space left on device")] * 3
    add = bench.letters.add

    def full(line: bytes, reason: str) -> None:
        if line.endswith(b"40") and failing:
            raise failing.pop()
        add(line, reason)

    monkeypatch.setattr(bench.letters, "add", full)
    bench.log.add(0, 100)
    bench.writer.start()
    bench.wait_drained()
    assert not failing
    letters = bench.letters.path.read_text(encoding="utf-8").splitlines()
    assert sorted(int(line.split()[-1]) - 10**18 for line in letters[1::2]) == bad
    assert (bench.progress.refused, bench.progress.points) == (3, 97)


def test_the_dead_letter_file_is_bounded_and_what_it_pushes_out_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver.influx.deadletter.LARGEST", 200)
    letters = DeadLetters(tmp_path, "s")
    for number in range(50):
        letters.add(b"m a=%d 1" % number, "reason\nin two lines")
    letters.sync()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dead-letters-s.lp", "dead-letters-s.lp.1"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 600
    assert letters.path.read_text(encoding="utf-8").endswith("reason in two lines\nm a=49 1\n")
    kept = sum(path.read_bytes().count(b"\nm a=") for path in tmp_path.iterdir())
    assert kept + letters.lost == 50


def test_a_dead_letter_is_kept_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = DeadLetters(tmp_path, "s")
    letters.add(b"m a=1 1", "why")
    whole = letters.path.read_bytes()
    write = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:7], at))
        with pytest.raises(OSError, match="No space"):
            letters.add(b"m a=2 2", "why")
    assert letters.path.read_bytes() == whole
    letters.path.write_bytes(whole[:-3])  # as a loss of power leaves it
    letters.add(b"m a=3 3", "why")
    assert letters.path.read_text(encoding="utf-8").splitlines()[-1] == "m a=3 3"
    assert len(letters.path.read_text(encoding="utf-8").splitlines()) == 4


def refuse_batches_with(bench: Bench, is_bad: Callable[[Point], bool], code: int, words: str) -> None:
    """Let the server answer a whole request with an error, and store none of it, when one point in it is bad."""
    store = bench.fake.store
    bench.fake.refusal = code
    bench.fake.store = (  # type: ignore[method-assign]
        lambda points: words if any(map(is_bad, points)) else store(points)
    )


@pytest.mark.parametrize(
    "words",
    [
        '{"code":"internal error","message":"unexpected error writing points: engine: field type conflict"}',
        '{"code":"internal error","message":"partial write: points dropped=1"}',
        '{"code":"internal error","message":"shard 17 failed"}',
        "Internal Server Error",
    ],
)
def test_GIVEN_a_point_that_causes_a_server_error_WHEN_it_is_in_a_batch_THEN_it_alone_is_a_dead_letter(
    bench: Bench, words: str
) -> None:
    refuse_batches_with(bench, lambda point: point.time == 10**18 + 37, 500, words)
    for first in (0, 100, 200):
        bench.log.add(first, 100)
    bench.writer.start()
    bench.wait_drained()
    assert len(bench.fake.points) == 299
    assert (bench.progress.refused, bench.progress.state) == (1, State.OK)
    assert "VMON=37.5 1000000000000000037" in bench.letters.path.read_text(encoding="utf-8")


def test_GIVEN_a_server_that_answers_everything_with_an_error_WHEN_it_recovers_THEN_no_point_is_a_dead_letter(
    bench: Bench,
) -> None:
    bench.log.add(0, 10)
    bench.writer.start()
    bench.wait_drained()
    bench.fake.always = Status(500, '{"error":"timeout"}')
    bench.log.add(10, 1)
    bench.wait(lambda: bench.progress.failures >= 6)
    bench.fake.always = None
    bench.wait_drained()
    assert (len(bench.fake.points), bench.progress.refused) == (11, 0)


def test_GIVEN_a_server_that_recovers_late_WHEN_another_point_is_stored_THEN_the_last_one_is_too(bench: Bench) -> None:
    bench.log.add(0, 10)
    bench.writer.start()
    bench.wait_drained()
    bench.fake.faults.extend([Status(503, '{"error":"timeout"}')] * 4)  # the next one is that of the other point
    bench.log.add(10, 1)
    bench.wait_drained()
    assert not bench.fake.faults
    assert (len(bench.fake.points), bench.progress.refused, bench.progress.state) == (11, 0, State.OK)


def test_GIVEN_a_field_of_another_type_WHEN_rows_come_THEN_their_other_fields_are_stored(
    bench: Bench,
) -> None:
    conflict = "field type conflict: input field IS_ON on measurement HV is type integer, already exists as boolean"
    kind: list[type] = [bool]
    bench.fake.refuse = lambda point: conflict if type(point.fields.get("IS_ON", kind[0]())) is not kind[0] else None
    rows = b"".join(b"HV,channel=1 VMON=%d.5,IS_ON=1i,STAT=3i %d\n" % (n, 10**18 + n) for n in range(100))
    bench.log.blocks.append(MemoryBlock(1, rows, 100))
    bench.writer.start()
    bench.wait_drained()
    assert [fields["VMON"] for fields in bench.fake.points.values()] == [n + 0.5 for n in range(100)]
    assert all("IS_ON" not in fields for fields in bench.fake.points.values())
    assert bench.progress.refused == 100
    assert bench.progress.requests < 100  # the field is set aside once it is known
    assert [text.partition(":")[0] for text in bench.progress.conflicts] == ["field IS_ON of HV is refused"]
    kind[0] = int  # mended: the trial of the next batch finds it out
    bench.log.blocks.append(MemoryBlock(2, rows.replace(b" 1000", b" 2000"), 100))
    bench.wait_drained()
    stored = [fields for key, fields in bench.fake.points.items() if key[-1] >= 2 * 10**18]
    assert len(stored) == 100
    assert all(fields["IS_ON"] == 1 for fields in stored)  # those behind the trial waited for it
    assert bench.progress.refused == 100
    bench.log.blocks.append(MemoryBlock(3, b"HV,channel=1 VMON=1.0,IS_ON=1i 7\n", 1))
    bench.wait_drained()
    assert bench.fake.points[("HV", ("channel", "1"), 7)] == {"VMON": 1.0, "IS_ON": 1}
    assert bench.progress.conflicts == ()
