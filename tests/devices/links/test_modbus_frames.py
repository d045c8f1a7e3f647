"""Frames of Modbus RTU, built and found among stray bytes, echoes and frames of others."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.links.modbus_frames import (
    READ,
    WRITE,
    WRITE_ONE,
    ModbusRefusal,
    Request,
    crc16,
    find_reply,
    is_frame,
    with_crc,
)
from tests.devices.eurotherm.vectors import (
    BAD_REPLIES,
    BUSY,
    ECHO,
    FAILURE,
    PUBLISHED,
    RATE,
    STRAY_BYTE,
    VECTORS,
    Vector,
)

PV = Request(1, READ, 1, 1)


def parsed(frame: bytes) -> Request:
    unit, function, address, word = struct.unpack(">BBHH", frame[:6])
    if function == READ:
        return Request(unit, READ, address, word)
    if function == WRITE_ONE:
        return Request(unit, WRITE_ONE, address, 1, (word,))
    return Request(unit, WRITE, address, word, struct.unpack(f">{word}H", frame[7:-2]))


@pytest.mark.parametrize("vector", VECTORS + PUBLISHED + [RATE], ids=lambda vector: vector.what)
def test_every_exchange_of_the_handbooks_is_built_and_found(vector: Vector):
    request = bytes.fromhex(vector.request)
    if request[1] not in (READ, WRITE_ONE, WRITE) or vector.what in ("wrong CRC", "126 words"):
        assert is_frame(request) == (vector.what != "wrong CRC")
        return  # nothing that this product asks
    asked = parsed(request)
    assert asked.frame == request
    if vector.reply is not None:
        reply = bytes.fromhex(vector.reply)
        found = find_reply(asked, reply)
        if reply[1] & 0x80:
            assert (found.reply, found.exception) == (b"", reply[2])
        else:
            assert found.reply == reply
            assert len(reply) == asked.reply_length


@pytest.mark.parametrize("vector", BAD_REPLIES, ids=lambda vector: vector.what)
def test_a_bad_reply_is_none(vector: Vector):
    found = find_reply(PV, bytes.fromhex(vector.reply or ""))
    assert not found.reply
    assert not found.exception


@pytest.mark.parametrize("vector", [STRAY_BYTE, ECHO], ids=lambda vector: vector.what)
def test_stray_bytes_and_echoes_are_passed_over(vector: Vector):
    assert find_reply(PV, bytes.fromhex(vector.reply or "")).reply == bytes.fromhex("01 03 02 07 2A 3B AB")


@pytest.mark.parametrize(("vector", "words"), [(BUSY, "busy"), (FAILURE, "failure")], ids=["busy", "failure"])
def test_an_exception_says_what_it_means(vector: Vector, words: str):
    code = find_reply(PV, bytes.fromhex(vector.reply or "")).exception
    assert words in str(ModbusRefusal(PV, code))


def test_frames_of_others_are_passed_over_whatever_they_hold():
    broadcast = with_crc(bytes.fromhex("00 06 00 18 09 C4"))
    late = with_crc(bytes((1, 3, 10)) + bytes.fromhex("01 03 02 07 2A 3B AB") + b"\0\0\0")
    reply = bytes.fromhex("01 03 02 00 B7 F8 32")
    assert find_reply(PV, broadcast + late + broadcast + reply).reply == reply
    assert find_reply(PV, late).strange == 0


def test_the_crc_is_that_of_modbus():
    assert crc16(b"123456789") == bytes.fromhex("37 4B")  # check value 0x4B37, low byte first


@pytest.mark.parametrize(
    ("function", "address", "count", "words"),
    [(READ, 1, 0, ()), (READ, 1, 126, ()), (READ, -1, 1, ()), (READ, 0xFFFF, 2, ()), (WRITE_ONE, 1, 1, (0x10000,)),
     (WRITE, 1, 1, (-1,)), (WRITE, 1, 124, (0,) * 124)],
)  # fmt: skip
def test_what_no_frame_can_carry_is_refused(function, address, count, words):
    with pytest.raises(ValueError, match="allowed are"):
        Request(1, function, address, count, words)


requests = st.one_of(
    st.builds(Request, st.integers(1, 254), st.just(READ), st.integers(0, 0xFF00), st.integers(1, 125)),
    st.builds(
        lambda unit, address, word: Request(unit, WRITE_ONE, address, 1, (word,)),
        *(st.integers(1, 254), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    ),
    st.builds(
        lambda unit, address, words: Request(unit, WRITE, address, len(words), tuple(words)),
        *(st.integers(1, 254), st.integers(0, 0xFF00), st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=123)),
    ),
)


def right_reply(request: Request, data: bytes) -> bytes:
    body = (data * 125)[: 2 * request.count] if request.function == READ else b""
    return with_crc(request.head + body)


@given(requests, st.binary(min_size=2, max_size=2))
def test_the_right_reply_is_always_found(request_: Request, data: bytes):
    reply = right_reply(request_, data)
    assert find_reply(request_, reply).reply == reply
    assert find_reply(request_, reply[:-1]).reply == b""


@given(requests, st.binary(max_size=300))
def test_nothing_is_found_that_is_not_a_frame_of_this_exchange(request_: Request, data: bytes):
    found = find_reply(request_, data)
    assert not found.reply or (is_frame(found.reply) and found.reply.startswith(request_.head) and found.reply in data)
    assert found.strange <= len(data)


@given(requests, st.binary(min_size=2, max_size=2), st.data())
def test_one_changed_byte_is_always_seen(request_: Request, data: bytes, draw: st.DataObject):
    reply = bytearray(right_reply(request_, data))
    reply[draw.draw(st.integers(0, len(reply) - 1))] ^= draw.draw(st.integers(1, 255))
    assert not find_reply(request_, bytes(reply)).reply
