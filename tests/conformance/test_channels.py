"""Channels: search, connect, disconnect, access, and what happens when either end goes away."""

from __future__ import annotations

import socket
import struct

import pytest

from tests import dbr
from tests.conformance.conftest import DATABASES, MANY, STARTERS
from tests.libca import Context
from tests.softioc import ServerProcess

NAMES = [f"M:{number:03d}" for number in range(MANY)]


def test_GIVEN_a_record_WHEN_a_client_connects_THEN_it_learns_type_count_access_and_host(
    client: Context, server: ServerProcess
) -> None:
    expected = {
        "T:AI": (dbr.DOUBLE, 1),
        "T:BO": (dbr.ENUM, 1),
        "T:MBBI": (dbr.ENUM, 1),
        "T:LO": (dbr.LONG, 1),
        "T:SO": (dbr.STRING, 1),
        "T:LSI": (dbr.STRING, 1),
        "T:LSI.VAL$": (dbr.CHAR, 400),
        "T:WF": (dbr.DOUBLE, 10),
        "T:CHARS": (dbr.CHAR, 500),
        "T:AI.HIHI": (dbr.DOUBLE, 1),
        "T:AI.SCAN": (dbr.ENUM, 1),
        "T:AI.DESC": (dbr.STRING, 1),
        "T:AI.DESC$": (dbr.CHAR, 41),
        "T:AI.PREC": (dbr.SHORT, 1),
        "T:AI.RTYP": (dbr.STRING, 1),
        "T:AI.SEVR": (dbr.ENUM, 1),
        "T:AI.VAL": (dbr.DOUBLE, 1),
        "DETECTOR:PMT07": (dbr.DOUBLE, 1),
        "DETECTOR:PMT07.EGU": (dbr.STRING, 1),
    }
    channels = client.connect(list(expected))
    assert {c.name: (c.field_type, c.element_count) for c in channels} == expected
    for channel in channels:
        assert channel.may_read
        assert channel.may_write == (channel.name != "T:AI.SEVR"), channel.name
        assert channel.host.split(":")[1] == str(server.port)


def test_GIVEN_hundreds_of_channels_WHEN_they_come_and_go_THEN_each_connects_every_time(
    server: ServerProcess, client: Context
) -> None:
    memory = 0
    for round_number in range(4):
        with Context(server.address) as context:
            channels = context.connect(NAMES, deadline=10)
            answers = context.get_many([(channel, dbr.LONG, 1) for channel in channels])
            assert all(answer.status == 1 for answer in answers)
            for channel in channels[::2]:
                channel.clear()
            assert channels[1].value() == channels[1].get(dbr.LONG).value
        if round_number == 0:
            memory = server.rss
    assert server.rss - memory < 20e6


def test_GIVEN_a_search_over_tcp_WHEN_hundreds_of_names_are_asked_THEN_all_connect_without_complaint(
    server: ServerProcess, client: Context
) -> None:
    with Context(server.address, tcp=True) as context:
        unknown = context.channels(["NOBODY:HERE", "T:AI.NOSUCHFIELD"])
        channels = context.connect([*NAMES, "T:AI", "DETECTOR:PMT07"], deadline=15)
        assert [answer.status for answer in context.get_many([(c, c.field_type, 1) for c in channels])] == [1] * (
            MANY + 2
        )
        assert not any(channel.connected for channel in unknown)
        assert context.exceptions == []


def test_GIVEN_names_that_nobody_has_WHEN_they_are_searched_THEN_only_the_others_connect(client: Context) -> None:
    wrong = client.channels(
        [
            "T:NOTHING",
            "T:AI.NOPE",
            "T:AI.",
            "t:ai",
            "T:AI ",
            "x" * 100,
            "T:AI.VAL.VAL",
            "T:AI.{",
            'T:AI.{"nope":{}}',
            "\xe4",
        ]
    )
    # Searches are answered in order: when these are connected, those before have had their chance.
    for _ in range(3):
        client.connect(["T:LO", "T:SO"])
    found = [channel.name for channel in wrong if channel.connected]
    assert found in ([], ["T:AI."])  # base takes an empty field name for VAL


