"""What no library would send, and what it would not show: both servers answered on a bare socket."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterator

import pytest

from tests import dbr
from tests.libca import ECA_NORMAL, ECA_PUTFAIL, Context
from tests.raw_ca import (
    CLEAR_CHANNEL,
    CLIENT_NAME,
    CREATE_CH_FAIL,
    CREATE_CHAN,
    ECHO,
    ERROR,
    EVENT_ADD,
    EVENT_CANCEL,
    EVENTS_OFF,
    EVENTS_ON,
    HOST_NAME,
    READ_NOTIFY,
    SEARCH,
    VERSION,
    WRITE,
    WRITE_NOTIFY,
    Message,
    RawCircuit,
    event_mask,
    pack,
)
from tests.softioc import ServerProcess

_INTERNAL = 142
_fences = itertools.count(1)


@pytest.fixture
def circuit(server: ServerProcess, client: Context) -> Iterator[RawCircuit]:
    """A bare connection; the server must still serve others when the test is over."""
    with RawCircuit(server.port) as raw:
        yield raw


def _long(value: int) -> bytes:
    return struct.pack(">i", value)


def _put(circuit: RawCircuit, name: str, value: int) -> Message:
    return Message(WRITE, dbr.LONG, 1, circuit.sids[name], 1, _long(value))


def _watch(circuit: RawCircuit, name: str, subid: int, dbr_type: int = dbr.LONG, count: int = 1) -> Message:
    return Message(EVENT_ADD, dbr_type, count, circuit.sids[name], subid, event_mask(dbr.DBE_VALUE))


def _events(circuit: RawCircuit, *messages: Message) -> list[tuple[int, bytes]]:
    """Send messages; the events that they cause, as subscription id and payload."""
    fence = next(_fences)
    if "T:OTHER" not in circuit.sids:
        circuit.channel("T:OTHER")
        circuit.send(_watch(circuit, "T:OTHER", 999))
    circuit.send(*messages, _put(circuit, "T:OTHER", fence))
    got = circuit.until(
        lambda one: one.command == EVENT_ADD and one.parameter2 == 999 and one.payload[:4] == _long(fence)
    )
    return [(one.parameter2, one.payload) for one in got if one.command == EVENT_ADD and one.parameter2 != 999]


@pytest.mark.parametrize("command", [HOST_NAME, CLIENT_NAME])
def test_GIVEN_a_channel_WHEN_the_client_says_who_it_is_THEN_it_gets_an_error_that_it_is_too_late(
    circuit: RawCircuit, command: int
) -> None:
    circuit.channel("T:LO")
    (answer,) = circuit.ask(Message(command, payload=b"somebody else\0"))
    assert (answer.command, answer.parameter2) == (ERROR, _INTERNAL)


@pytest.mark.parametrize("command", [HOST_NAME, CLIENT_NAME])
def test_GIVEN_a_name_without_end_WHEN_the_client_says_it_THEN_base_hangs_up_and_labioc_ignores_it(
    circuit: RawCircuit, server: ServerProcess, command: int
) -> None:
    message = Message(command, payload=b"x" * 600 + b"\0")
    if server.name == "softioc":
        with pytest.raises(EOFError):
            circuit.ask(message)
    else:
        answer = circuit.ask(message)[-1]
        assert (answer.command, answer.parameter2) == (ERROR, _INTERNAL)


def test_GIVEN_an_echo_with_a_payload_WHEN_it_is_sent_THEN_it_comes_back_whole(circuit: RawCircuit) -> None:
    circuit.send(Message(ECHO, 3, 4, 5, 6, b"12345678"))
    assert circuit.until(lambda one: one.command == ECHO)[-1] == Message(ECHO, 3, 4, 5, 6, b"12345678")


@pytest.mark.parametrize(
    ("name", "count", "native", "text"),
    [
        ("T:AI.DESC$", 41, 5, b"An a\0"),
        ("T:AI.DESC$", 41, 1, b"\0"),
        ("T:AI.DESC$", 41, 100, b"An analog input\0"),
        ("T:AI.FLNK$", 1024, 5, b"\0"),
    ],
)
def test_GIVEN_a_text_as_long_string_WHEN_less_of_it_is_asked_for_THEN_what_comes_ends_in_a_nul(
    circuit: RawCircuit, name: str, count: int, native: int, text: bytes
) -> None:
    made = circuit.channel(name)
    assert (made.data_type, made.count) == (dbr.CHAR, count)
    (answer,) = circuit.ask(Message(READ_NOTIFY, dbr.CHAR, native, circuit.sids[name], 1))
    assert answer.payload.rstrip(b"\0") == text.rstrip(b"\0")


def test_GIVEN_a_text_that_was_never_set_WHEN_as_much_as_there_is_is_read_THEN_nothing_follows_the_header(
    circuit: RawCircuit,
) -> None:
    circuit.channel("T:EMPTY")
    for dbr_type, size in ((dbr.STRING, 0), (dbr.TIME + dbr.STRING, 16)):
        (answer,) = circuit.ask(Message(READ_NOTIFY, dbr_type, 0, circuit.sids["T:EMPTY"], 1))
        assert (answer.count, len(answer.payload)) == (0, size)


def test_GIVEN_bytes_that_are_no_text_WHEN_they_are_put_and_read_as_long_string_THEN_they_come_back(
    circuit: RawCircuit,
) -> None:
    circuit.channel("T:AO.DESC$")
    put = Message(WRITE, dbr.CHAR, 3, circuit.sids["T:AO.DESC$"], 1, b"\xff\xb0A")
    (answer,) = circuit.ask(put, Message(READ_NOTIFY, dbr.CHAR, 0, circuit.sids["T:AO.DESC$"], 1))
    assert (answer.parameter1, answer.payload[:4]) == (ECA_NORMAL, b"\xff\xb0A\0")


@pytest.mark.parametrize("name", ["T:LO", "T:SO.VAL$", "T:AI.DESC$", "T:LSI.VAL$"])
def test_GIVEN_a_put_of_numbers_without_any_WHEN_it_is_sent_THEN_labioc_refuses_it_by_name(
    circuit: RawCircuit, server: ServerProcess, name: str
) -> None:
    circuit.channel(name)
    circuit.send(Message(WRITE_NOTIFY, dbr.LONG, 0, circuit.sids[name], 1))
    answer = circuit.until(lambda one: one.command in (WRITE_NOTIFY, ERROR))[-1]
    assert answer.command == WRITE_NOTIFY
    if server.name != "softioc":
        assert answer.parameter1 == ECA_PUTFAIL


@pytest.mark.parametrize(("name", "text"), [("T:AO", b"abc\0"), ("T:AO.RTYP", b"ai\0")])
def test_GIVEN_a_put_with_completion_WHEN_it_is_refused_THEN_its_own_answer_has_the_status(
    circuit: RawCircuit, name: str, text: bytes
) -> None:
    circuit.channel(name)
    circuit.send(Message(WRITE_NOTIFY, dbr.STRING, 1, circuit.sids[name], 77, text))
    answer = circuit.until(lambda one: one.command in (WRITE_NOTIFY, ERROR))[-1]
    assert (answer.command, answer.parameter1, answer.parameter2) == (WRITE_NOTIFY, ECA_PUTFAIL, 77)
    assert (answer.data_type, answer.count, answer.payload) == (dbr.STRING, 1, b"")


def test_GIVEN_a_put_without_completion_WHEN_it_is_refused_THEN_an_error_message_has_the_reason(
    circuit: RawCircuit,
) -> None:
    circuit.channel("T:AO")
    circuit.send(Message(WRITE, dbr.STRING, 1, circuit.sids["T:AO"], 77, b"abc\0"))
    answer = circuit.until(lambda one: one.command in (WRITE_NOTIFY, ERROR))[-1]
    assert (answer.command, answer.parameter2) == (ERROR, ECA_PUTFAIL)


def test_GIVEN_a_slice_of_a_number_WHEN_it_is_read_THEN_the_number_comes(circuit: RawCircuit) -> None:
    for name in ("T:LO.[1]", 'T:LO.{"arr":{"s":3}}'):
        assert circuit.channel(name).count == 1
        (answer,) = circuit.ask(Message(READ_NOTIFY, dbr.LONG, 0, circuit.sids[name], 1))
        assert (answer.count, answer.parameter1, len(answer.payload)) == (1, ECA_NORMAL, 8)


@pytest.mark.parametrize("options", ['"num":"dbl"', '"num":"ts"', '"str":"iso"', '"epoch":"unix"'])
def test_GIVEN_a_filter_that_makes_the_time_the_value_WHEN_it_is_asked_for_THEN_no_value_is_shown_as_time(
    circuit: RawCircuit, server: ServerProcess, options: str
) -> None:
    made = circuit.channel(f'T:LO.{{"ts":{{{options}}}}}')
    assert made.command == (CREATE_CHAN if server.name == "softioc" else CREATE_CH_FAIL)


@pytest.mark.parametrize("filters", ['{"ts":{"nope":1}}', '{"ts":5}', '{"arr":null}', '{"dbnd":[]}', "[]", "[x]", "{"])
def test_GIVEN_a_filter_that_makes_no_sense_WHEN_it_is_asked_for_THEN_there_is_no_such_channel(
    circuit: RawCircuit, filters: str
) -> None:
    assert circuit.channel(f"T:WF.{filters}").command == CREATE_CH_FAIL


def test_GIVEN_events_turned_off_WHEN_values_change_THEN_the_newest_follows_when_they_are_on_again(
    circuit: RawCircuit,
) -> None:
    circuit.channel("T:LO")
    assert len(_events(circuit, _put(circuit, "T:LO", 0), _watch(circuit, "T:LO", 5))) == 1
    circuit.send(Message(EVENTS_OFF))
    answers = circuit.ask(*(_put(circuit, "T:LO", number) for number in range(1, 6)))
    assert answers == []
    assert _events(circuit, Message(EVENTS_ON))[-1] == (5, _long(5) + bytes(4))
    assert _events(circuit, *[Message(EVENTS_OFF), Message(EVENTS_ON)] * 3, _put(circuit, "T:LO", 77))[-1] == (
        5,
        _long(77) + bytes(4),
    )


def test_GIVEN_one_batch_WHEN_a_monitor_is_cancelled_and_made_again_in_another_type_THEN_only_the_new_one_goes_on(
    circuit: RawCircuit,
) -> None:
    circuit.channel("T:LO")
    _events(circuit, _put(circuit, "T:LO", 1), _watch(circuit, "T:LO", 5))
    again = [
        Message(EVENT_CANCEL, dbr.LONG, 1, circuit.sids["T:LO"], 5),
        _watch(circuit, "T:LO", 5, dbr.SHORT),
        _watch(circuit, "T:LO", 6, dbr.DOUBLE),
    ]
    assert _events(circuit, *again)[-2:] == [(5, b"\0\1" + bytes(6)), (6, struct.pack(">d", 1))]
    assert _events(circuit, _put(circuit, "T:LO", 2)) == [(5, b"\0\2" + bytes(6)), (6, struct.pack(">d", 2))]


def test_GIVEN_a_channel_with_monitors_WHEN_it_is_cleared_THEN_nothing_of_it_arrives_after_the_confirmation(
    circuit: RawCircuit,
) -> None:
    circuit.channel("T:LO")
    sid = circuit.sids["T:LO"]
    _events(circuit, _watch(circuit, "T:LO", 5), _watch(circuit, "T:LO", 6))
    circuit.send(Message(CLEAR_CHANNEL, 0, 0, sid, 1))
    circuit.until(lambda one: one.command == CLEAR_CHANNEL)
    circuit.channel("T:LO")
    assert _events(circuit, _put(circuit, "T:LO", 12345)) == []


def test_GIVEN_half_a_put_WHEN_the_client_goes_away_THEN_nothing_has_been_put(
    server: ServerProcess, client: Context
) -> None:
    channel = client.channel("T:LO")
    assert channel.put_callback(31) == ECA_NORMAL
    monitor = channel.monitor(dbr.LONG)
    for size in (8, 16, 20, 23):
        with RawCircuit(server.port) as raw:
            raw.channel("T:LO")
            raw.send(pack(Message(WRITE_NOTIFY, dbr.LONG, 1, raw.sids["T:LO"], 1, _long(99)))[:size])
    assert channel.put_callback(32) == ECA_NORMAL
    monitor.wait_value(32)
    assert [event.value for event in monitor.events] == [31, 32]


def test_GIVEN_many_silent_connections_WHEN_a_client_works_THEN_it_does_not_notice(
    server: ServerProcess, client: Context
) -> None:
    silent = [RawCircuit(server.port, greeting=number % 2 == 0) for number in range(100)]
    try:
        channel = client.channel("T:LO")
        for number in range(50):
            assert channel.put_callback(number) == ECA_NORMAL
        assert channel.value() == 49
    finally:
        for one in silent:
            one.__exit__()


@pytest.mark.parametrize("command", [EVENT_ADD, EVENT_CANCEL, WRITE, CLEAR_CHANNEL, READ_NOTIFY, WRITE_NOTIFY])
def test_GIVEN_a_channel_number_of_nobody_WHEN_it_is_used_THEN_base_hangs_up_and_labioc_refuses_and_goes_on(
    circuit: RawCircuit, server: ServerProcess, command: int
) -> None:
    circuit.channel("T:LO")
    message = Message(command, dbr.LONG, 1, 0x7FFFFFFF, 7, event_mask(dbr.DBE_VALUE))
    if server.name == "softioc":
        with pytest.raises(EOFError):
            circuit.ask(message)
    else:
        assert [one.command for one in circuit.ask(message)] == ([] if command == CLEAR_CHANNEL else [ERROR])


def _search(name: bytes, cid: int) -> bytes:
    return pack(Message(SEARCH, 5, 13, cid, cid, name + b"\0"))


_SEQUENCE = pack(Message(VERSION, 1, 13, 77))


@pytest.mark.parametrize(
    ("datagram", "found"),
    [
        (
            _search(b"T:AI", 1) + _search(b"NOBODY", 2) + _search(b"T:LO.DESC", 3) + _search(b"DETECTOR:PMT07", 4),
            [1, 3, 4],
        ),
        (_search(b"T:AI", 1) + _search(b"T:LO", 2)[:10], [1]),
        (_search(b"T:AI", 1) + _search(b"T:LO", 2)[:20], [1]),
        (_search(b"T:AI ", 1) + _search(b"\xff\xfe", 2) + _search(b"", 3) + _search(b"T:AI\0T:LO", 4), [4]),
        (_search(b"T:AI" + bytes(60), 1), [1]),
        (b"".join(_search(b"T:AI", cid) for cid in range(2500)), list(range(2500))),
    ],
    ids=["several", "cut header", "cut name", "odd names", "trailing nul", "more than an answer holds"],
)
def test_GIVEN_a_datagram_of_searches_WHEN_it_is_cut_or_odd_or_long_THEN_what_is_known_in_it_is_answered(
    server: ServerProcess, client: Context, datagram: bytes, found: list[int]
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as raw:
        raw.bind(("127.0.0.1", 0))
        raw.settimeout(5)
        raw.sendto(_SEQUENCE + datagram, ("127.0.0.1", server.port))
        raw.sendto(_SEQUENCE + _search(b"T:OTHER", 0xFFFF), ("127.0.0.1", server.port))  # answered in order
        got: list[int] = []
        while 0xFFFF not in got:
            answer = raw.recv(65536)
            assert len(answer) <= 1024
            assert answer[:16] == _SEQUENCE
            got += [struct.unpack_from(">I", answer, at + 12)[0] for at in range(16, len(answer), 24)]
    assert got[:-1] == found
