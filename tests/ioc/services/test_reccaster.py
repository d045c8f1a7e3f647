"""RecSync: what a receiver gets of a server, and how the server gets over every receiver.

The receiver here is written from the protocol; messages are decoded with structures of its own.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ioc.app import App
from ioc.clock import SystemClock
from ioc.database.dbfile import RecordDef
from ioc.services import reccaster, recsync
from ioc.services.reccaster import RecCaster
from ioc.site.config import RecSyncSettings, SiteError, parse_site
from tests.fair_time import FairClock
from tests.ioc.services.test_supervision import SITE
from tests.softioc import free_port

KEY = 0xDEAD_BEEF


class Receiver:
    """Takes what IOCs register, announces itself at ``port``, and may misbehave."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.variables: dict[str, str] = {}
        self.records: dict[str, str] = {}
        self.aliases: defaultdict[str, list[str]] = defaultdict(list)
        self.infos: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.done = 0
        self.pongs: list[int] = []
        self.greeting = struct.pack(">HHIB", 0x5243, 0x8001, 1, 0)
        self.keys: list[int] = []
        self.names: dict[int, str] = {}
        self.writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.hang_up()

    def hang_up(self) -> None:
        for writer in self.writers:
            writer.close()
        self.writers.clear()

    def announce(self, data: bytes | None = None) -> None:
        assert self._server is not None
        tcp = self._server.sockets[0].getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            message = struct.pack(">HH4sHxxI", 0x5243, 0, b"\xff" * 4, tcp, KEY) if data is None else data
            sock.sendto(message, ("127.0.0.1", self.port))

    def ping(self, nonce: int) -> None:
        for writer in self.writers:
            writer.write(struct.pack(">HHII", 0x5243, 0x8002, 4, nonce))

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        writer.write(self.greeting)
        try:
            while True:
                magic, message, length = struct.unpack(">HHI", await reader.readexactly(8))
                assert magic == 0x5243
                self._store(message, await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    def _store(self, message: int, body: bytes) -> None:
        if message == 1:
            version, client, key = struct.unpack(">BBxxI", body)
            assert (version, client) == (0, 0)
            self.keys.append(key)
        elif message == 2:
            self.pongs.append(struct.unpack(">I", body)[0])
        elif message == 3:
            number, kind, rtype, name = struct.unpack(">IBBH", body[:8])
            assert len(body) == 8 + rtype + name
            text = body[8 + rtype :].decode()
            if kind == 0:
                assert number not in self.names
                self.names[number] = text
                self.records[text] = body[8 : 8 + rtype].decode()
            else:
                assert (kind, rtype) == (1, 0)
                self.aliases[self.names[number]].append(text)
        elif message == 5:
            assert body == bytes(4)
            self.done += 1
            self.names.clear()
        else:
            assert message == 6
            number, key_size, size = struct.unpack(">IBxH", body[:8])
            assert key_size > 0
            assert len(body) == 8 + key_size + size
            target = self.infos[self.names[number]] if number else self.variables
            target[body[8 : 8 + key_size].decode()] = body[8 + key_size :].decode()


async def until(condition: Callable[[], bool], act: Callable[[], None] = lambda: None) -> None:
    clock = FairClock()
    while not condition():
        assert clock() < 10.0
        act()
        await asyncio.sleep(0.01)


RECORDS = [
    RecordDef("LAB:A", "ai", {"DESC": "One"}, {"archive": "monitor", "empty": ""}, ("B:A", "C:A"), "x", 1, {}),
    RecordDef("LAB:B", "bo", {}, {}, (), "x", 2, {}),
]


@asynccontextmanager
async def rig(
    monkeypatch: pytest.MonkeyPatch, records: Iterable[RecordDef] = RECORDS, **settings: tuple[str, ...]
) -> AsyncIterator[tuple[Receiver, RecCaster]]:
    monkeypatch.setattr(reccaster, "ERROR_PAUSE", 0.01)
    monkeypatch.setattr(reccaster, "TIMEOUT", 0.5)
    receiver = Receiver(free_port())
    await receiver.start()
    own = {"EPICS_VERSION": "labioc", "ENGINEER": ""}
    wanted = RecSyncSettings(receiver.port, **settings)
    caster = RecCaster(wanted, lambda: records, lambda: own, SystemClock(), lambda: 0.0)
    caster.start()
    try:
        yield receiver, caster
    finally:
        await caster.close()
        await receiver.stop()


async def test_GIVEN_a_receiver_WHEN_it_announces_itself_THEN_it_gets_everything_and_its_pings_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCATION", "hall 2")
    monkeypatch.setenv("SHIFT", "night")
    monkeypatch.setenv("PASSWORD", "secret")
    async with rig(monkeypatch, environment=("SHIFT", "NONE_SUCH")) as (receiver, caster):
        assert "no receiver has announced itself yet" in "".join(caster.problems())
        await until(lambda: receiver.done == 1, receiver.announce)
        assert receiver.keys == [KEY]
        assert receiver.records == {"LAB:A": "ai", "LAB:B": "bo"}
        assert receiver.aliases == {"LAB:A": ["B:A", "C:A"]}
        assert receiver.infos == {"LAB:A": {"archive": "monitor", "recordDesc": "One"}}
        wanted = {"EPICS_VERSION": "labioc", "LOCATION": "hall 2", "SHIFT": "night"}
        assert receiver.variables.items() >= wanted.items()
        assert not {"PASSWORD", "NONE_SUCH"} & receiver.variables.keys()
        await until(lambda: caster.registered == 2)
        assert list(caster.problems()) == []
        for nonce in (7, 0xFFFF_FFFF):
            receiver.ping(nonce)
            await until(lambda nonce=nonce: nonce in receiver.pongs)  # type: ignore[misc]


async def test_GIVEN_a_receiver_that_ends_WHEN_another_announces_itself_THEN_it_gets_everything_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with rig(monkeypatch) as (receiver, caster):
        for times in (1, 2, 3):
            await until(lambda times=times: receiver.done == times, receiver.announce)  # type: ignore[misc]
            await until(lambda: caster.registered == 2)
            receiver.hang_up()
            await until(lambda: caster.registered == 0)


async def test_GIVEN_a_receiver_that_pings_without_end_WHEN_connected_THEN_it_gets_few_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with rig(monkeypatch) as (receiver, caster):
        for _ in range(200):
            receiver.announce(b"nonsense")
        await until(lambda: caster.registered == 2, receiver.announce)
        for nonce in range(2000):
            receiver.ping(nonce)
        await asyncio.sleep(0.05)
        assert len(receiver.pongs) < 50
        assert caster.registered == 2


@pytest.mark.parametrize(
    "greeting",
    [
        b"",  # nothing in time
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">HHIB", 0x5243, 0x8003, 1, 0),  # another message
        struct.pack(">HHI", 0x5243, 0x8001, 2**31),  # a body without end
        struct.pack(">HHIB", 0x5243, 0x8001, 1, 0) + struct.pack(">HHI", 0x5243, 0x8002, 0),  # a ping without number
    ],
)
async def test_GIVEN_a_receiver_that_makes_no_sense_WHEN_it_mends_THEN_it_gets_everything(
    monkeypatch: pytest.MonkeyPatch, greeting: bytes
) -> None:
    async with rig(monkeypatch) as (receiver, caster):
        good, receiver.greeting = receiver.greeting, greeting
        await until(lambda: bool(receiver.keys), receiver.announce)
        reason = "no receiver has announced itself yet"
        await until(lambda: bool(found := "".join(caster.problems())) and reason not in found)
        receiver.greeting = good
        done = receiver.done
        await until(lambda: receiver.done > done and caster.registered == 2, receiver.announce)


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 15, struct.pack(">HH4sHxxI", 0x4341, 0, b"\xff" * 4, 1, 0),
     struct.pack(">HH4sHxxI", 0x5243, 1, b"\xff" * 4, 1, 0), struct.pack(">HH4sHxxI", 0x5243, 0, b"\xff" * 4, 0, 0)],
)  # fmt: skip
def test_a_datagram_that_is_no_announcement_is_none(data: bytes) -> None:
    assert recsync.announcement(data, "10.0.0.1") is None


