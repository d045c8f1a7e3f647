"""A PVGroup of caproto as a device: hooks, access, journal, lists, and the report about one that cannot be made."""

from __future__ import annotations

import asyncio
import gc
import json
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ioc.access import policy
from ioc.app import App
from ioc.cli import main
from ioc.records import PutContext, PutRefused
from ioc.server import connection, wire
from ioc.server.guests import Guests
from ioc.server.wire import Command, Message
from ioc.site.archiver_pvs import archiver_pvs
from ioc.site.config import SiteError, only, parse_site
from ioc.site.expansion import expand
from tests import raw_ca
from tests.ioc.pvgroups import group
from tests.libca import CaError, Channel, Context
from tests.raw_ca import ERROR, EVENT_ADD, READ_NOTIFY, RawCircuit

GROUP = {"name": "G1", "type": "caproto", "group": "tests.ioc.pvgroups.group:Laboratory"}
HV = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:23", "simulated": True}


def data(*devices: dict[str, Any], **sections: Any) -> dict[str, Any]:
    server = {"interfaces": ["127.0.0.1"]}
    return {"site": {"prefix": "LAB"}, "server": server, "device": list(devices or [GROUP]), **sections}


@asynccontextmanager
async def running(*devices: dict[str, Any], **sections: Any) -> AsyncIterator[App]:
    group.HAPPENED.clear()
    app = App(parse_site(data(*devices, **sections)), port=0)
    try:
        await app.start()
        yield app
    finally:
        await app.stop()
        gc.unfreeze()


async def as_client(app: App, work: Callable[[Context], Any]) -> Any:
    def client() -> Any:
        with Context(f"127.0.0.1:{app.search_port}") as context:
            return work(context)

    return await asyncio.to_thread(client)


def accepted(channel: Channel, value: Any) -> bool:
    try:
        return channel.put_callback(value) == 1
    except CaError:
        return False


async def test_getters_putters_startup_and_shutdown_work_beside_other_devices():
    def client(context: Context) -> None:
        setpoint, double, ticks, vmon = context.connect(
            ["LAB:G1:SP", "LAB:G1:DOUBLE", "LAB:G1:TICKS", "LAB:HV1:CH00:VMON"]
        )
        assert (setpoint.may_write, double.may_write, ticks.may_write) == (True, False, False)
        assert double.value() == 3.0
        assert accepted(setpoint, 4.0)
        assert double.value() == 12.0
        ticks.monitor().wait(5)
        assert vmon.connected
        assert not accepted(setpoint, 11.0)
        assert setpoint.value() == 4.0

    async with running(HV, GROUP | {"arguments": {"factor": 3.0}}) as app:
        await as_client(app, client)
    assert group.HAPPENED == ["started", "stopped"]


async def test_arrays_fields_long_names_and_a_channel_that_is_cleared():
    def client(context: Context) -> None:
        wave, limited, severity = context.connect(["LAB:G1:WAVE", "LAB:G1:LIMITED", "LAB:G1:LIMITED.SEVR"])
        assert wave.element_count == 8
        assert wave.get_any(6, 2).value == (1.0, 2.0)
        assert accepted(limited, 6.0)
        assert severity.value() == 2
        monitor = limited.monitor(13)
        monitor.wait(1)
        monitor.clear()
        limited.clear()
        assert context.channel("LAB:G1:LIMITED").value() == 6.0

    async with running() as app:
        await as_client(app, client)


async def test_a_scan_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture):
    def client(context: Context) -> None:
        context.channel("LAB:G1:TICKS").monitor().wait(5)

    async with running() as app:
        await as_client(app, client)
    assert any("BROKEN" in record.getMessage() or record.exc_info for record in caplog.records)


async def test_puts_are_noted_and_refused_when_the_server_is_not_armed():
    async with running() as app:

        def client(context: Context) -> None:
            setpoint, armed = context.connect(["LAB:G1:SP", "LAB:IOC:ARMED"])
            assert accepted(setpoint, 2.5)
            assert "LAB:G1:SP set to 2.5" in str(app.records["LAB:IOC:PUTS"].val)
            assert accepted(armed, 0)
            assert not accepted(setpoint, 3.5)
            assert setpoint.value() == 2.5

        await as_client(app, client)


async def test_who_may_write_is_decided_as_for_every_pv(monkeypatch: pytest.MonkeyPatch):
    def client(context: Context) -> None:
        setpoint = context.channel("LAB:G1:SP")
        assert not setpoint.may_write
        assert not accepted(setpoint, 3.0)
        assert setpoint.value() == 1.0

    async with running(access={"operators": ["somebody-else"], "experts": []}) as app:
        await as_client(app, client)
    monkeypatch.setattr(policy, "is_own_address", lambda address: False)
    async with running() as app:  # no section, and a client that counts as one of another computer
        await as_client(app, client)


