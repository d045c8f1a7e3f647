"""Screens and their PVs for a browser: files, and a web socket with the messages of PVWS (github.com/ornl-epics/pvws).

Run as ``python -m tests.screens.gateway FOLDER VIEWER``: serves the screens of a folder below /screens/ and the viewer
below /viewer/, on loopback. Prints the port, and ends when its standard input is closed. Writes are kept, and go to the
IOC only after ``POST /forward``. ``GET /writes`` and ``GET /pvs`` tell what was written, and which PVs are connected.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web
from caproto import ChannelType
from caproto.threading.client import PV, Context

SEVERITIES = ("NONE", "MINOR", "MAJOR", "INVALID")
KINDS = {
    ChannelType.STRING: "VString",
    ChannelType.ENUM: "VEnum",
    ChannelType.DOUBLE: "VDouble",
    ChannelType.FLOAT: "VFloat",
    ChannelType.LONG: "VInt",
    ChannelType.INT: "VShort",
    ChannelType.CHAR: "VByte",
}

Send = Callable[[dict[str, Any]], None]


class Channel:
    """One PV and those who watch it."""

    def __init__(self, gateway: Gateway, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.watchers: list[Send] = []
        self._about: dict[str, Any] = {}
        self._labels: list[str] = []
        self._last: dict[str, Any] | None = None
        self._subscription: Any = None
        (self.pv,) = gateway.context.get_pvs(name, connection_state_callback=self._connection)

    # caproto calls these from threads of its own

    def _connection(self, pv: PV, state: str) -> None:
        if state == "connected":
            self._loop.call_soon_threadsafe(self._begin)
        else:
            self._loop.call_soon_threadsafe(self._lost)

    def _value(self, _subscription: Any, answer: Any) -> None:
        self._loop.call_soon_threadsafe(self._update, answer)

    # in the event loop

    def _begin(self) -> None:
        self._loop.run_in_executor(None, self._start)

    def _start(self) -> None:
        native = self.pv.channel.native_data_type
        text = native == ChannelType.STRING
        control = self.pv.read(data_type="time" if text else "control", timeout=10).metadata
        many = self.pv.channel.native_data_count > 1
        about: dict[str, Any] = {"vtype": KINDS[native] + ("Array" if many else "")}
        if native == ChannelType.ENUM:
            self._labels = about["labels"] = [label.decode() for label in control.enum_strings]
        elif not text:
            about["units"] = control.units.decode()
            about["precision"] = int(getattr(control, "precision", 0))
            low, high = control.lower_disp_limit, control.upper_disp_limit
            if low < high:
                about |= {"min": float(low), "max": float(high)}
        self._about = about
        if self._subscription is None:
            self._subscription = self.pv.subscribe(data_type="time")
            self._subscription.add_callback(self._value)

    def _lost(self) -> None:
        for send in self.watchers:
            send({"pv": self.pv.name, "severity": "UNDEFINED", "readonly": True})

    def _update(self, answer: Any) -> None:
        first = self._last is None
        self._last = {**self._about, "pv": self.pv.name, **self._content(answer.data)}
        self._last |= {"severity": SEVERITIES[min(int(answer.metadata.severity), 3)], "readonly": False}
        for send in self.watchers * (2 if first else 1):  # the viewer learns only from a second one that it may write
            send(self._last)

    def _content(self, data: Any) -> dict[str, Any]:
        native = self.pv.channel.native_data_type
        if native == ChannelType.STRING:
            return {"text": data[0].decode()}
        if native == ChannelType.CHAR:
            return {"b64byt": base64.b64encode(bytes(data)).decode()}
        if len(data) > 1:
            return {"b64dbl": base64.b64encode(data.astype("<f8").tobytes()).decode()}
        if native == ChannelType.ENUM:
            return {"value": int(data[0]), "text": self._labels[int(data[0])]}
        value = float(data[0])
        return {"value": value if native in (ChannelType.DOUBLE, ChannelType.FLOAT) else int(value)}

    def watch(self, send: Send) -> None:
        """Send every update, beginning with the newest."""
        self.watchers.append(send)
        for _ in range(2 if self._last else 0):
            send(self._last or {})

    def write(self, value: Any) -> None:
        """Put a value, given as number, text or label of a state."""
        native = self.pv.channel.native_data_type
        if native == ChannelType.ENUM and str(value) in self._labels:
            value = self._labels.index(str(value))
        exact = native in (ChannelType.DOUBLE, ChannelType.FLOAT)
        put = str(value).encode() if native == ChannelType.STRING else float(value) if exact else int(float(value))
        self.pv.write([put], data_type=native, wait=False)


class Gateway:
    """All channels of all pages, and what was written."""

    def __init__(self) -> None:
        self.context = Context()
        self.channels: dict[str, Channel] = {}
        self.writes: list[dict[str, Any]] = []
        self.forward = False

    def channel(self, name: str) -> Channel:
        """Return the channel of a PV, searched for once."""
        name = name.removeprefix("ca://")
        if name not in self.channels:
            self.channels[name] = Channel(self, name)
        return self.channels[name]

    def handle(self, message: dict[str, Any], post: Send, mine: dict[str, Send]) -> None:
        """Do what a page asks for."""
        if message["type"] == "subscribe":
            for name in message["pvs"]:
                if name not in mine:
                    mine[name] = partial(_under_name, post, name)
                    self.channel(name).watch(mine[name])
        elif message["type"] == "clear":
            self.leave({name: mine.pop(name) for name in message["pvs"] if name in mine})
        elif message["type"] == "write":
            self.writes.append({"pv": message["pv"].removeprefix("ca://"), "value": message["value"]})
            if self.forward:
                self.channel(message["pv"]).write(message["value"])

    def leave(self, mine: dict[str, Send]) -> None:
        """Send nothing more."""
        for name, send in mine.items():
            self.channel(name).watchers.remove(send)

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one page."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        mine: dict[str, Send] = {}

        async def pump() -> None:
            while True:
                await socket.send_json(await waiting.get())

        pumping = asyncio.create_task(pump())
        try:
            async for message in socket:
                self.handle(json.loads(message.data), waiting.put_nowait, mine)
        finally:
            pumping.cancel()
            self.leave(mine)
        return socket

    async def wrote(self, _request: web.Request) -> web.Response:
        """What was written so far."""
        return web.json_response(self.writes)

    async def states(self, _request: web.Request) -> web.Response:
        """Each PV that some page watches, and whether it is connected."""
        watched = {name: bool(c.pv.connected) for name, c in self.channels.items() if c.watchers}
        return web.json_response(watched)

    async def let_through(self, _request: web.Request) -> web.Response:
        """From now on, put what pages write."""
        self.forward = True
        return web.Response()


def _under_name(post: Send, name: str, update: dict[str, Any]) -> None:
    post({**update, "type": "update", "pv": name})


async def serve(folder: str, viewer: str) -> None:
    """Serve until standard input ends."""
    gateway = Gateway()
    app = web.Application()
    app.router.add_get("/pvws/pv", gateway.socket)
    app.router.add_get("/writes", gateway.wrote)
    app.router.add_get("/pvs", gateway.states)
    app.router.add_post("/forward", gateway.let_through)
    app.router.add_static("/screens/", folder)
    app.router.add_static("/viewer/", viewer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    try:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    finally:
        await runner.cleanup()
        gateway.context.disconnect()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