def test_an_announcement_may_be_for_another_computer_and_longer_than_today() -> None:
    data = struct.pack(">HH4sHxxI", 0x5243, 0, bytes((10, 1, 2, 3)), 4000, 7) + b"later"
    assert recsync.announcement(data, "10.0.0.1") == ("10.1.2.3", 4000, 7)


@given(st.text(min_size=1), st.text())
@example("PATH", "\udcb5")
def test_infos_of_any_length_fit_their_message(key: str, value: str) -> None:
    for name, text in ((key, value), (key * 300, value * 70_000)):
        body = recsync.add_info(5, name, text)[8:]
        number, key_size, size = struct.unpack(">IBxH", body[:8])
        assert (number, len(body)) == (5, 8 + key_size + size)
        assert name.startswith(body[8 : 8 + key_size].decode())
        assert text.replace("\udcb5", "?").startswith(body[8 + key_size :].decode())


async def test_GIVEN_many_records_WHEN_they_are_sent_THEN_others_have_their_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def many() -> Iterable[RecordDef]:
        for number in range(5000):
            yield RecordDef(f"LAB:{number}", "ai", {"DESC": "x" * 40}, {"a": "b"}, (), "x", 1, {})

    class Lazy:
        def __iter__(self) -> Iterable[RecordDef]:  # type: ignore[override]
            return iter(many())

    turns = 0
    async with rig(monkeypatch, Lazy(), exclude=("LAB:4*",)) as (receiver, _):  # type: ignore[arg-type]
        await until(lambda: bool(receiver.keys), receiver.announce)
        while not receiver.done:
            turns += 1
            await asyncio.sleep(0)
        assert len(receiver.records) == 5000 - 1111
    assert turns > 50


