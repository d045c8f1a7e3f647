"""Puts for a log server: the two forms of caPutLog, and what happens to lines while the server is not there.

The expected lines are those that caPutLog 4.1 sent for the same puts, in a C IOC of EPICS 7.0.8.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.clock import SystemClock
from ioc.services import putlog
from ioc.services.journal import APPLIED, REFUSED, Entry, Journal, Typed
from ioc.services.putlog import MOST_WAITING, PutLog, as_json, as_line
from ioc.site.config import PutLogSettings, SiteError, parse_site
from tests.fair_time import FairClock
from tests.ioc.services.test_supervision import SITE

TIME = datetime(2026, 11, 27, 17, 56, 15, 428_000).timestamp()


def entry(pv: str, old: Typed, new: Typed, outcome: str = APPLIED) -> Entry:
    return Entry(TIME, pv, "root", "vm", "127.0.0.1", "", "", outcome=outcome, values=(old, new))


@pytest.mark.parametrize(
    ("old", "new", "line", "in_json"),
    [
        (0.0, 500.0, "new=500 old=0", '"new":500.0,"old":0.0'),
        (500.0, 0.1, "new=0.1 old=500", '"new":0.10000000000000001,"old":500.0'),
        (0.1, 1234567.25, "new=1.23457e+06 old=0.1", '"new":1234567.25,"old":0.10000000000000001'),
        (1234567.25, math.nan, "new=nan old=1.23457e+06", '"new":"Nan","old":1234567.25'),
        (math.inf, -math.inf, "new=-inf old=inf", '"new":"-Infinity","old":"Infinity"'),
        (0, 1, "new=1 old=0", '"new":1,"old":0'),
        (False, True, "new=1 old=0", '"new":1,"old":0'),
        ("", 'a "b" c', 'new="a \\"b\\" c" old=""', '"new":"a \\"b\\" c","old":""'),
        ("NO_ALARM", "MAJOR", 'new="MAJOR" old="NO_ALARM"', '"new":"MAJOR","old":"NO_ALARM"'),
        ("a\tb", "\x01é", 'new="\\x01\\xc3\\xa9" old="a\\tb"', '"new":"\\u0001é","old":"a\\tb"'),
        ("\udcb0C", "\udcb5V", 'new="\\xb5V" old="\\xb0C"', '"new":"\udcb5V","old":"\udcb0C"'),
    ],
)
def test_a_put_looks_as_it_does_from_caputlog(old: Typed, new: Typed, line: str, in_json: str) -> None:
    assert as_line(entry("J:AO", old, new)) == f"27-Nov-26 17:56:15 vm root J:AO {line}\n"
    head = '{"date":"2026-11-27","time":"17:56:15.428","host":"vm","user":"root","pv":"J:AO",'
    assert as_json(entry("J:AO", old, new)) == f"{head}{in_json}}}\n"


VALUES = st.one_of(st.floats(), st.integers(-(2**31), 2**31), st.text())


@given(VALUES, VALUES, st.text(), st.text())
def test_whatever_was_put_is_one_line_and_good_json(old: Typed, new: Typed, user: str, host: str) -> None:
    one = Entry(TIME, "LAB:X", user, host, "", "", "", values=(old, new))
    text = as_json(one)
    assert text.count("\n") == 1
    found = json.loads(text)
    assert (found["user"], found["host"]) == (user, host)
    if isinstance(new, float) and math.isfinite(new):
        assert found["new"] == new
    value = as_line(entry("LAB:X", old, new)).partition(" new=")[2]
    assert value.count("\n") == 1
    assert value.isascii()


def test_without_typed_values_there_are_the_texts() -> None:
    group = Entry(TIME, "LAB:GRP:ALL:GO", "root", "vm", "", "", "OFF", outcome=APPLIED)
    assert as_line(group).endswith('LAB:GRP:ALL:GO new="OFF" old=""\n')


def test_only_puts_that_were_begun_are_sent() -> None:
    journal, sent = Journal(SystemClock()), []
    journal.on_put = sent.append
    done, refused = entry("A", 0, 1), entry("A", 0, 1, REFUSED)
    journal.note(done)
    journal.note(refused)
    assert sent == [done]


class LogServer:
    """A log server that may be away, or read nothing."""

    def __init__(self) -> None:
        self.port = 0
        self.received = b""
        self.reading = True
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        writer.write_eof()  # as iocLogServer of EPICS base does
        while self.reading and (data := await reader.read(65536)):
            self.received += data

    def pvs(self) -> list[str]:
        return [json.loads(line)["pv"] for line in self.received.splitlines()]


async def until(condition: Callable[[], bool]) -> None:
    clock = FairClock()
    while not condition():
        assert clock() < 10.0
        await asyncio.sleep(0.01)


@asynccontextmanager
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[LogServer, PutLog]]:
    monkeypatch.setattr(putlog, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(putlog, "PATIENCE", 0.5)
    monkeypatch.setattr(putlog, "CHECK", 0.05)
    server = LogServer()
    await server.start()
    client = PutLog(PutLogSettings("127.0.0.1", server.port, "json"), SystemClock())
    client.start()
    try:
        yield server, client
    finally:
        await client.close()
        await server.stop()


async def test_GIVEN_a_server_that_comes_back_WHEN_puts_were_made_meanwhile_THEN_it_gets_each_in_order(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig(monkeypatch) as (server, client):
        client.add(entry("A", 0, 1))
        await until(lambda: server.pvs() == ["A"])
        await server.stop()
        client.add(entry("B", 0, 1))  # goes to an address where nothing listens any more
        await until(lambda: not client.connected)
        assert f"127.0.0.1:{server.port}, is not connected: " in "".join(client.problems())
        for name in "CD":
            client.add(entry(name, "", "no text: \udcff"))
        await server.start()
        await until(lambda: server.pvs() == ["A", "B", "C", "D"])
        await until(lambda: client.sent == 4)
        assert list(client.problems()) == []
        assert sum("is not connected" in message for message in caplog.messages) <= 2  # ended, then refused


async def test_GIVEN_no_server_WHEN_more_puts_are_made_than_may_wait_THEN_the_oldest_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with rig(monkeypatch) as (server, client):
        await until(lambda: client.connected)
        await server.stop()
        client.add(entry("0", 0, 1))
        await until(lambda: not client.connected)
        for number in range(1, MOST_WAITING + 10):
            client.add(entry(str(number), 0, 1))
        assert client.dropped == 10
        assert {one.name: list(one.samples) for one in client.metrics()}["putlog_dropped_total"] == [({}, 10)]
        await server.start()
        await until(lambda: len(server.pvs()) == MOST_WAITING)
        assert server.pvs()[0] == "10"


async def test_GIVEN_a_server_that_reads_nothing_WHEN_its_time_is_over_THEN_it_is_connected_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with rig(monkeypatch) as (server, client):
        server.reading = False
        await until(lambda: client.connected)
        long = "x" * 400
        while client.connected:
            for _ in range(500):
                client.add(entry(long, long, long))
            await asyncio.sleep(0.01)
        assert "no answer in 0.5 s" in "".join(client.problems())
        server.reading = True
        client.add(entry("last", 0, 1))
        await until(lambda: server.received.endswith(b'"pv":"last","new":1,"old":0}\n'))


async def test_GIVEN_a_line_on_its_way_WHEN_closed_THEN_it_is_sent_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig(monkeypatch) as (server, client):
        await until(lambda: client.connected)
        client.add(entry("A", "", "\udcb5V in Latin-1"))
        await client.close()
        await until(lambda: server.pvs() == ["A"])


def test_the_site_file_names_the_server() -> None:
    assert parse_site(SITE).putlog is None
    one = parse_site(SITE | {"putlog": {"server": "loghost"}}).putlog
    assert one == PutLogSettings("loghost", 7011, "line")
    one = parse_site(SITE | {"putlog": {"server": "loghost:7004", "format": "json"}}).putlog
    assert one == PutLogSettings("loghost", 7004, "json")


@pytest.mark.parametrize("section", [{}, {"server": ""}, {"server": "a:0"}, {"server": "a", "format": "xml"}])
def test_a_section_that_makes_no_sense_is_refused(section: dict[str, str]) -> None:
    with pytest.raises(SiteError, match="putlog"):
        parse_site(SITE | {"putlog": section})
