"""A writer to Apache Kafka: each point is a record, its key the series, so that a PV keeps its order in a partition.

``confluent-kafka`` (librdkafka) does the protocol: ``acks=all`` and an idempotent producer, which neither loses nor
doubles a record while it lives. The position in the log moves when every record of a batch is reported as delivered; a
bridge that is killed before that sends the batch again. Settings: librdkafka, CONFIGURATION.md.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from archiver.config import ServerConfig
from archiver.influx.deadletter import DeadLetters
from archiver.influx.writers import FIRST_DELAY, Delivery, State, Stopping
from archiver.log.reader import Reader
from archiver.points.lineprotocol import parse, split_lines

_POLL_SECONDS: Final = 0.1
_TROUBLE_SECONDS: Final = 2.0
"""Without a report for so long, while records wait, the brokers are in trouble."""

_REFUSED: Final = frozenset(("MSG_SIZE_TOO_LARGE", "INVALID_MSG", "INVALID_MSG_SIZE", "INVALID_RECORD"))
"""Errors that are about the record: it is a dead letter. All others are about the brokers."""

_LARGEST: Final = 1_000_000

Producer = Callable[[Mapping[str, Any]], Any]
"""Makes a producer of its settings, as ``confluent_kafka.Producer``."""


class KafkaWriter(Delivery):
    """Writes to the topic of a cluster until stopped; ``url`` is ``kafka://HOST:PORT[,HOST:PORT...]``.

    Raises ValueError when ``confluent-kafka`` is not there or refuses the settings.
    """

    def __init__(
        self,
        server: ServerConfig,
        source: Reader,
        letters: DeadLetters,
        *,
        clock: Callable[[], float] = time.time,
        first_delay: float = FIRST_DELAY,
        producer: Producer | None = None,
    ) -> None:
        super().__init__(server, source, letters, clock=clock, first_delay=first_delay)
        self._make = producer or _producer()
        self._interrupted = threading.Event()
        self._waiting: dict[int, bytes] = {}
        self._refused: list[tuple[bytes, str]] = []
        self._failed = False
        self._brokers = ""
        self._producer = self._start_producer()

    def begin(self, payload: bytes) -> None:
        """Take a new batch."""
        self._waiting = dict(enumerate(split_lines(payload)))
        self._refused = []

    def deliver(self) -> None:
        """Send what is not delivered yet until it is; then the dead letters."""
        while self._waiting:
            self._send()
            if self._failed:
                self._failed = False
                self._pause(self._first_delay)
        while self._refused:
            self._bury(*self._refused[-1])
            self._refused.pop()

    def interrupt(self) -> None:
        """Give up what waits for the brokers."""
        self._interrupted.set()

    def close(self) -> None:
        """Forget what was not delivered: it is in the log."""
        self._producer.purge()
        self._producer.poll(0)

    def _send(self) -> None:
        """Hand everything to the producer, and wait for its reports. Raises Stopping."""
        self._note(requests=self.progress.requests + 1)
        for number, line in list(self._waiting.items()):
            key, _, _ = line.partition(b" ")
            value = line if self.server.format == "line" else _as_json(line)
            while True:
                try:
                    self._producer.produce(
                        self.server.topic, value, key, on_delivery=lambda error, _, n=number: self._report(n, error)
                    )
                    break
                except BufferError:
                    self._producer.poll(_POLL_SECONDS)
                    self._look()
                except Exception as error:  # KafkaException: what the library itself refuses, as too large a record
                    if not error.args or not hasattr(error.args[0], "name"):
                        raise
                    self._report(number, error.args[0])
                    break
            self._producer.poll(0)
        seen, quiet_since = len(self._waiting), time.monotonic()
        while self._waiting and not self._failed:
            self._producer.poll(_POLL_SECONDS)
            if len(self._waiting) != seen:
                seen, quiet_since = len(self._waiting), time.monotonic()
                self._brokers = ""
                self._recovered()
            elif time.monotonic() - quiet_since > _TROUBLE_SECONDS:
                self._trouble(State.RETRYING, self._brokers or f"no report for {_TROUBLE_SECONDS:g} s")
            self._look()
        if self._failed:
            # Whatever the old one still holds would be sent beside the new one's.
            self._producer.purge()
            self._producer = self._start_producer()

    def _look(self) -> None:
        """End when the writer shall, and the brokers are in trouble or time is over. Raises Stopping."""
        trouble = self.progress.state is not State.OK
        if self._interrupted.is_set() or (self._finishing.is_set() and trouble):
            raise Stopping

    def _report(self, number: int, error: Any) -> None:
        """Take the report of a record."""
        line = self._waiting.get(number)
        if line is None:
            return
        if error is None:
            del self._waiting[number]
            self._note(points=self.progress.points + 1)
        elif error.name().lstrip("_") in _REFUSED:
            del self._waiting[number]
            self._refused.append((line, error.str()))
        else:
            self._failed = True
            self._trouble(State.RETRYING, error.str())

    def _start_producer(self) -> Any:
        settings = {
            "bootstrap.servers": self.server.url.removeprefix("kafka://").rstrip("/"),
            "client.id": f"labioc-{self.server.name}",
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": 0,  # never: the log waits as long as it takes
            "message.max.bytes": _LARGEST,
            "linger.ms": 20,
            "compression.type": "gzip" if self.server.gzip else "none",
            "error_cb": self._broker_error,
            **self.server.options,
        }
        try:
            return self._make(settings)
        except Exception as error:  # of librdkafka: which of the settings it does not like
            raise ValueError(f"{self.server.name}: {error}") from error

    def _broker_error(self, error: Any) -> None:
        self._brokers = error.str()
        if error.fatal():
            self._failed = True


def _producer() -> Producer:
    try:
        import confluent_kafka  # noqa: PLC0415 - optional
    except ImportError:
        raise ValueError("version kafka needs confluent-kafka: pip install 'labioc[kafka]'") from None
    made: Producer = confluent_kafka.Producer
    return made


def _as_json(line: bytes) -> bytes:
    point = parse(line)
    data = {"measurement": point.measurement, "tags": point.tags, "fields": point.fields, "time": point.time}
    return json.dumps(data, separators=(",", ":")).encode()
