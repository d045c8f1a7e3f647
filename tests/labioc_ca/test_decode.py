"""Decoder of monitor events: against an encoder written from the specification, in any pieces, with any damage."""

from __future__ import annotations

import contextlib
import math
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labioc_ca.decode import BrokenStream, EventDecoder, Message, text_of
from labioc_ca.events import Event, Kind

EPOCH = 631_152_000
LETTER = {Kind.SHORT: "h", Kind.FLOAT: "f", Kind.ENUM: "H", Kind.CHAR: "B", Kind.LONG: "i", Kind.DOUBLE: "d"}
PAD = {Kind.SHORT: 2, Kind.FLOAT: 0, Kind.ENUM: 2, Kind.CHAR: 3, Kind.LONG: 0, Kind.DOUBLE: 4, Kind.STRING: 0}


def message(
    command: int, dbr_type: int, count: int, one: int, two: int, payload: bytes, *, large: bool = False
) -> bytes:
    payload += bytes(-len(payload) % 8)
    if large or len(payload) >= 0xFFFF or count >= 0xFFFF:
        head = struct.pack(">HHHHII", command, 0xFFFF, dbr_type, 0, one, two)
        return head + struct.pack(">II", len(payload), count) + payload
    return struct.pack(">HHHHII", command, len(payload), dbr_type, count, one, two) + payload


def event(
    number: int,
    kind: Kind,
    values: list[float] | list[int] | list[bytes],
    *,
    seconds: int = 1_000_000_000,
    nanoseconds: int = 5,
    status: int = 0,
    severity: int = 0,
    large: bool = False,
) -> bytes:
    if kind is Kind.STRING:
        body = b"".join(bytes(value).ljust(40, b"\0") for value in values)  # type: ignore[arg-type]
    else:
        body = struct.pack(f">{len(values)}{LETTER[kind]}", *values)
    head = struct.pack(">HHII", status, severity, seconds, nanoseconds) + bytes(PAD[kind])
    return message(1, 14 + kind, len(values), 1, number, head + body, large=large)


def decoder(control: list[Message] | None = None, limit: int = 1 << 20) -> EventDecoder:
    taken: list[Message] = [] if control is None else control
    return EventDecoder(taken.append, limit)


def decode(kind: Kind, data: bytes, count: int = 1) -> Event:
    one = decoder()
    one.subscribe(7, "LAB:X", kind, count)
    one.feed(data)
    assert len(one.events) == 1
    return one.events[0]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.DOUBLE, -1.5e300),
        (Kind.FLOAT, 0.25),
        (Kind.LONG, -(2**31)),
        (Kind.SHORT, -32768),
        (Kind.CHAR, 255),
        (Kind.ENUM, 65535),
    ],
)
def test_a_scalar_has_value_stamp_and_alarm(kind: Kind, value: float) -> None:
    got = decode(kind, event(7, kind, [value], seconds=1_163_000_000, nanoseconds=123_456_789, status=4, severity=2))
    assert got == Event("LAB:X", kind, value, (1_163_000_000 + EPOCH) * 10**9 + 123_456_789, 2, 4)
    assert type(got.value) is (float if kind in (Kind.DOUBLE, Kind.FLOAT) else int)


def test_a_scalar_may_come_with_the_large_header() -> None:
    assert decode(Kind.LONG, event(7, Kind.LONG, [3], large=True)).value == 3


def test_nan_and_infinity_are_decoded_as_they_are() -> None:
    assert math.isnan(decode(Kind.DOUBLE, event(7, Kind.DOUBLE, [math.nan])).value)  # type: ignore[arg-type]
    assert decode(Kind.DOUBLE, event(7, Kind.DOUBLE, [-math.inf])).value == -math.inf


@pytest.mark.parametrize(
    ("kind", "letter"), [(Kind.DOUBLE, "d"), (Kind.FLOAT, "f"), (Kind.LONG, "i"), (Kind.SHORT, "h")]
)
@pytest.mark.parametrize("values", [[], [1], [1, -2, 3]])
def test_a_channel_with_several_elements_gives_arrays(kind: Kind, letter: str, values: list[int]) -> None:
    assert decode(kind, event(7, kind, values), count=10).value == array(letter, values)


def test_characters_become_text() -> None:
    assert (
        decode(Kind.CHAR, event(7, Kind.CHAR, list(b"late: 20 \xc2\xb0C\0old")), count=100).value == "late: 20 \u00b0C"
    )


def test_text_of_an_older_ioc_is_latin_1() -> None:
    assert text_of(b"20 \xb0C\0rest") == "20 \u00b0C"


def test_strings() -> None:
    assert decode(Kind.STRING, event(7, Kind.STRING, [b"HV on"])).value == "HV on"
    assert decode(Kind.STRING, event(7, Kind.STRING, [b"a", b"", b"c" * 40]), count=3).value == ("a", "", "c" * 40)


