"""Which files a value passes on five trips through labioc, in order, and how many calls return on the way.

    python bench/trips.py                 this tree
    python bench/trips.py FOLDER          another one, an older release for example

Everything is real but the hardware: the simulators answer over their transports, clients and the database over
sockets, all in this process, where a profiling hook sees each call. Simulators are left out of the count. Each trip
is taken several times; the one with the fewest returns is shown, since other tasks of the server count too if they
run meanwhile.

1. The last reply of a supply to a scan, until its Channel Access event is at the client.
2. ``caput -c`` to a supply, until the answer is at the client.
3. The last CAN frame of a module's answer, until the event is at the client.
4. A Channel Access event at the archiver, until its point is at the database.
5. The key ``alarms`` of a site file, until a reading raises that alarm.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

TIMES = 7
EVENT_ADD, CREATE_CHAN, WRITE_NOTIFY = 1, 18, 19
DEADLINE = 40.0


class Trace:
    """Counts what is called in some packages of a tree; ``reset`` begins a trip, ``done`` ends it.

    A trip that did not pass the modules ``through`` began too late, with bytes that had nothing to do with the value.
    """

    def __init__(self, root: Path, packages: Sequence[str], through: Sequence[str]) -> None:
        self._through = through
        self._folders = tuple(f"{root / package}/" for package in packages)
        self._root = root
        self._names: dict[str, str | None] = {}
        self._files: dict[str, None] = {}
        self._returns = 0
        self._on = False
        self.trips: list[tuple[int, list[str]]] = []
        self.begins: Callable[[FrameType], bool] = lambda frame: False

    def reset(self) -> None:
        """Begin a trip, in place of one that did not end."""
        self._files, self._returns, self._on = {}, 0, True

    def done(self) -> None:
        """End the trip, if one has begun."""
        if self._on:
            self._on = False
            passed = {Path(name).stem for name in self._files}
            if passed.issuperset(self._through):
                self.trips.append((self._returns, list(self._files)))

    def shortest(self) -> tuple[int, list[str]]:
        """Return the trip with the fewest returns."""
        return min(self.trips)

    @contextmanager
    def running(self) -> Iterator[Trace]:
        """See every call of this thread, and of those that start meanwhile."""
        threading.setprofile(self._hook)
        sys.setprofile(self._hook)
        try:
            yield self
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]

    def _hook(self, frame: FrameType, event: str, _: object) -> None:
        if event not in ("call", "return"):
            return
        path = frame.f_code.co_filename
        if path not in self._names:
            counts = path.startswith(self._folders) and "simulat" not in path and "/sim_" not in path
            self._names[path] = str(Path(path).relative_to(self._root)) if counts else None
        name = self._names[path]
        if name is None:
            return
        if event == "call":
            if self.begins(frame):
                self.reset()
            if self._on:
                self._files.setdefault(name)
        elif self._on:
            self._returns += 1


class Client:
    """A Channel Access client of one PV, that tells when an answer has arrived."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.sid = 0
        self.seen: Callable[[int], None] = lambda command: None

    @classmethod
    async def connect(cls, port: int, name: str) -> Client:
        """Connect and make the channel."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        text = name.encode() + b"\0"
        text += b"\0" * (-len(text) % 8)
        client.send(0, 0, 0, 0, 13)
        client.send(20, 0, 0, 0, 0, b"trips\0\0\0")
        client.send(CREATE_CHAN, 0, 0, 1, 13, text)
        while True:
            command, parameter2 = await client.receive()
            if command == CREATE_CHAN:
                client.sid = parameter2
                return client

    def send(self, command: int, dtype: int, count: int, one: int, two: int, payload: bytes = b"") -> None:
        """Send one message."""
        self._writer.write(struct.pack(">HHHHII", command, len(payload), dtype, count, one, two) + payload)

    async def receive(self) -> tuple[int, int]:
        """Return command and second parameter of the next message."""
        command, size, _, _, _, two = struct.unpack(">HHHHII", await self._reader.readexactly(16))
        await self._reader.readexactly(size)
        self.seen(command)
        return command, two

    async def put(self, number: float) -> None:
        """Put with completion."""
        self.send(WRITE_NOTIFY, 6, 1, self.sid, 7, struct.pack(">d", number))
        while (await self.receive())[0] != WRITE_NOTIFY:
            pass

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


class Tree:
    """The modules of a tree, wherever they are in it."""

    def __init__(self) -> None:
        self.app = importlib.import_module("ioc.app").App
        self.parse_site = self._find("parse_site", "ioc.site.config", "ioc.config")
        self.expand = self._find("expand", "ioc.site.expansion", "ioc.database")
        self.records = importlib.import_module("ioc.records").RecordSet
        self.archive = importlib.import_module("ioc.commands.archive")
        self.bridge = importlib.import_module("archiver.bridge").Bridge

    @staticmethod
    def _find(name: str, *modules: str) -> Any:
        for module in modules:
            try:
                return getattr(importlib.import_module(module), name)
            except ImportError:
                continue
        raise ImportError(f"no {name} in {', '.join(modules)}")

    def site(self, device: dict[str, Any], **sections: Any) -> Any:
        """Return a site of one simulated device."""
        data = {"site": {"prefix": "LAB"}, "can": {"main": {"interface": "virtual"}}, **sections}
        return self.parse_site(data | {"device": [{"name": "D", "channels": 1, "simulated": True, **device}]})


CAEN = {"type": "caen-dt55xx", "address": "tcp://127.0.0.1:1"}
ISEG = {"type": "iseg-edcp", "can": "main", "module": 3}


@contextmanager
def patched(owner: Any, name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    """Replace a function for a while; ``replacement`` gets the former one first."""
    former = getattr(owner, name)
    setattr(owner, name, lambda *args, **options: replacement(former, *args, **options))
    try:
        yield
    finally:
        setattr(owner, name, former)


async def serving(tree: Tree, site: Any) -> Any:
    """Start the server of a site and wait until its device has been read."""
    app = tree.app(site, 0, local_only=True)
    await app.start()
    if not await app.wait_until_read(DEADLINE):
        raise TimeoutError("the simulated device was not read")
    return app


async def to_the_client(tree: Tree, trace: Trace, device: dict[str, Any]) -> None:
    """Trips 1 and 3: take events of a voltage on its way up; the caller says where a trip begins."""
    app = await serving(tree, tree.site(device))
    clients = {name: await Client.connect(app.tcp_port, f"LAB:D:CH00:{name}") for name in ("VSET", "ON", "VMON")}
    try:
        await clients["VSET"].put(900.0)
        await clients["ON"].put(1.0)
        watch = clients["VMON"]
        watch.seen = lambda command: trace.done() if command == EVENT_ADD else None
        watch.send(EVENT_ADD, 20, 1, watch.sid, 9, struct.pack(">12xHxx", 1))
        await watch.receive()
        trace.trips.clear()
        while len(trace.trips) < TIMES:
            await watch.receive()
    finally:
        for client in clients.values():
            client.close()
        await app.stop()


async def reply_to_event(tree: Tree, trace: Trace) -> None:
    """Trip 1."""
    trace.begins = lambda frame: frame.f_code.co_name == "data_received" and "/devices/" in frame.f_code.co_filename
    await to_the_client(tree, trace, CAEN)


async def put_and_back(tree: Tree, trace: Trace) -> None:
    """Trip 2."""
    app = await serving(tree, tree.site(CAEN))
    client = await Client.connect(app.tcp_port, "LAB:D:CH00:VSET")
    try:
        for number in range(TIMES):
            await asyncio.sleep(0.3)
            trace.reset()
            await client.put(100.0 + number)
            trace.done()
    finally:
        client.close()
        await app.stop()


async def frame_to_event(tree: Tree, trace: Trace) -> None:
    """Trip 3."""
    can = importlib.import_module("can")

    def receive(former: Callable[..., Any], *args: Any, **options: Any) -> Any:
        message = former(*args, **options)
        if message is not None:
            trace.reset()
        return message

    with patched(can.BusABC, "recv", receive):
        await to_the_client(tree, trace, ISEG)


class Database(BaseHTTPRequestHandler):
    """An InfluxDB that takes every point and knows no fields."""

    trace: Trace

    def do_GET(self) -> None:
        """Answer a query or a ping."""
        self._answer(200, b'{"results":[{"statement_id":0}]}')

    def do_POST(self) -> None:
        """Take points; the trip ends with a voltage."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "/write" in self.path and b"VMON" in body:
            self.trace.done()
        self._answer(204 if "/write" in self.path else 200, b"" if "/write" in self.path else b'{"results":[{}]}')

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("X-Influxdb-Version", "1.8.10")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


