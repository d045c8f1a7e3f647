"""The writer to Kafka: nothing lost, nothing doubled, the position moved after the reports; also with a real broker."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from archiver.config import ServerConfig
from archiver.influx.deadletter import DeadLetters
from archiver.influx.writers import State
from archiver.kafka.writer import KafkaWriter
from archiver.log.reader import Reader
from archiver.log.segments import SegmentLog
from archiver.points.lineprotocol import parse
from tests.archiver.influx.writer_rig import MemoryBlock, MemoryLog
from tests.archiver.kafka.broker import Broker
from tests.conftest import unavailable


class Error:
    """An error as librdkafka reports it."""

    def __init__(self, name: str, fatal: bool = False) -> None:
        self._name, self._fatal = name, fatal

    def name(self) -> str:
        return self._name

    def str(self) -> str:
        return f"words of {self._name}"

    def fatal(self) -> bool:
        return self._fatal


class KafkaException(Exception):
    """What ``produce`` raises for a record that the library itself refuses."""


Report = Callable[[Error | None, object], None]


class FakeCluster:
    """Producers that store what they are given, and report it when they are polled.

    ``silent``: nothing is reported; ``errors`` are reported for the next records, None is stored.
    """

    def __init__(self) -> None:
        self.stored: list[tuple[str, bytes, bytes]] = []
        self.errors: list[Error | None] = []
        self.silent = False
        self.producers: list[FakeProducer] = []
        self.refuse: Callable[[bytes], Error | None] = lambda value: None
        self.refuse_at_once: Callable[[bytes], Error | None] = lambda value: None
        self.queue = 1000

    def make(self, settings: Mapping[str, Any]) -> FakeProducer:
        self.producers.append(FakeProducer(self, settings))
        return self.producers[-1]


class FakeProducer:
    def __init__(self, cluster: FakeCluster, settings: Mapping[str, Any]) -> None:
        self.cluster, self.settings = cluster, settings
        self._waiting: list[tuple[str, bytes, bytes, Report]] = []

    def produce(
        self, topic: str, value: bytes, key: bytes, on_delivery: Callable[[Error | None, object], None]
    ) -> None:
        if len(self._waiting) >= self.cluster.queue:
            raise BufferError
        if error := self.cluster.refuse_at_once(value):
            raise KafkaException(error)
        self._waiting.append((topic, value, key, on_delivery))

    def poll(self, seconds: float) -> None:
        if self.cluster.silent:
            time.sleep(min(seconds, 0.01))
            return
        waiting, self._waiting = self._waiting, []
        for topic, value, key, report in waiting:
            error = self.cluster.errors.pop(0) if self.cluster.errors else self.cluster.refuse(value)
            if error is None:
                self.cluster.stored.append((topic, key, value))
            report(error, None)
        if not waiting:
            time.sleep(min(seconds, 0.01))

    def purge(self) -> None:
        self._waiting.clear()


class Bench:
    def __init__(self, directory: Path, **settings: Any) -> None:
        self.cluster = FakeCluster()
        self.log = MemoryLog()
        server = ServerConfig("kafka", "kafka://a:9092,b:9092", "kafka", batch_seconds=0.01, **settings)
        self.letters = DeadLetters(directory, "kafka")
        self.writer = KafkaWriter(server, self.log, self.letters, first_delay=0.02, producer=self.cluster.make)

    def wait(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.writer.progress
            time.sleep(0.01)

    def wait_drained(self) -> None:
        self.wait(lambda: self.log.committed == len(self.log.blocks))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.writer.stop(0.05)


def test_a_record_holds_the_line_and_its_key_is_the_series(bench: Bench) -> None:
    bench.log.add(0, 100)
    bench.writer.start()
    bench.wait_drained()
    assert sorted(parse(value).time or 0 for _, _, value in bench.cluster.stored) == [10**18 + n for n in range(100)]
    assert {key for _, key, _ in bench.cluster.stored} == {b"HV,channel=%d" % n for n in range(7)}
    assert all(value.startswith(key + b" ") for _, key, value in bench.cluster.stored)
    settings = bench.cluster.producers[0].settings
    assert settings["bootstrap.servers"] == "a:9092,b:9092"
    assert (settings["acks"], settings["enable.idempotence"], settings["message.timeout.ms"]) == ("all", True, 0)


def test_a_record_may_be_json(tmp_path: Path) -> None:
    bench = Bench(tmp_path, format="json", topic="lab")
    bench.log.blocks.append(MemoryBlock(1, b'HV,channel=1 VMON=1.5,STAT=3i,MSG="x" 7\n', 1))
    bench.writer.start()
    bench.wait_drained()
    bench.writer.stop(0.05)
    ((topic, key, value),) = bench.cluster.stored
    assert (topic, key) == ("lab", b"HV,channel=1")
    assert json.loads(value) == {
        "measurement": "HV", "tags": {"channel": "1"}, "fields": {"VMON": 1.5, "STAT": 3, "MSG": "x"}, "time": 7,
    }  # fmt: skip


def test_GIVEN_brokers_that_report_nothing_WHEN_they_do_again_THEN_only_then_the_position_moves(bench: Bench) -> None:
    bench.cluster.silent = True
    bench.log.add(0, 10)
    bench.writer.start()
    bench.wait(lambda: bench.writer.progress.state is State.RETRYING)
    assert bench.log.committed == 0
    bench.cluster.silent = False
    bench.wait_drained()
    assert Counter(value for _, _, value in bench.cluster.stored).most_common(1)[0][1] == 1
    assert bench.writer.progress.state is State.OK


def test_GIVEN_records_that_fail_WHEN_the_others_are_stored_THEN_only_those_are_sent_again(bench: Bench) -> None:
    bench.cluster.errors = [None, Error("_FATAL"), Error("NOT_LEADER_FOR_PARTITION"), None]
    bench.log.add(0, 10)
    bench.writer.start()
    bench.wait_drained()
    assert sorted(parse(value).time or 0 for _, _, value in bench.cluster.stored) == [10**18 + n for n in range(10)]
    assert len(bench.cluster.producers) == 2


def test_GIVEN_a_record_that_is_refused_WHEN_the_batch_is_sent_THEN_it_alone_is_a_dead_letter(bench: Bench) -> None:
    bench.cluster.refuse = lambda value: Error("MSG_SIZE_TOO_LARGE") if b"VMON=5.5" in value else None
    bench.log.add(0, 10)
    bench.writer.start()
    bench.wait_drained()
    assert len(bench.cluster.stored) == 9
    assert "words of MSG_SIZE_TOO_LARGE\nHV,channel=5 VMON=5.5" in bench.letters.path.read_text()


def test_GIVEN_a_record_that_the_library_refuses_WHEN_the_batch_is_sent_THEN_it_alone_is_a_dead_letter(
    bench: Bench,
) -> None:
    bench.cluster.refuse_at_once = lambda value: Error("MSG_SIZE_TOO_LARGE") if b"=7.5" in value else None
    bench.log.add(0, 20)
    bench.writer.start()
    bench.wait_drained()
    assert (len(bench.cluster.stored), bench.writer.progress.refused) == (19, 1)
    assert "=7.5 " in bench.letters.path.read_text(encoding="utf-8")


def test_GIVEN_a_full_queue_WHEN_a_batch_is_larger_THEN_all_of_it_is_sent(bench: Bench) -> None:
    bench.cluster.queue = 7
    bench.log.add(0, 100)
    bench.writer.start()
    bench.wait_drained()
    assert len(bench.cluster.stored) == 100


def test_GIVEN_brokers_in_trouble_WHEN_the_writer_is_stopped_THEN_it_ends_and_the_batch_stays(bench: Bench) -> None:
    bench.cluster.silent = True
    bench.log.add(0, 10)
    bench.writer.start()
    bench.wait(lambda: bench.writer.progress.requests == 1)
    bench.writer.stop(0.1)
    assert not bench.writer.alive
    assert bench.log.committed == 0


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    server = ServerConfig("kafka", "kafka://a:9092", "kafka")
    with pytest.raises(ValueError, match=r"pip install 'labioc\[kafka\]'"):
        KafkaWriter(server, MemoryLog(), DeadLetters(tmp_path, "kafka"))


def test_settings_that_the_library_refuses_are_named(tmp_path: Path) -> None:
    if importlib.util.find_spec("confluent_kafka") is None:
        unavailable("no confluent-kafka")
    server = ServerConfig("kafka", "kafka://a:9092", "kafka", options={"no.such.setting": 1})
    with pytest.raises(ValueError, match=r"kafka: .*no\.such\.setting"):
        KafkaWriter(server, MemoryLog(), DeadLetters(tmp_path, "kafka"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real broker."""
    jars = os.environ.get("LABIOC_KAFKA")
    if not jars:
        pytest.skip("LABIOC_KAFKA names no folder with the jars of Apache Kafka")
    one = Broker(Path(jars), tmp_path / "kafka")
    try:
        yield one
    finally:
        one.stop()


