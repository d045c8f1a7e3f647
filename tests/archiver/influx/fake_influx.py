"""A server that takes line protocol, remembers what it stored and fails as it is asked to."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from archiver.points.lineprotocol import Point, parse, split_lines


def parse_all(payload: bytes) -> Iterator[Point]:
    """Read every line of a payload; raises ValueError."""
    return map(parse, split_lines(payload))


@dataclass
class Status:
    """Answer with a status and store nothing."""

    code: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Hang:
    """Read everything and say nothing until the server is stopped."""


@dataclass
class Dribble:
    """Begin an answer and send a header that never ends."""


@dataclass
class Reset:
    """Reset the connection in the middle of the body."""


@dataclass
class LoseAnswer:
    """Store the points and close the connection without an answer."""


@dataclass
class CloseAfter:
    """Answer as usual, then close the connection without an announcement."""


Fault = Status | Hang | Dribble | Reset | LoseAnswer | CloseAfter


class FakeInflux:
    """``faults`` are used up one a request (None: as usual), ``always`` holds while there are none.

    ``refuse`` says why a point is not stored, ``refusal`` is the status that then tells.
    """

    def __init__(self, port: int = 0) -> None:
        self.points: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.times_sent: Counter[tuple[Any, ...]] = Counter()
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections = 0
        self.faults: deque[Fault | None] = deque()
        self.always: Fault | None = None
        self.refuse: Callable[[Point], str | None] = lambda point: None
        self.refusal = 400
        self._over = threading.Event()
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fake influx")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def store(self, points: list[Point]) -> str:
        """Store what is not refused; the reason of the last refusal, as InfluxDB 1 says it, else nothing."""
        reason = ""
        for point in points:
            why = self.refuse(point)
            if why:
                reason = why
                continue
            key = (point.measurement, *sorted(point.tags.items()), point.time)
            self.points.setdefault(key, {}).update(point.fields)
            self.times_sent[key] += 1
        return reason and f'{{"error":"partial write: {reason} dropped=0"}}'

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_over(self) -> None:
        self._over.wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the game."""


def _handler(fake: FakeInflux) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            fake.connections += 1

        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            fake.requests.append((self.path, dict(self.headers.items())))
            fault = fake.faults.popleft() if fake.faults else fake.always
            length = int(self.headers["Content-Length"])
            if isinstance(fault, Reset):
                self.rfile.read(length // 2)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            body = self.rfile.read(length)
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            self._act(fault, body)

        def _act(self, fault: Fault | None, body: bytes) -> None:
            if isinstance(fault, Status):
                self._answer(fault.code, fault.body, fault.headers)
            elif isinstance(fault, Hang):
                fake.wait_over()
                self.close_connection = True
            elif isinstance(fault, Dribble):
                self.wfile.write(b"HTTP/1.1 204 No Content\r\nX-Slow: ")
                while not fake._over.wait(0.05):
                    self.wfile.write(b"x")
            else:
                refused = fake.store(list(parse_all(body)))
                if isinstance(fault, LoseAnswer):
                    self.close_connection = True
                    return
                self._answer(fake.refusal if refused else 204, refused, {})
                self.close_connection = isinstance(fault, CloseAfter)

        def _answer(self, code: int, body: str, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            if code != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if code != 204:
                self.wfile.write(body.encode())

    return Handler
