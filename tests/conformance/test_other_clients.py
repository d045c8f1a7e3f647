"""Clients that stop, die or fall behind, and clients that we did not write."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from caproto.sync import client as caproto_client

from tests import dbr
from tests.libca import ECA_NORMAL, Context
from tests.machines import needs
from tests.softioc import ServerProcess


@pytest.fixture
def watcher(server: ServerProcess) -> Iterator[ServerProcess]:
    """A client in its own process that monitors the fast array."""
    command = [sys.executable, "-m", "tests.conformance.watcher", server.address, "T:FAST", "T:LO"]
    process = ServerProcess("watcher", command, {}, 20)
    yield process
    if process.running():
        os.kill(process.pid, signal.SIGCONT)
        process.stop()


def test_GIVEN_a_stopped_client_WHEN_fast_records_go_on_THEN_the_others_get_all_and_memory_is_bounded(
    server: ServerProcess, client: Context, watcher: ServerProcess
) -> None:
    channel = client.channel("T:FAST")
    monitor = channel.monitor(dbr.TIME + dbr.DOUBLE, 1)
    monitor.wait(1)
    elements = [0.0] * 2000
    assert channel.put_callback(elements) == ECA_NORMAL
    os.kill(watcher.pid, signal.SIGSTOP)
    memory = server.rss
    # 24 MB, more than the sockets of a stopped client take up
    for number in range(1, 1501):
        elements[0] = float(number)
        assert channel.put_callback(elements, deadline=2.0) == ECA_NORMAL
    monitor.wait_value(1500.0)
    seen = [event.value for event in monitor.events if event.value]
    assert seen == [float(number) for number in range(1, 1501)]
    assert server.rss - memory < 30e6
    os.kill(watcher.pid, signal.SIGCONT)
    # Whatever it missed, it ends with the present value.
    for _ in range(100):
        if watcher.ask("report", 5.0)[-1] == "1500.0":
            break
        threading.Event().wait(0.05)
    else:
        pytest.fail("the client that went on never got the last value")
    assert channel.put_callback([1.0], deadline=2.0) == ECA_NORMAL


def test_GIVEN_a_client_WHEN_it_is_killed_with_monitors_THEN_the_others_do_not_notice(
    client: Context, watcher: ServerProcess
) -> None:
    channel = client.channel("T:LO")
    monitor = channel.monitor(dbr.LONG)
    os.kill(watcher.pid, signal.SIGSTOP)
    watcher.kill()
    for number in range(100, 200):
        assert channel.put_callback(number) == ECA_NORMAL
    monitor.wait_value(199)
    assert [event.value for event in monitor.events[-100:]] == list(range(100, 200))


def test_GIVEN_a_client_that_cannot_keep_up_WHEN_it_catches_up_THEN_it_ends_with_the_last_value(
    client: Context, second_client: Context
) -> None:
    # libca turns the events off while its callbacks do not return (CA_PROTO_EVENTS_OFF) and on again afterwards.
    channel = client.channel("T:FAST")
    gate, entered = threading.Event(), threading.Event()

    class Slow(list[object]):
        def append(self, item: object) -> None:
            super().append(item)
            entered.set()
            gate.wait(30)

    monitor = channel.monitor(dbr.TIME + dbr.DOUBLE)
    monitor.wait(1)
    monitor.events = Slow(monitor.events)  # type: ignore[assignment]
    putter = second_client.channel("T:FAST")
    try:
        for number in range(1, 1001):
            assert putter.put_callback([float(number)] * 2000) == ECA_NORMAL
        assert entered.wait(5)
    finally:
        gate.set()
    second_client.wait_for(
        lambda: monitor.events[-1].value[0] == 1000.0, 10, lambda: f"ended with {monitor.events[-1].value[0]}"
    )
    assert putter.put_callback([2000.0] * 2000) == ECA_NORMAL
    second_client.wait_for(lambda: monitor.events[-1].value[0] == 2000.0, 5, lambda: "events stay off")


@pytest.fixture
def caproto_environment(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPICS_CA_ADDR_LIST", server.address)
    monkeypatch.setenv("EPICS_CA_SERVER_PORT", str(server.port))


def test_GIVEN_the_python_client_of_caproto_WHEN_it_reads_writes_and_monitors_THEN_it_agrees_with_libca(
    client: Context, caproto_environment: None
) -> None:
    channel = client.channel("T:AO")
    answer = caproto_client.write("T:AO", 12.5, notify=True, timeout=5, repeater=False)
    assert answer.status.success
    assert channel.value() == 12.5
    read = caproto_client.read("T:AO", data_type="control", timeout=5, repeater=False)
    assert read.data[0] == 12.5
    assert read.metadata.upper_ctrl_limit == 50
    assert read.metadata.precision == 1
    states = caproto_client.read("T:MBBI", data_type="control", timeout=5, repeater=False)
    assert [bytes(text) for text in states.metadata.enum_strings] == [b"OFF", b"RAMPING", b"ON"]
    assert bytes(caproto_client.read("T:AO.RTYP", timeout=5, repeater=False).data[0]) == b"ao"


_PYEPICS = """
import sys, threading, time
import epics
values, last = [], threading.Event()
def seen(value=None, **_):
    values.append(value)
    if value == 5.0:
        last.set()