def consume(address: str, topic: str, count: int, seconds: float = 30.0) -> list[tuple[int, bytes, bytes]]:
    """Read a topic from its beginning, until there are so many records and then nothing for a second."""
    import confluent_kafka

    settings = {"bootstrap.servers": address, "group.id": "test", "auto.offset.reset": "earliest"}
    consumer = confluent_kafka.Consumer({**settings, "enable.auto.commit": False})
    consumer.subscribe([topic])
    found: list[tuple[int, bytes, bytes]] = []
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            message = consumer.poll(1.0)
            if message is None and len(found) >= count:
                break
            if message is not None and message.error() is None:
                found.append((message.partition(), message.key(), message.value()))
    finally:
        consumer.close()
    return found


@pytest.mark.timeout(400)
def test_GIVEN_a_real_broker_WHEN_it_is_killed_under_load_THEN_no_record_is_lost_or_doubled(
    broker: Broker, tmp_path: Path
) -> None:
    server = ServerConfig("kafka", f"kafka://{broker.address}", "kafka", batch_bytes=100_000, batch_seconds=0.02)
    log = SegmentLog(tmp_path / "log")
    reader = Reader(log, "kafka")
    writer = KafkaWriter(server, reader, DeadLetters(tmp_path / "log", "kafka"), first_delay=0.1)
    writer.start()
    total = 0

    def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, writer.progress
            time.sleep(0.02)

    def add(count: int) -> int:
        lines = [b"HV,channel=%d VMON=%d.5 %d\n" % (n % 7, n, 10**18 + n) for n in range(total, total + count)]
        log.append(b"".join(lines), count)
        log.flush()
        return total + count

    try:
        for _ in range(3):
            for _ in range(20):
                total = add(1000)
            before = writer.progress.points
            wait(lambda: writer.progress.points > before)  # noqa: B023 - under load
            broker.kill()
            total = add(5000)
            wait(lambda: writer.progress.state is State.RETRYING)
            broker.start()
        wait(lambda: reader.queued == 0, 90.0)
    finally:
        writer.stop(1.0)
        reader.close()
        log.close()
    found = consume(broker.address, "labioc", total)
    times = Counter(parse(value).time for _, _, value in found)
    assert set(times) == {10**18 + n for n in range(total)}
    assert max(times.values()) == 1
    order: dict[bytes, list[int]] = {}
    for _, key, value in found:
        order.setdefault(key, []).append(parse(value).time or 0)
    assert all(stamps == sorted(stamps) for stamps in order.values())
    assert all(len({partition for partition, key, _ in found if key == one}) == 1 for one in order)
