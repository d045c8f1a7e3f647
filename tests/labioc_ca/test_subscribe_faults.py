"""The subscription against a server that does what no good server does."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import time
from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

import pytest

from labioc_ca.circuit import Circuit
from labioc_ca.client import Subscriber
from labioc_ca.environment import Settings
from tests.fair_time import until
from tests.labioc_ca.fake_ca import FakeCaServer, message
from tests.labioc_ca.watch import watching
from tests.softioc import free_port

LONG_NAME = "L" * 60


async def test_GIVEN_a_server_WHEN_it_serves_the_names_THEN_connection_comes_first_and_then_each_event_in_order() -> (
    None
):
    async with FakeCaServer(["A", LONG_NAME]) as server, watching(["A", LONG_NAME], server.address) as watch:
        await watch.connected("A", LONG_NAME)
        for value in range(1, 100):
            server.event("A", value)
        await watch.until(lambda: len(watch.values("A")) == 100)
        assert watch.values("A") == list(range(100))
        assert watch.events["A"][5].seconds_ns == (1_160_000_000 + 631_152_000) * 10**9 + 5
        assert [state.server for state in watch.subscriber.states()] == [server.address] * 2
        assert watch.subscriber.connected == 2


async def test_GIVEN_two_servers_with_one_name_WHEN_both_answer_THEN_one_is_used_and_the_other_counted() -> None:
    async with (
        FakeCaServer(["A"]) as one,
        FakeCaServer(["A"]) as two,
        watching(["A"], one.address, two.address) as watch,
    ):
        await watch.connected("A")
        await until(lambda: len(watch.subscriber._doubles) == 1, 5)
        assert one.accepted + two.accepted == 1


async def test_GIVEN_a_channel_WHEN_the_server_destroys_it_THEN_it_is_found_again_on_the_same_circuit() -> None:
    async with FakeCaServer(["A", "B"]) as server, watching(["A", "B"], server.address) as watch:
        await watch.connected("A", "B")
        await watch.until(lambda: bool(watch.values("A")))
        server.destroy("A")
        await watch.until(lambda: watch.changes["A"] == [True, False, True])
        await watch.until(lambda: len(watch.values("A")) == 2)
        assert server.accepted == 1
        assert watch.changes["B"] == [True]


async def test_GIVEN_a_server_that_refuses_a_channel_WHEN_it_changes_its_mind_THEN_the_channel_connects() -> None:
    async with FakeCaServer(["A"]) as server:
        server.create_fails = True
        async with watching(["A"], server.address) as watch:
            await until(lambda: server.received[18] >= 2, 5)
            assert watch.changes == {}
            server.create_fails = False
            await watch.connected("A")


async def test_GIVEN_an_old_circuit_WHEN_its_server_refuses_a_channel_again_and_again_THEN_its_pauses_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    pauses: list[float] = []

    def want(names: Iterable[tuple[int, str]], delay: float = 0.0) -> None:
        pauses.append(delay)

    def refuse(number: int, seconds: float) -> None:
        nonlocal now
        subscriber._found(number, address)
        now += seconds
        subscriber.refused(number, address, "not served there")

    address = ("127.0.0.1", 5064)
    subscriber = Subscriber(["A", "B"], lambda _: None, {})
    monkeypatch.setattr(subscriber, "_loop", SimpleNamespace(time=lambda: now), raising=False)
    monkeypatch.setattr(subscriber._searcher, "want", want)
    circuit = SimpleNamespace(address=address, pause=lambda _: None, add=lambda *_: None)
    subscriber._circuits[address], subscriber._opened[address] = cast(Circuit, circuit), 0.0
    subscriber._running = True
    for _ in range(9):
        refuse(0, 0.01)
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]
    refuse(1, 0.01)
    assert pauses[9:] == [0.2]  # each PV has its own
    refuse(0, 6.0)
    refuse(0, 0.01)
    assert pauses[10:] == [0.0, 0.2]  # it held in between


async def test_GIVEN_a_subscription_error_WHEN_it_is_over_THEN_the_channel_gives_events() -> None:
    async with FakeCaServer(["A"]) as server:
        server.subscription_error = b"no memory"
        async with watching(["A"], server.address) as watch:
            await watch.until(lambda: watch.changes.get("A", [])[:2] == [True, False])
            server.subscription_error = b""
            await watch.until(lambda: bool(watch.values("A")))
            assert server.accepted == 1


async def test_GIVEN_a_server_slow_to_clear_a_channel_WHEN_it_is_found_again_THEN_the_circuit_survives() -> None:
    async with FakeCaServer(["A"]) as server:
        server.subscription_error, server.slow_to_clear = b"no memory", True
        async with watching(["A"], server.address) as watch:
            await watch.until(lambda: watch.changes.get("A", [])[:2] == [True, False])
            await until(lambda: server.searches["A"] >= 3, 5)
            server.subscription_error, server.slow_to_clear = b"", False
            server.clear()
            await watch.until(lambda: bool(watch.values("A")))
            assert server.accepted == 1


async def test_GIVEN_no_right_to_read_WHEN_it_is_granted_THEN_the_channel_counts_as_connected() -> None:
    async with FakeCaServer(["A"]) as server:
        server.rights = 0
        async with watching(["A"], server.address) as watch:
            await watch.until(lambda: bool(watch.values("A")))
            assert watch.changes == {}
            _, cid, _ = server.channels["A"]
            server.send("A", message(22, 0, 0, cid, 1))
            await watch.connected("A")
            server.send("A", message(22, 0, 0, cid, 0))
            await watch.disconnected("A")


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(70_000),
        b"\xff" * 400,
        message(18, 99, 1, 5, 5),
        message(77),
        message(27, 0, 0, 99),
    ],
)
async def test_GIVEN_garbage_in_the_stream_WHEN_it_is_over_THEN_the_channel_is_back(garbage: bytes) -> None:
    async with FakeCaServer(["A", "B"]) as server, watching(["A", "B"], server.address) as watch:
        await watch.connected("A", "B")
        server.send("A", garbage)
        await watch.until(lambda: watch.changes["A"] == watch.changes["B"] == [True, False, True])
        await watch.until(lambda: len(watch.values("A")) == 2)
        assert server.accepted == 2


async def test_GIVEN_a_server_that_only_sends_garbage_WHEN_it_is_tried_again_THEN_the_pauses_grow() -> None:
    async with FakeCaServer(["A"]) as server:
        server.greeting = b"\xff" * 100
        async with watching(["A"], server.address) as watch:
            await until(lambda: len(server.accepted_at) >= 4, 20)
            pauses = [later - earlier for earlier, later in itertools.pairwise(server.accepted_at)]
            assert all(pause >= least for pause, least in zip(pauses, (0.2, 0.4, 0.8), strict=False))
            server.greeting = message(0, 0, 13)
            await watch.connected("A", deadline=15)


async def test_GIVEN_a_silent_server_WHEN_it_does_not_echo_THEN_it_is_given_up() -> None:
    async with FakeCaServer(["A"]) as server, watching(["A"], server.address, CONN_TMO="0.3") as watch:
        await watch.connected("A")
        await until(lambda: server.received[23] >= 2, 5)
        assert watch.changes["A"] == [True]
        server.deaf = True
        await watch.disconnected("A")
        server.deaf = False
        await watch.connected("A")


async def test_GIVEN_a_bridge_that_was_stopped_itself_WHEN_it_goes_on_THEN_no_server_is_given_up() -> None:
    async with FakeCaServer(["A"]) as server, watching(["A"], server.address, CONN_TMO="0.3") as watch:
        await watch.connected("A")
        for _ in range(2):
            asked = server.received[23]
            server.deaf = True
            await until(lambda: server.received[23] > asked, 5)  # noqa: B023 -- an echo is on its way
            time.sleep(0.5)  # noqa: ASYNC251 -- SIGSTOP, a disk that does not take a write
            for _ in range(5):
                await asyncio.sleep(0)  # what was due meanwhile is done before the answer arrives
            server.deaf = False
            server.send("A", message(23))
        assert watch.changes["A"] == [True]


async def test_GIVEN_a_server_that_never_greets_WHEN_time_is_up_THEN_it_is_tried_again() -> None:
    async with FakeCaServer(["A"]) as server:
        server.greeting = b""
        async with watching(["A"], server.address, CONN_TMO="0.2") as watch:
            await until(lambda: server.accepted >= 2, 5)
            server.greeting = message(0, 0, 13)
            await watch.connected("A")


async def test_GIVEN_garbage_datagrams_WHEN_they_arrive_THEN_they_are_counted_and_searching_goes_on() -> None:
    async with FakeCaServer([]) as server, watching(["A"], server.address) as watch:
        await server.searched.wait()
        port = watch.subscriber._searcher._transport.get_extra_info("sockname")[1]  # type: ignore[union-attr]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for garbage in (b"", b"x", bytes(7), b"\xff" * 40, message(6, 1, 0, 0, 99, bytes(8)), message(6)[:12]):
                sender.sendto(garbage, ("127.0.0.1", port))
        server.names.add("A")
        await watch.connected("A")
        assert watch.subscriber._searcher.garbage >= 3


async def test_GIVEN_a_long_search_WHEN_a_beacon_tells_of_a_new_server_THEN_it_is_searched_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("labioc_ca.search.FIRST_PAUSE", 50.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as repeater:
        repeater.bind(("127.0.0.1", 0))
        repeater.setblocking(False)
        settings = {"REPEATER_PORT": str(repeater.getsockname()[1]), "MAX_SEARCH_PERIOD": "60"}
        async with FakeCaServer([]) as server, watching(["A"], server.address, **settings) as watch:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(10):
                request, client = await loop.sock_recvfrom(repeater, 100)
                await server.searched.wait()
            assert struct.unpack_from(">H", request) == (24,)
            server.names.add("A")
            repeater.sendto(message(17) + message(13, 13, server.port, 0, 0), client)
            await watch.connected("A")  # the next search was due in 50 s
            assert watch.subscriber._searcher.beacons == 1


async def test_GIVEN_a_paused_subscriber_WHEN_it_goes_on_THEN_nothing_is_missing() -> None:
    async with FakeCaServer(["A"]) as server, watching(["A"], server.address, CONN_TMO="0.2") as watch:
        await watch.until(lambda: bool(watch.values("A")))
        watch.subscriber.pause(True)
        for value in range(1, 20_001):
            server.event("A", value)
        async with FakeCaServer(["B"]) as silent, watching(["B"], silent.address, CONN_TMO="0.2") as another:
            await another.connected("B")
            silent.deaf = True
            await another.disconnected("B")  # as long as a silent server is given
        assert len(watch.values("A")) <= 1 + 256 * 1024 // 32
        watch.subscriber.pause(False)
        await watch.until(lambda: len(watch.values("A")) == 20_001)
        assert watch.values("A") == list(range(20_001))
        assert watch.changes["A"] == [True]
        assert server.received[8] == server.received[9] == 0  # EVENTS_OFF, EVENTS_ON


async def test_GIVEN_events_that_have_arrived_WHEN_the_subscriber_stops_THEN_they_are_taken() -> None:
    async with FakeCaServer(["A"]) as server:
        async with watching(["A"], server.address) as watch:
            await watch.until(lambda: bool(watch.values("A")))
            for value in range(1, 1001):
                server.event("A", value)
        assert watch.values("A") == list(range(1001))
        assert watch.changes["A"] == [True]


async def test_GIVEN_no_server_at_the_port_WHEN_a_search_was_answered_THEN_it_is_tried_again() -> None:
    async with FakeCaServer(["A"]) as server:
        right, server.port = server.port, free_port()
        async with watching(["A"], f"127.0.0.1:{right}") as watch:
            async with asyncio.timeout(5):
                while server.searches["A"] < 2:
                    server.searched.clear()
                    await server.searched.wait()
            server.port = right
            await watch.connected("A")


async def test_GIVEN_a_server_that_does_not_take_the_connection_WHEN_the_subscriber_stops_THEN_it_does() -> None:
    async with FakeCaServer(["A"]) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as full, socket.socket() as waiting:
            # A queue of one that is full: the kernel drops what comes next, as a firewall does.
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            right, server.port = server.port, full.getsockname()[1]
            waiting.connect(full.getsockname())
            async with watching(["A"], f"127.0.0.1:{right}") as watch:
                await until(lambda: bool(watch.subscriber._circuits), 5)
                async with asyncio.timeout(2):
                    await watch.subscriber.stop()


@pytest.mark.parametrize("name", ["", "A B", "A\n", "\u00b5A", 'A.{"nonsense":{}}', "A" * 501])
def test_a_name_that_cannot_be_searched_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="PV name"):
        Subscriber([name], lambda _: None, {})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EPICS_CA_SERVER_PORT", "x"),
        ("EPICS_CA_CONN_TMO", "-1"),
        ("EPICS_CA_ADDR_LIST", "127.0.0.1:99999"),
        ("EPICS_CA_ADDR_LIST", "no.such.host.invalid"),
        ("EPICS_CA_REPEATER_PORT", "0"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=variable):
        Settings.read({variable: value})


def test_settings_have_the_defaults_of_channel_access() -> None:
    settings = Settings.read({"EPICS_CA_ADDR_LIST": "127.0.0.1 127.0.0.2:6000", "EPICS_CA_AUTO_ADDR_LIST": "NO"})
    assert settings.addresses == (("127.0.0.1", 5064), ("127.0.0.2", 6000))
    assert (settings.repeater_port, settings.connection_timeout) == (5065, 30.0)
    assert Settings.read({}).addresses
    limited = Settings.read({"EPICS_CA_AUTO_ARRAY_BYTES": "NO", "EPICS_CA_MAX_ARRAY_BYTES": "1000000"})
    assert limited.max_message == 1_000_128