async def test_an_access_security_file_rules_who_may_read(tmp_path: Path):
    acf = tmp_path / "site.acf"
    acf.write_text('ASG(DEFAULT) {INPA("LAB:IOC:ARMED") RULE(1, READ) {CALC("A=1")}}')

    def client(context: Context) -> None:
        setpoint = context.channel("LAB:G1:SP")
        monitor = setpoint.monitor()
        assert (setpoint.value(), setpoint.may_read, setpoint.may_write) == (1.0, True, False)
        monitor.wait(1)
        loop.call_soon_threadsafe(app.statistics.put, "ARMED", 0)
        end = time.monotonic() + 5.0
        while setpoint.may_read:
            assert time.monotonic() < end
            time.sleep(0.01)
        with RawCircuit(app.tcp_port) as circuit:  # libca does not even ask
            circuit.channel("LAB:G1:SP")
            circuit.send(raw_ca.Message(READ_NOTIFY, 6, 1, circuit.sids["LAB:G1:SP"], 5))
            assert b"may not be read" in circuit.until(lambda one: one.command == ERROR)[-1].payload

    async with running(access={"acf": str(acf)}) as app:
        loop = asyncio.get_running_loop()
        await as_client(app, client)


async def test_a_monitor_shows_that_a_value_may_not_be_read_and_the_value_when_it_may_again(tmp_path: Path):
    acf = tmp_path / "site.acf"
    acf.write_text('ASG(DEFAULT) {INPA("LAB:IOC:ARMED") RULE(1, READ) {CALC("A=1")}}')

    def client(context: Context) -> None:
        def next_event(after: raw_ca.Message | None = None) -> raw_ca.Message:
            """Return the next event; one ``after`` another may come once more, when rights settle as it is sent."""
            return circuit.until(lambda one: one.command == EVENT_ADD and one != after, 5.0)[-1]

        with RawCircuit(app.tcp_port) as circuit:
            circuit.channel("LAB:G1:SP")
            circuit.send(raw_ca.Message(EVENT_ADD, 6, 1, circuit.sids["LAB:G1:SP"], 7, raw_ca.event_mask(5)))
            value = next_event()
            assert value == (EVENT_ADD, 6, 1, wire.ECA_NORMAL, 7, struct.pack(">d", 1.0))
            loop.call_soon_threadsafe(app.statistics.put, "ARMED", 0)
            assert next_event(value) == (EVENT_ADD, 6, 0, wire.ECA_NORDACCESS, 7, b"")
            loop.call_soon_threadsafe(app.statistics.put, "ARMED", 1)
            assert next_event() == value

    async with running(access={"acf": str(acf)}) as app:
        loop = asyncio.get_running_loop()
        await as_client(app, client)


class Client:
    """A connection that keeps what it is given."""

    user, host, address = "user", "host", ("127.0.0.1", 1)

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.tasks: list[asyncio.Task[None]] = []

    def send(self, message: bytes) -> None:
        self.sent.append(message)

    def client(self, callback: bool = False) -> PutContext:
        return PutContext(self.user, self.host, self.address, callback)

    def send_event(self, monitor: object, message: bytes) -> None:
        self.sent.append(message)

    def failed(self, message: Message, cid: int, status: int, text: str) -> None:
        self.sent.append(f"{status} {text}".encode())

    def keep(self, task: asyncio.Task[None]) -> None:
        self.tasks.append(task)


def guests_of(denied: str | None = None) -> tuple[Guests, list[Any]]:
    """The PVs of the group without a server, and the puts that arrived."""
    arrived: list[Any] = []

    async def put(name: str, value: str, context: PutContext, reason: str | None, perform: Any) -> None:
        arrived.append(context)
        if reason is not None:
            raise PutRefused(reason)
        await perform()

    class Denied(policy.Policy):
        def may_put_group(self, field: str, client: PutContext) -> str | None:
            return denied

    return Guests([group.Laboratory("G:")], Denied(), put), arrived


def request(command: Command, ioid: int, payload: bytes = b"") -> Message:
    return Message(command, 5, 1, 1, ioid, payload)


async def test_a_cleared_channel_is_answered():
    guests, _ = guests_of()
    client = Client()
    channel = guests.open(client, "G:SP", 7, 1)
    assert channel is not None
    channel.handle(Message(Command.CLEAR_CHANNEL, 0, 0, 1, 7, b""))
    channel.close()
    assert client.sent == [wire.pack(Command.CLEAR_CHANNEL, 0, 0, 1, 7)]


async def test_a_put_that_access_refuses_reaches_the_journal_and_not_the_group():
    guests, arrived = guests_of("root is no operator")
    client = Client()
    channel = guests.open(client, "G:SP", 7, 1)
    assert channel is not None
    channel.handle(request(Command.WRITE_NOTIFY, 1, struct.pack(">i", 5)))
    await asyncio.wait(client.tasks)
    assert len(arrived) == 1
    assert client.sent == [f"{wire.ECA_NOWTACCESS} root is no operator".encode()]
    entry: Any = guests.find("G:SP")
    assert entry.value == 1.0