def test_a_string_comes_without_what_follows_its_end() -> None:
    payload = struct.pack(">HHII", 0, 0, 1, 0) + b"ab\0\0"
    assert decode(Kind.STRING, message(1, 14, 1, 1, 7, payload)).value == "ab"


def test_an_array_in_many_pieces_is_decoded_once_when_it_is_whole() -> None:
    values = [float(number) for number in range(100_000)]
    data = event(7, Kind.DOUBLE, values) + event(7, Kind.DOUBLE, [1.0, 2.0])
    one = decoder()
    one.subscribe(7, "LAB:X", Kind.DOUBLE, 100_000)
    for at in range(0, len(data), 1000):
        one.feed(data[at : at + 1000])
    assert [len(got.value) for got in one.events] == [100_000, 2]  # type: ignore[arg-type]
    assert list(one.events[0].value) == values  # type: ignore[arg-type]


def test_an_event_that_is_too_large_is_left_out_and_reported() -> None:
    reported: list[Message] = []
    one = decoder(reported, limit=10_000)
    one.subscribe(7, "LAB:X", Kind.DOUBLE, 5000)
    data = event(7, Kind.DOUBLE, [1.0]) + event(7, Kind.DOUBLE, [0.0] * 5000) + event(7, Kind.DOUBLE, [2.0])
    for at in range(0, len(data), 999):
        one.feed(data[at : at + 999])
    assert [list(got.value) for got in one.events] == [[1.0], [2.0]]  # type: ignore[arg-type]
    assert one.left_out == 1
    assert [(message.parameter2, message.raw) for message in reported] == [(7, b"")]


def test_other_messages_are_handed_on_whole_and_in_their_place() -> None:
    order: list[object] = []
    one = EventDecoder(lambda message: order.append((message.command, len(one.events), message.raw)), 1000)
    one.subscribe(7, "LAB:X", Kind.LONG, 1)
    echo, refused = message(23, 0, 0, 0, 0, b""), message(1, 19, 1, 0x180, 7, bytes(16))
    one.feed(event(7, Kind.LONG, [1]) + echo + event(7, Kind.LONG, [2]) + refused)
    assert order == [(23, 1, echo), (1, 2, refused)]


def test_a_response_with_a_large_array_is_handed_on_whole_up_to_the_limit() -> None:
    taken: list[Message] = []
    data = message(15, 20, 5000, 1, 3, bytes(40_000))
    one = decoder(taken, limit=50_000)
    for at in range(0, len(data), 999):
        one.feed(data[at : at + 999])
    assert [got.raw for got in taken] == [data]
    with pytest.raises(BrokenStream):
        decoder(limit=30_000).feed(data[:999])


def test_events_that_are_not_to_be_decoded_are_handed_on_in_their_place() -> None:
    order: list[object] = []
    one = EventDecoder(lambda got: order.append((got.parameter2, len(one.events), got.raw)), 1000)
    one.subscribe(7, "LAB:X", Kind.DOUBLE, 1)
    other = event(8, Kind.DOUBLE, [2.0])
    one.feed(event(7, Kind.DOUBLE, [1.0]) + other + event(7, Kind.DOUBLE, [3.0]))
    assert order == [(8, 1, other)]
    assert [got.value for got in one.events] == [1.0, 3.0]


def test_the_events_before_a_message_may_be_taken_with_it() -> None:
    taken: list[Event] = []

    def control(_: Message) -> None:
        taken.extend(one.events)
        one.events = []

    one = EventDecoder(control, 1000)
    one.subscribe(7, "LAB:X", Kind.LONG, 1)
    one.feed(event(7, Kind.LONG, [1]) + message(23, 0, 0, 0, 0, b"") + event(7, Kind.LONG, [2]))
    assert [got.value for got in taken] == [1]
    assert [got.value for got in one.events] == [2]


def test_what_looks_like_a_double_among_doubles_is_none_without_their_whole_header() -> None:
    control: list[Message] = []
    one = decoder(control)
    one.subscribe(7, "LAB:X", Kind.DOUBLE, 1)
    good = [event(7, Kind.DOUBLE, [float(value)]) for value in range(4)]
    without_a_value = good[0][:8] + struct.pack(">I", 152) + good[0][12:]
    answer = message(15, 20, 1, 1, 7, good[0][16:])
    assert len(without_a_value) == len(answer) == len(good[0])
    one.feed(good[0] + good[1] + without_a_value + good[2] + answer + good[3])
    assert [one.value for one in one.events] == [0.0, 1.0, 2.0, 3.0]
    assert [(one.command, one.parameter1, one.raw) for one in control] == [(1, 152, without_a_value), (15, 1, answer)]


