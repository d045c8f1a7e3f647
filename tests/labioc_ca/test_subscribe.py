"""The subscription against the C softIoc and labioc; a libca client beside it is the oracle."""

from __future__ import annotations

import os
import signal
import struct
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labioc_ca.events import Event, Kind
from tests import dbr
from tests.conftest import unavailable
from tests.fair_time import until
from tests.labioc_ca.watch import watching
from tests.labioc_server import start_labioc
from tests.libca import Context, Reply, Subscription
from tests.softioc import ServerProcess, free_port, start_softioc

HERE = Path(__file__).parent
TYPES = [(HERE / "types.db", {"P": "T"})]
STRINGS = [(HERE / "strings.db", {"P": "T"})]
STARTERS: dict[str, Callable[..., ServerProcess]] = {"softioc": start_softioc, "labioc": start_labioc}
Starter = Callable[..., ServerProcess]

PUTS: dict[str, list[object]] = {
    "T:AI": [1.5, 12.0, 25.25, -1e300, 3.0],
    "T:LI": [1, -(2**31), 2**31 - 1],
    "T:BI": [1, 0, 1],
    "T:MB": [1, 2, 0],
    "T:SI": ["HV on", "", "x" * 39],
    "T:WD": [[1.0, 2.0, 3.0], [5.0], [0.5] * 1000],
    "T:WL": [[1, 2], [3]],
    "T:WC": [b"text\0", b"longer text than before\0"],
    "T:WS": [["a", "b"], ["c", "", "d"]],
}


def starting(kind: str) -> Iterator[Starter]:
    running: list[ServerProcess] = []

    def starter(*arguments: object, **options: object) -> ServerProcess:
        try:
            running.append(STARTERS[kind](*arguments, **options))
        except (RuntimeError, TimeoutError) as error:
            unavailable(f"{kind} does not start: {error}")
        return running[-1]

    yield starter
    for server in running:
        server.stop()


@pytest.fixture(params=STARTERS)
def start(request: pytest.FixtureRequest) -> Iterator[Starter]:
    """Start a server of one kind; all are stopped at the end."""
    yield from starting(request.param)


@pytest.fixture
def softioc() -> Iterator[Starter]:
    """Start a softIoc."""
    yield from starting("softioc")


def seen_by_libca(reply: Reply) -> tuple[object, int, int, int]:
    """Value, stamp in Unix nanoseconds, severity and status of an event, as the bridge tells them."""
    status, severity, seconds, nanoseconds = struct.unpack_from("=hhII", reply.raw)
    value = reply.value
    if dbr.element(reply.dbr_type) == dbr.CHAR and isinstance(value, tuple):
        value = bytes(value).split(b"\0", 1)[0].decode()
    return value, (seconds + dbr.EPICS_EPOCH) * 10**9 + nanoseconds, severity, status


def seen_by_us(event: Event) -> tuple[object, int, int, int]:
    value: object = event.value
    if isinstance(value, array):
        value = tuple(value) if len(value) != 1 else value[0]
    return value, event.seconds_ns, event.severity, event.status


async def test_GIVEN_puts_at_a_low_rate_WHEN_libca_watches_too_THEN_both_see_the_same_events(
    start: Starter, request: pytest.FixtureRequest
) -> None:
    # labioc has no arrays of strings.
    puts = (
        PUTS if request.node.callspec.params["start"] == "softioc" else {k: v for k, v in PUTS.items() if k != "T:WS"}
    )
    server = start(TYPES + STRINGS if "T:WS" in puts else TYPES)
    with Context(server.address) as context:
        channels = dict(zip(puts, context.connect(list(puts)), strict=True))
        async with watching(puts, server.address) as watch:
            await watch.connected(*puts)
            monitors: dict[str, Subscription] = {name: channel.monitor() for name, channel in channels.items()}
            for name, monitor in monitors.items():
                monitor.wait(1)
                await watch.until(lambda name=name: len(watch.values(name)) == 1)  # type: ignore[misc]
            for name, values in puts.items():
                for count, value in enumerate(values, 2):
                    channels[name].put(value)
                    monitors[name].wait(count)
                    await watch.until(lambda: len(watch.values(name)) >= count)  # noqa: B023
            for name, monitor in monitors.items():
                assert [seen_by_us(event) for event in watch.events[name]] == [
                    seen_by_libca(reply) for reply in monitor.events
                ]
            kinds = {name: watch.events[name][0].kind for name in puts}
            assert kinds == {name: channel.field_type for name, channel in channels.items()}


async def test_GIVEN_counters_WHEN_they_run_THEN_each_value_comes_once_with_a_stamp_of_its_own(
    softioc: Starter,
) -> None:
    names = [f"T:COUNT{number}" for number in range(50)]
    server = softioc([(HERE.parent / "archiver" / "counter.db", {"P": "T", "N": str(number)}) for number in range(50)])
    async with watching(names, server.address) as watch:
        await watch.connected(*names)
        await watch.until(lambda: all(len(watch.values(name)) >= 15 for name in names))
        for name in names:
            first = watch.events[name][1].value
            assert isinstance(first, float)
            assert watch.values(name)[1:] == [first + turn for turn in range(len(watch.values(name)) - 1)]
            stamps = [event.seconds_ns for event in watch.events[name]]
            assert stamps == sorted(set(stamps))