async def test_GIVEN_a_site_WHEN_its_server_runs_THEN_every_pv_is_registered_with_the_name_of_the_ioc() -> None:
    port = free_port()
    device = dict(SITE["device"][0], simulated=True, channel={"0": {"alias": "CALO:PMT07"}})  # type: ignore[call-overload, index]
    site = parse_site(
        {
            "site": {"prefix": "LAB", "engineer": "Anna"},
            "server": {"interfaces": ["127.0.0.1"]},
            "recsync": {"port": port},
            "device": [device],
        }
    )
    app = App(site, port=0)
    (caster,) = app._remotes
    assert isinstance(caster, RecCaster)
    caster._holdoff = lambda: 0.0
    receiver = Receiver(port)
    await receiver.start()
    try:
        await app.start()
        await until(lambda: receiver.done == 1, receiver.announce)
        assert receiver.records == {name: record.rtyp for name, record in app.records.items()}
        assert receiver.aliases["LAB:HV1:CH00:VMON"] == ["CALO:PMT07:VMON"]
        assert receiver.infos["LAB:HV1:CH00:VMON"]["recordDesc"] == app.records["LAB:HV1:CH00:VMON"].get("DESC")
        assert receiver.infos["LAB:HV1:CH00:VMON"]["archive"]
        assert receiver.variables["RSRV_SERVER_PORT"] == str(app.tcp_port)
        assert (receiver.variables["IOCNAME"], receiver.variables["ENGINEER"]) == ("LAB:IOC", "Anna")
    finally:
        await app.stop()
        await receiver.stop()
        gc.unfreeze()


def test_without_the_section_nothing_is_registered() -> None:
    assert parse_site(SITE).recsync is None
    assert parse_site(SITE | {"recsync": {}}).recsync == RecSyncSettings(5049)
    with pytest.raises(SiteError, match="recsync"):
        parse_site(SITE | {"recsync": {"environment": ["A=B"]}})