async def test_a_client_that_leaves_behind_a_put_leaves_no_monitor_and_its_put_may_be_given_up():
    guests, arrived = guests_of()
    client = Client()
    channel = guests.open(client, "G:SLOW", 7, 1)
    assert channel is not None
    channel.handle(request(Command.WRITE_NOTIFY, 1, struct.pack(">i", 5)))
    channel.handle(request(Command.EVENT_ADD, 2, struct.pack(">12xHxx", 5)))
    channel.handle(request(Command.READ_NOTIFY, 3))
    await asyncio.sleep(0)
    channel.close()
    await asyncio.wait(client.tasks)
    assert arrived[0].cancelled.is_set()
    entry: Any = guests.find("G:SLOW")
    assert not entry._queues
    assert len(client.sent) == 1


async def test_a_monitor_whose_number_is_used_again_ends():
    guests, _ = guests_of()
    client = Client()
    channel = guests.open(client, "G:SP", 7, 1)
    assert channel is not None
    channel.greeting()
    for _ in range(2):
        channel.handle(request(Command.EVENT_ADD, 2, struct.pack(">12xHxx", 5)))
    await asyncio.wait(client.tasks)
    entry: Any = guests.find("G:SP")
    assert len(client.sent) == 2
    await entry.write(3.0)
    assert len(client.sent) == 3
    channel.close()
    assert not entry._queues


def test_a_name_with_a_filter_is_not_found_since_no_channel_can_be_made():
    guests, _ = guests_of()
    assert guests.find("G:SP") is not None
    assert guests.find('G:SP.{"dbnd":{"abs":1}}') is None
    assert guests.find('G:SP.{"a":' + "[" * 3000) is None


async def test_a_flood_of_requests_waits_in_the_socket_and_is_answered_in_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "MOST_PUTS", 100)

    def client(context: Context) -> None:
        slow, wave = context.connect(["LAB:G1:SLOW", "LAB:G1:WAVE"])
        slow.put(1)
        for number in range(500):
            slow.put(number)
        assert accepted(slow, 7)
        assert slow.value() == 7
        assert wave.value() == (1.0, 2.0, 3.0)

    async with running() as app:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, *(len(circuit._tasks) for circuit in app._server.service.circuits), 0)
                await asyncio.sleep(0.001)

        watching = asyncio.create_task(watch())
        try:
            await as_client(app, client)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        assert 0 < most <= 100


async def test_a_put_that_never_ends_does_not_keep_the_server_from_stopping():
    def client(context: Context) -> None:
        context.channel("LAB:G1:STUCK").put(1)
        context.channel("LAB:G1:WAVE").value()

    async with running() as app:
        await as_client(app, client)
        begun = asyncio.get_running_loop().time()
        await app.stop()
        assert asyncio.get_running_loop().time() - begun < 2.0


def test_the_pvs_of_a_group_are_listed_and_archived(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "site.toml"
    text = '[site]\nprefix = "LAB"\n[[device]]\nname = "G1"\ntype = "caproto"\n'
    path.write_text(f'{text}group = "tests.ioc.pvgroups.group:Laboratory"\n')
    assert main(["pvs", "--json", str(path)]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert (listed["LAB:G1:SP"]["type"], listed["LAB:G1:SP"]["access"], listed["LAB:G1:SP"]["unit"]) == ("ao", "O", "V")
    assert (listed["LAB:G1:TICKS"]["type"], listed["LAB:G1:TICKS"]["access"]) == ("longin", "R")
    assert main(["check", str(path)]) == 0
    assert "good, 1 device," in capsys.readouterr().out
    site = parse_site(data(GROUP))
    archived = {pv.name: pv for pv in archiver_pvs(site, expand(site))}
    assert archived["LAB:G1:SP"].archive == "monitor"
    assert archived["LAB:G1:WAVE"].archive == ""


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ("nowhere.module:Group", "ModuleNotFoundError: No module named 'nowhere'"),
        ("tests.ioc.pvgroups.group:Nobody", "AttributeError"),
        ("tests.ioc.pvgroups.group:HAPPENED", "it is not a PVGroup of caproto"),
        ("no colon", "package.module:Class"),
    ],
)
def test_a_group_that_cannot_be_used_is_a_mistake(group: str, reason: str):
    with pytest.raises(SiteError) as caught:
        parse_site(data(GROUP | {"group": group}))
    (text,) = caught.value.errors
    assert text.startswith("device G1.group: found ")
    assert reason in text


def test_wrong_arguments_and_names_used_twice_are_reported():
    from ioc.database.dbfile import DatabaseError

    with pytest.raises(DatabaseError, match=r"G1: group .*Laboratory: TypeError: .*colour"):
        expand(parse_site(data(GROUP | {"arguments": {"colour": "red"}})))
    with pytest.raises(DatabaseError, match="G2: name LAB:G1:SP is already used"):
        expand(parse_site(data(GROUP, GROUP | {"name": "G2", "prefix": "LAB:G1:"})))


def test_a_group_may_be_served_by_an_ioc_of_its_own():
    site = parse_site(data(HV, GROUP))
    assert [one.name for one in only(site, ["G1"]).pvgroups] == ["G1"]
    assert only(site, ["G1"]).devices == ()
    assert only(site, ["HV1"]).pvgroups == ()