async def test_GIVEN_a_big_array_WHEN_it_is_put_THEN_it_arrives_whole(start: Starter) -> None:
    server = start(TYPES)
    values = [float(number) for number in range(300_000)]
    with Context(server.address) as context:
        channel = context.channel("T:WD")
        async with watching(["T:WD"], server.address) as watch:
            await watch.connected("T:WD")
            channel.put(values)
            await watch.until(lambda: bool(watch.events.get("T:WD")) and len(watch.values("T:WD")[-1]) == 300_000)  # type: ignore[arg-type]
            assert watch.values("T:WD")[-1] == array("d", values)


async def test_GIVEN_a_limit_for_arrays_WHEN_one_is_larger_THEN_it_is_left_out_and_the_others_go_on(
    start: Starter,
) -> None:
    server = start(TYPES)
    limit = {"AUTO_ARRAY_BYTES": "NO", "MAX_ARRAY_BYTES": "20000"}
    with Context(server.address) as context:
        channel = context.channel("T:WD")
        async with watching(["T:WD"], server.address, **limit) as watch:
            await watch.until(lambda: len(watch.values("T:WD")) == 1)
            channel.put([1.0, 2.0])
            await watch.until(lambda: len(watch.values("T:WD")) == 2)
            channel.put_callback([0.5] * 300_000)
            await until(lambda: watch.subscriber.left_out > 0, 20)
            channel.put([3.0, 4.0])
            await watch.until(lambda: len(watch.values("T:WD")) == 3)
            assert [list(value) for value in watch.values("T:WD")[1:]] == [[1.0, 2.0], [3.0, 4.0]]  # type: ignore[call-overload]
            assert watch.subscriber.left_out == 1


async def test_GIVEN_a_server_WHEN_it_dies_and_comes_back_THEN_so_do_the_channels(start: Starter) -> None:
    port = free_port()
    server = start(TYPES, port=port)
    async with watching(["T:AI", "T:SI"], server.address) as watch:
        await watch.until(lambda: len(watch.values("T:AI")) == len(watch.values("T:SI")) == 1)
        server.kill()
        await watch.disconnected("T:AI")
        await watch.disconnected("T:SI")
        start(TYPES, port=port)
        await watch.connected("T:AI", "T:SI")
        await watch.until(lambda: len(watch.values("T:AI")) == len(watch.values("T:SI")) == 2)
        assert watch.changes["T:AI"] == [True, False, True]
        assert watch.changes["T:SI"] == [True, False, True]


async def test_GIVEN_a_pv_WHEN_it_comes_back_with_another_type_THEN_its_events_tell(start: Starter) -> None:
    port = free_port()
    server = start(TYPES, port=port)
    async with watching(["T:X"], server.address) as watch:
        await watch.until(lambda: bool(watch.values("T:X")))
        server.kill()
        await watch.disconnected("T:X")
        start([(HERE / "other_type.db", {"P": "T"})], port=port)
        await watch.until(lambda: len(watch.values("T:X")) == 2)
        assert [event.kind for event in watch.events["T:X"]] == [Kind.DOUBLE, Kind.STRING]
        assert watch.values("T:X") == [0.0, ""]


async def test_GIVEN_a_pv_WHEN_it_is_gone_after_a_restart_and_back_after_another_THEN_both_are_reported(
    start: Starter,
) -> None:
    port = free_port()
    server = start(TYPES, port=port)
    async with watching(["T:X", "T:AI"], server.address) as watch:
        await watch.connected("T:X", "T:AI")
        server.kill()
        await watch.disconnected("T:AI")
        server = start([(HERE / "types.db", {"P": "T", "NAME": "Y"})], port=port)
        await watch.connected("T:AI")
        assert watch.changes["T:X"] == [True, False]
        server.kill()
        start(TYPES, port=port)
        await watch.connected("T:X", "T:AI")


async def test_GIVEN_a_server_that_stops_WHEN_it_goes_on_THEN_silence_was_reported_and_the_channel_is_back(
    start: Starter,
) -> None:
    server = start(TYPES)
    async with watching(["T:AI"], server.address, CONN_TMO="0.4") as watch:
        await watch.until(lambda: bool(watch.values("T:AI")))
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await watch.disconnected("T:AI")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await watch.connected("T:AI")
        await watch.until(lambda: len(watch.values("T:AI")) >= 2)


async def test_GIVEN_two_servers_WHEN_the_one_in_use_dies_THEN_the_other_is_used(start: Starter) -> None:
    one, two = start(TYPES), start(TYPES)
    async with watching(["T:AI"], one.address, two.address) as watch:
        await watch.connected("T:AI")
        (state,) = watch.subscriber.states()
        used, other = (one, two) if state.server == one.address else (two, one)
        used.kill()
        await watch.disconnected("T:AI")
        await watch.connected("T:AI")
        (state,) = watch.subscriber.states()
        assert state.server == other.address


async def test_GIVEN_a_subscriber_WHEN_it_stops_THEN_no_more_events_come(softioc: Starter) -> None:
    server = softioc([(HERE.parent / "archiver" / "counter.db", {"P": "T", "N": "0"})])
    async with watching(["T:COUNT0"], server.address) as watch:
        await watch.until(lambda: len(watch.values("T:COUNT0")) > 2)
    count = len(watch.values("T:COUNT0"))
    async with watching(["T:COUNT0"], server.address) as another:  # to which the counter goes on
        await another.until(lambda: len(another.values("T:COUNT0")) > 2)
    assert len(watch.values("T:COUNT0")) == count