pv = epics.PV("T:AO", callback=seen, form="ctrl")
assert pv.wait_for_connection(5)
assert pv.put(1.0, wait=True, timeout=5)
for number in range(2, 6):
    assert pv.put(float(number), wait=True, timeout=5)
assert last.wait(5), values
assert values[-5:] == [1.0, 2.0, 3.0, 4.0, 5.0], values
assert pv.precision == 1 and pv.upper_ctrl_limit == 50.0, (pv.precision, pv.upper_ctrl_limit)
assert epics.caget("T:AO", as_string=True) == "5.0"
assert epics.caget("T:AO.DRVH") == 50.0
assert epics.caput("T:MBBI", "ON", wait=True) == 1
assert epics.caget("T:MBBI", as_string=True) == "ON"
assert epics.caget("T:MBBI") == 2
text = "A text that is longer than forty characters, for humans to read"
assert epics.caput("T:CHARS", text, wait=True) == 1
assert epics.caget("T:CHARS", as_string=True) == text
assert list(epics.caget("T:WF", count=3)) is not None
begun = time.monotonic()
epics.caput("T:AO.SCAN", 99, wait=True, timeout=20)  # base takes it
assert time.monotonic() - begun < 10
print("agreed")
"""


def test_GIVEN_pyepics_WHEN_it_reads_writes_and_monitors_THEN_it_gets_what_it_expects(server: ServerProcess) -> None:
    needs("pyepics")
    with socket.socket(type=socket.SOCK_DGRAM) as repeater:
        repeater.bind(("", 0))  # keeps libca from starting a repeater process
        environment = {
            **os.environ,
            "EPICS_CA_ADDR_LIST": server.address,
            "EPICS_CA_REPEATER_PORT": str(repeater.getsockname()[1]),
        }
        done = subprocess.run(
            [sys.executable, "-c", _PYEPICS], env=environment, capture_output=True, text=True, timeout=50, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "agreed"


async def test_GIVEN_the_asyncio_client_of_caproto_WHEN_it_monitors_THEN_it_gets_every_event(
    client: Context, caproto_environment: None
) -> None:
    from caproto.asyncio.client import Context as AsyncioContext

    channel = client.channel("T:LO")
    assert channel.put_callback(0) == ECA_NORMAL
    context = AsyncioContext()
    try:
        (pv,) = await context.get_pvs("T:LO", timeout=5)
        got: list[int] = []
        first, done = asyncio.Event(), asyncio.Event()

        def keep(_: object, response: object) -> None:
            got.append(int(response.data[0]))  # type: ignore[attr-defined]
            first.set()
            if got[-1] == 20:
                done.set()

        subscription = pv.subscribe(data_type="time")
        subscription.add_callback(keep)
        await asyncio.wait_for(first.wait(), 5)
        for number in range(1, 21):
            assert await asyncio.to_thread(channel.put_callback, number) == ECA_NORMAL
        await asyncio.wait_for(done.wait(), 5)
        assert got == list(range(21))
        await subscription.clear()
    finally:
        await context.disconnect()
        # disconnect() cancels its tasks without waiting for them
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=5)