def test_GIVEN_two_channels_of_a_record_WHEN_one_is_cleared_THEN_the_other_keeps_its_events(client: Context) -> None:
    first, second, putter = client.connect(["T:LO", "T:LO", "T:LO"])
    gone, kept = first.monitor(), second.monitor()
    gone.wait(1)
    kept.wait(1)
    first.clear()
    before = len(gone.events)
    for number in range(1, 6):
        assert putter.put_callback(number) == 1
    kept.wait_value(5)
    assert len(gone.events) == before


def test_GIVEN_a_monitor_WHEN_it_is_cancelled_THEN_no_event_follows_and_it_can_be_made_again(client: Context) -> None:
    channel = client.channel("T:LO")
    for number in range(10, 30):
        monitor = channel.monitor(dbr.LONG)
        monitor.wait(1)
        assert channel.put_callback(number) == 1
        monitor.wait_value(number)
        monitor.clear()
        seen = len(monitor.events)
        other = channel.monitor(dbr.LONG)
        assert channel.put_callback(number + 100) == 1
        other.wait_value(number + 100)
        other.clear()
        assert len(monitor.events) == seen


_VERSION = struct.pack(">HHHHII", 0, 0, 0, 13, 0, 0)


def _claim(name: bytes, cid: int) -> bytes:
    padded = name + b"\0" * (8 - len(name) % 8)
    return struct.pack(">HHHHII", 18, len(padded), 0, 0, cid, 13) + padded


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00",
        b"\xff" * 16,
        b"GET / HTTP/1.1\r\n\r\n",
        _VERSION + b"\0\x12",
        _VERSION + _claim(b"T:AI", 1)[:20],
        _VERSION + _claim(b"T:AI", 1) + struct.pack(">HHHHII", 15, 0, 6, 1, 4711, 1),
        _VERSION + struct.pack(">HHHHIIII", 4, 0xFFFF, 6, 0, 1, 1, 0x7FFFFFFF, 0x7FFFFFFF),
        _VERSION + struct.pack(">HHHHII", 99, 0, 0, 0, 0, 0),
        _VERSION + _claim(b"\xff\xfe\0\0", 1),
        _VERSION + struct.pack(">HHHHII", 1, 16, 6, 1, 99, 1) + bytes(16),
    ],
    ids=range(10),
)
def test_GIVEN_nonsense_on_a_circuit_WHEN_it_is_dropped_THEN_other_clients_do_not_notice(
    server: ServerProcess, client: Context, garbage: bytes
) -> None:
    channel = client.channel("T:LO")
    monitor = channel.monitor(dbr.LONG)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port), 5) as raw:
            raw.sendall(garbage)
    with socket.socket(type=socket.SOCK_DGRAM) as raw:
        raw.sendto(garbage, ("127.0.0.1", server.port))
    assert channel.put_callback(4711) == 1
    monitor.wait_value(4711)
    assert channel.connections == [True]


def test_GIVEN_monitors_WHEN_the_server_is_killed_and_started_again_THEN_they_go_on() -> None:
    start = STARTERS["labioc"]
    first = start(DATABASES[:1])
    with Context(first.address) as context:
        channel = context.channel("T:LO")
        monitor = channel.monitor(dbr.LONG)
        assert channel.put_callback(7) == 1
        monitor.wait_value(7)
        first.kill()
        context.wait_for(lambda: not channel.connected, 5, lambda: "still connected")
        second = start(DATABASES[:1], port=first.port)
        try:
            # libca itself waits for 10 s before it searches a lost channel again, unless beacons reach it.
            context.wait_for(lambda: channel.connected, 20, lambda: "not connected again")
            assert channel.put_callback(8) == 1
            monitor.wait_value(8)
            assert channel.connections == [True, False, True]
        finally:
            second.stop()
