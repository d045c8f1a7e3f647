"""The libca client of the comparison, a process that connects, subscribes, counts, gets, puts and searches on request.

Run as ``python -m bench.ca_client ADDRESS``; reads one JSON request ``{"do": NAME, ...}`` a line from standard input,
answers each with ``done JSON``. Several clients are several contexts of this process, each with a circuit of its own.
"""

from __future__ import annotations

import ctypes
import json
import math
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import libca, libca_calls

ROOT = Path(__file__).resolve().parents[1]
DOUBLE, TIME_DOUBLE = 6, 20
EPICS_EPOCH = 631152000
SAMPLE = 8
"""One event of so many has its delay measured, so that the client is not what is measured."""

_STAMP = struct.Struct("=hhII")
_HEADER = struct.Struct(">HHHHII")
_DATAGRAM_NAMES = 20
_WINDOW = 32


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum in ms."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {
        "p50": ordered[len(ordered) // 2] * 1e3,
        "p99": ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)] * 1e3,
        "max": ordered[-1] * 1e3,
    }


class Client:
    """What the requests act upon."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._contexts: list[libca.Context] = []
        self._channels: list[list[libca.Channel]] = []
        self._events = 0
        self._delays: list[float] = []
        self._keep: list[Any] = []
        self._callback = ctypes.CFUNCTYPE(None, libca_calls.EventArgs)(self._on_event)

    def _on_event(self, args: Any) -> None:
        self._events += 1
        if self._events % SAMPLE == 0:
            now = time.time()
            _, _, seconds, nanoseconds = _STAMP.unpack(ctypes.string_at(args.dbr, 12))
            self._delays.append(now - (seconds + EPICS_EPOCH + nanoseconds * 1e-9))

    def connect(self, names: list[str], deadline: float) -> dict[str, float]:
        """Connect to these in a context of its own."""
        context = libca.Context(self._address)
        self._contexts.append(context)
        begun = time.perf_counter()
        self._channels.append(context.connect(names, deadline))
        return {"seconds": time.perf_counter() - begun}

    def subscribe(self) -> dict[str, float]:
        """Subscribe to every channel of the newest context."""
        context = self._contexts[-1]
        context.use()
        for channel in self._channels[-1]:
            handle = ctypes.c_void_p()
            self._keep.append(handle)
            libca_calls.subscribe(TIME_DOUBLE, 1, channel.handle, 1, self._callback, None, ctypes.byref(handle))
        libca_calls.flush_io()
        return {}

    def count(self, seconds: float) -> dict[str, Any]:
        """Count events for this long."""
        self._delays = []
        events, begun = self._events, time.perf_counter()
        time.sleep(seconds)
        events, passed = self._events - events, time.perf_counter() - begun
        return {"events": events, "seconds": passed, "delay": percentiles(self._delays)}

    def get(self, count: int) -> dict[str, Any]:
        """Read one PV after the other, 100 of them in turn, at most 100 a second."""
        channels = self._channels[0][:100]
        return self._timed(
            lambda number, done: libca_calls.get(TIME_DOUBLE, 1, channels[number % len(channels)].handle, done, None),
            count,
        )

    def put(self, name: str, count: int) -> dict[str, Any]:
        """Put with completion, one after the other, at most 100 a second."""
        channel = self._contexts[0].channel(name)
        return self._timed(
            lambda number, done: libca_calls.put_callback(
                DOUBLE, 1, channel.handle, struct.pack("=d", number), done, None
            ),
            count,
        )

    def _timed(self, request: Callable[[int, Any], int], count: int) -> dict[str, Any]:
        answered = threading.Event()
        done = ctypes.CFUNCTYPE(None, libca_calls.EventArgs)(lambda _: answered.set())
        self._keep.append(done)
        taken = []
        self._contexts[0].use()
        for number in range(count):
            answered.clear()
            begun = time.perf_counter()
            if request(number, done) != libca.ECA_NORMAL:
                return {}
            libca_calls.flush_io()
            if not answered.wait(5.0):
                return {}
            taken.append(time.perf_counter() - begun)
            time.sleep(0.01)
        return percentiles(taken)

    def search(self, known: str, seconds: float, rate: float = math.inf) -> dict[str, float]:
        """Ask for names that no server has; one known name at the end of each datagram tells that it has been read.

        ``rate`` is how many names are asked for in a second at most.
        """
        host, port = self._address.split(":")
        datagram = _HEADER.pack(0, 0, 0, 13, 0, 0)
        for number in range(_DATAGRAM_NAMES):
            datagram += _search(f"OTHER:SYSTEM:PV:{number:06d}", number)
        datagram += _search(known, 77)
        sent = answered = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((host, int(port)))
            sock.settimeout(0.5)
            begun = time.perf_counter()
            while time.perf_counter() - begun < seconds:
                allowed = (time.perf_counter() - begun) * rate / _DATAGRAM_NAMES + 1
                while sent - answered < _WINDOW and sent < allowed:
                    sock.send(datagram)
                    sent += 1
                if sent == answered:
                    time.sleep(_DATAGRAM_NAMES / rate)
                    continue
                try:
                    sock.recv(4096)
                    answered += 1
                except TimeoutError:  # lost datagrams: go on with a new window
                    sent = answered
            passed = time.perf_counter() - begun
        return {"names_per_s": answered * _DATAGRAM_NAMES / passed}

    def close(self) -> dict[str, float]:
        """Close all contexts."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        self._channels.clear()
        self._keep.clear()
        return {}


def _search(name: str, cid: int) -> bytes:
    payload = name.encode() + b"\0"
    payload += bytes(-len(payload) % 8)
    return _HEADER.pack(6, len(payload), 5, 13, cid, cid) + payload


class ClientProcess:
    """A client in a process of its own, used as a context manager."""

    def __init__(self, address: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.ca_client", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def __enter__(self) -> ClientProcess:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def start(self, do: str, **arguments: Any) -> Callable[[], dict[str, Any]]:
        """Send a request; returns the function that waits for its answer. Raises RuntimeError when there is none."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return lambda: self._answer(do)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        return self.start(do, **arguments)()

    def _answer(self, do: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("done "):
                answer: dict[str, Any] = json.loads(line[5:])
                if "error" in answer:
                    raise RuntimeError(f"{do}: {answer['error']}")
                return answer
        raise RuntimeError(f"{do}: the client ended")


def main(address: str) -> None:
    client = Client(address)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(client, request.pop("do"))(**request)
        except (TimeoutError, libca.CaError) as error:
            answer = {"error": str(error)[:200]}
        print("done", json.dumps(answer), flush=True)
    client.close()


if __name__ == "__main__":
    main(sys.argv[1])
