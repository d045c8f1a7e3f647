"""Messages and searches of Channel Access as bytes."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.server import wire
from ioc.server.search import SearchResponder, answer
from ioc.server.wire import BrokenStream, Command, Message, MessageReader, pack

HEADER = struct.Struct(">HHHHII")


@given(
    st.lists(
        st.tuples(st.integers(0, 27), st.integers(0, 38), st.integers(0, 70000), st.binary(max_size=200)), max_size=6
    ),
    st.integers(1, 64),
)
def test_messages_come_out_as_they_were_packed_however_they_are_cut(
    messages: list[tuple[int, int, int, bytes]], size: int
) -> None:
    stream = b"".join(pack(command, dtype, count, 5, 6, payload) for command, dtype, count, payload in messages)
    reader = MessageReader(1000)
    got = [m for i in range(0, len(stream), size) for m in reader.feed(stream[i : i + size])]
    assert [
        (m.command, m.data_type, m.elements, m.payload[: len(p)]) for m, (*_, p) in zip(got, messages, strict=True)
    ] == [(command, dtype, count, payload) for command, dtype, count, payload in messages]


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_a_broken_stream(data: bytes) -> None:
    reader = MessageReader(100)
    with suppress(BrokenStream):
        assert all(isinstance(message, Message) for message in reader.feed(data))


def test_a_message_larger_than_the_limit_breaks_the_stream_before_it_is_collected() -> None:
    with pytest.raises(BrokenStream, match="at most 100"):
        list(MessageReader(100).feed(HEADER.pack(4, 5000, 6, 1, 1, 1)))
    with pytest.raises(BrokenStream, match="at most 100"):
        list(MessageReader(100).feed(HEADER.pack(4, 0xFFFF, 6, 0, 1, 1) + struct.pack(">II", 2**31, 1)))


def _search(name: bytes, cid: int) -> bytes:
    payload = name.ljust(len(name) + 8 - len(name) % 8, b"\0")
    return HEADER.pack(Command.SEARCH, len(payload), 5, 13, cid, cid) + payload


def test_only_known_names_are_answered_and_the_sequence_number_comes_back() -> None:
    datagram = HEADER.pack(Command.VERSION, 0, 1, 13, 77, 0) + _search(b"KNOWN", 8) + _search(b"FOREIGN", 9)
    (reply,) = answer(datagram, {"KNOWN"}.__contains__, 5064)
    assert HEADER.unpack_from(reply) == (Command.VERSION, 0, 1, 13, 77, 0)
    assert HEADER.unpack_from(reply, 16) == (Command.SEARCH, 8, 5064, 0, 0xFFFFFFFF, 8)
    assert len(reply) == 40
    assert answer(_search(b"FOREIGN", 9), {"KNOWN"}.__contains__, 5064) == []


def test_many_answers_are_split_into_datagrams_that_a_client_can_take() -> None:
    datagram = b"".join(_search(b"N%d" % i, i) for i in range(100))
    replies = answer(datagram, lambda name: True, 5064)
    assert all(len(reply) <= 1024 for reply in replies)
    assert sum((len(reply) - 16) // 24 for reply in replies) == 100


@given(st.binary(max_size=400))
def test_any_datagram_is_answered_or_ignored(datagram: bytes) -> None:
    for reply in answer(datagram, lambda name: True, 5064):
        assert len(reply) % 8 == 0


def test_a_local_server_answers_this_computer_only_and_none_answers_ignored_hosts() -> None:
    sent: list[tuple[bytes, tuple[str, int]]] = []

    class Transport:
        def sendto(self, data: bytes, address: tuple[str, int]) -> None:
            sent.append((data, address))

    for local_only, ignored in ((False, ()), (True, ()), (False, ("127.0.0.1",))):
        responder = SearchResponder(lambda name: True, 5064, local_only, ignored)
        responder.connection_made(Transport())  # type: ignore[arg-type]
        for address in (("127.0.0.1", 1), ("192.0.2.1", 1)):  # the second is reserved for documentation, RFC 5737
            responder.datagram_received(_search(b"N", 1), address)
    assert [address[0] for _, address in sent] == ["127.0.0.1", "192.0.2.1", "127.0.0.1", "192.0.2.1"]


def test_names_of_clients_can_be_printed() -> None:
    assert wire.name_of(b"anna\x1b[2J\nroot\xff\0more") == "anna?[2J?root\ufffd"