@pytest.mark.parametrize("count", [1, 3])
def test_a_number_that_is_given_again_has_its_new_type_alone(count: int) -> None:
    one = decoder()
    one.subscribe(7, "LAB:X", Kind.DOUBLE, 1)
    one.subscribe(7, "LAB:X", Kind.LONG, count)
    with pytest.raises(BrokenStream, match="type 20"):
        one.feed(event(7, Kind.DOUBLE, [1.5]))
    assert not one.events


def test_late_events_of_a_subscription_that_is_gone_are_ignored() -> None:
    one = decoder()
    one.subscribe(7, "LAB:X", Kind.LONG, 1)
    one.forget(7)
    one.feed(event(7, Kind.LONG, [1]) + event(8, Kind.LONG, [1]))
    assert one.events == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(event(7, Kind.LONG, [1]), id="another type"),
        pytest.param(message(1, 20, 1, 1, 7, bytes(8)), id="too short"),
        pytest.param(message(1, 20, 9, 1, 7, bytes(24)), id="fewer values than it says"),
        pytest.param(struct.pack(">HHHHII", 18, 0xFFFF, 0, 0, 0, 0) + struct.pack(">II", 1 << 30, 0), id="endless"),
    ],
)
def test_what_no_server_may_send_is_an_error(data: bytes) -> None:
    one = decoder()
    one.subscribe(7, "LAB:X", Kind.DOUBLE, 1)
    with pytest.raises(BrokenStream):
        one.feed(data)


SCALARS = st.one_of(
    st.tuples(st.just(Kind.DOUBLE), st.lists(st.floats(allow_nan=False), min_size=1, max_size=1)),
    st.tuples(st.just(Kind.LONG), st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=1)),
    st.tuples(st.just(Kind.DOUBLE), st.lists(st.floats(allow_nan=False), min_size=0, max_size=40)),
    st.tuples(st.just(Kind.ENUM), st.lists(st.integers(0, 65535), min_size=1, max_size=1)),
    st.tuples(st.just(Kind.STRING), st.lists(st.sampled_from([b"", b"on", b"x" * 39]), min_size=1, max_size=1)),
)
STAMP = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 999_999_999), st.integers(0, 3), st.integers(0, 21))


@given(
    st.lists(st.tuples(SCALARS, STAMP, st.booleans(), st.booleans()), max_size=12),
    st.lists(st.integers(1, 60), min_size=1, max_size=10),
)
def test_any_stream_cut_in_any_pieces_gives_the_same_events(
    sent: list[tuple[tuple[Kind, list[float]], tuple[int, int, int, int], bool, bool]], sizes: list[int]
) -> None:
    reported: list[Message] = []
    one = decoder(reported)
    data, expected, others = b"", [], 0
    for number, ((kind, values), (seconds, nanoseconds, severity, status), large, other) in enumerate(sent):
        one.subscribe(number, f"PV{number}", kind, 1 if len(values) == 1 else 100)
        data += event(
            number,
            kind,
            values,
            seconds=seconds,
            nanoseconds=nanoseconds,
            status=status,
            severity=severity,
            large=large,
        )
        expected.append((f"PV{number}", kind, (seconds + EPOCH) * 10**9 + nanoseconds, severity, status))
        if other:
            others += 1
            data += message(22, 0, 0, number, 3, b"")
    at = turn = 0
    while at < len(data):
        one.feed(data[at : at + sizes[turn % len(sizes)]])
        at += sizes[turn % len(sizes)]
        turn += 1
    assert [(e.pv, e.kind, e.seconds_ns, e.severity, e.status) for e in one.events] == expected
    for got, ((kind, values), *_) in zip(one.events, sent, strict=True):
        wanted = [text_of(v) for v in values] if kind is Kind.STRING else values  # type: ignore[arg-type]
        assert (list(got.value) if isinstance(got.value, array) else [got.value]) == wanted
    assert len(reported) == others


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_garbage_is_an_error_or_nothing(pieces: list[bytes]) -> None:
    one = decoder(limit=1000)
    one.subscribe(0, "LAB:X", Kind.DOUBLE, 1)
    try:
        for piece in pieces:
            one.feed(piece)
    except BrokenStream:
        pass


@given(st.integers(0, 79), st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_another_value_of_a_known_pv(at: int, bit: int) -> None:
    data = bytearray(event(0, Kind.DOUBLE, [1.0]) * 2)
    data[at] ^= 1 << bit
    one = decoder(limit=1000)
    one.subscribe(0, "LAB:X", Kind.DOUBLE, 1)
    with contextlib.suppress(BrokenStream):
        one.feed(bytes(data))
    assert all(got.pv == "LAB:X" and type(got.value) in (float, array) for got in one.events)