async def event_to_point(tree: Tree, trace: Trace) -> None:
    """Trip 4."""
    trace.begins = lambda frame: frame.f_code.co_name == "data_received"
    Database.trace = trace
    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    servers = [{"url": url, "version": 1, "database": "lab", "gzip": False}]
    with tempfile.TemporaryDirectory() as folder:
        site = tree.site(CAEN, archiver={"directory": folder, "influxdb": servers})
        app = await serving(tree, site)
        config = tree.archive.archiver_config(site, Path(folder))
        pvs = [pv for pv in tree.archive.archived(site, config) if pv.name.endswith("CH00:VMON")]
        env = {"EPICS_CA_ADDR_LIST": f"127.0.0.1:{app.search_port}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
        bridge = tree.bridge(config, pvs, env)
        await bridge.start()
        clients = [await Client.connect(app.tcp_port, f"LAB:D:CH00:{name}") for name in ("VSET", "ON")]
        try:
            for client, number in zip(clients, (900.0, 1.0), strict=True):
                await client.put(number)
            until = time.monotonic() + DEADLINE
            while len(trace.trips) < TIMES and time.monotonic() < until:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        finally:
            for client in clients:
                client.close()
            await bridge.stop()
            await app.stop()
            server.shutdown()
            server.server_close()


async def key_to_alarm(tree: Tree, trace: Trace) -> None:
    """Trip 5."""
    tree.expand(tree.site(CAEN))  # templates are read once, and are no part of the trip
    for _ in range(3):
        trace.reset()
        site = tree.site({**CAEN, "alarms": {"VMON": {"HIHI": 500, "HHSV": "MAJOR"}}})
        record = tree.records.build(tree.expand(site).records.values())["LAB:D:CH00:VMON"]
        record.post(600.0, 1.7e9)
        trace.done()
        if record.sevr != 2:
            raise RuntimeError("the limit of the site file is not in force")


_SERVER = ("ioc", "devices")
_ARCHIVER = ("archiver", "labioc_ca")
TRIPS: tuple[tuple[str, Callable[[Tree, Trace], Any], tuple[str, ...], tuple[str, ...]], ...] = (
    ("reply of a supply to a Channel Access event", reply_to_event, _SERVER, ("record", "subscription")),
    ("caput to the wire and back", put_and_back, _SERVER, ("circuit", "puts")),
    ("CAN frame to PV", frame_to_event, _SERVER, ("record", "subscription")),
    ("event to InfluxDB line", event_to_point, _ARCHIVER, ("decode", "thinning", "segments", "writers")),
    ("site-file key to behaviour", key_to_alarm, _SERVER, ("record",)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Take every trip and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).resolve().parents[1], help="the tree")
    root = parser.parse_args(arguments).root.resolve()
    sys.path.insert(0, str(root))
    logging.disable(logging.CRITICAL)
    tree = Tree()
    for title, take, packages, through in TRIPS:
        trace = Trace(root, packages, through)
        with trace.running():
            asyncio.run(asyncio.wait_for(take(tree, trace), 2 * DEADLINE))
        returns, files = trace.shortest()
        print(f"\n{title}: {len(files)} files, {returns} returns\n  " + "\n  ".join(files), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
