"""Requests and replies of the CAEN text protocol, without any wire."""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.caen.protocol import (
    ChannelStatus,
    Dialect,
    ErrorReply,
    Profile,
    Reply,
    format_number,
    monitor,
    parse_reply,
    set_value,
)
from devices.errors import DeviceError, Garbled, OutOfLimits, Refused
from devices.links.line import LineBuffer

A = Dialect(Profile.A)
B = Dialect(Profile.B, 0)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (monitor(A, "BDNAME"), b"$CMD:MON,PAR:BDNAME\r\n"),
        (monitor(A, "VMON", 0), b"$CMD:MON,CH:0,PAR:VMON\r\n"),
        (monitor(B, "VMON", 4), b"$BD:00,CMD:MON,CH:4,PAR:VMON\r\n"),
        (monitor(Dialect(Profile.B, 31), "BDNCH"), b"$BD:31,CMD:MON,PAR:BDNCH\r\n"),
        (set_value(A, "VSET", 2, "1500.0"), b"$CMD:SET,CH:2,PAR:VSET,VAL:1500.0\r\n"),
        (set_value(A, "ON", 3), b"$CMD:SET,CH:3,PAR:ON\r\n"),
        (set_value(B, "BDCLR"), b"$BD:00,CMD:SET,PAR:BDCLR\r\n"),
    ],
)
def test_a_request_is_these_bytes(request_, expected):
    assert request_ == expected


@pytest.mark.parametrize("value", ["", "1\r\n", "1,PAR:ON", "$", "#", "1;2", "\u00b5", "\x00"])
def test_a_value_that_would_change_the_request_is_never_sent(value):
    with pytest.raises(OutOfLimits):
        set_value(A, "VSET", 0, value)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (1500, 1, "1500.0"),
        (0.04, 1, "0.0"),
        (-0.04, 1, "0.0"),
        (1e-7, 2, "0.00"),
        (1e15, 0, "1000000000000000"),
        (-1.25, 1, "-1.2"),
        (200.5, 2, "200.50"),
        (10.0, 0, "10"),
    ],
)
def test_a_number_is_sent_in_plain_decimals(value, decimals, text):
    assert format_number(value, decimals) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_never_sent(value):
    with pytest.raises(OutOfLimits):
        format_number(value, 1)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 6))
def test_a_formatted_number_is_plain_and_close(value, decimals):
    text = format_number(value, decimals)
    assert set(text) <= set("-0123456789.")
    assert math.isclose(float(text), value, abs_tol=0.500001 * 10**-decimals)


def lines(data: bytes) -> list[str]:
    return LineBuffer().feed(data)


def reply(data: bytes, dialect: Dialect = A) -> Reply:
    (line,) = lines(data)
    return parse_reply(line, dialect)


@pytest.mark.parametrize(
    ("data", "dialect", "number"),
    [
        pytest.param(b"#CMD:OK,VAL:500.0;\r\n", A, 500.0, id="P1"),
        pytest.param(b"#CMD:OK,VAL:0010.0;\r\n", A, 10.0, id="P2"),
        pytest.param(b"#BD:00,CMD:OK,VAL:0001.10\r\n", B, 1.1, id="P4"),
        pytest.param(b"#BD:01,CMD:OK,VAL:42\r\n", Dialect(Profile.B, 1), 42.0, id="P5"),
        pytest.param(b"#CMD:OK,VAL:-000.01;\r\n", A, -0.01, id="P11"),
        pytest.param(b"\xff\xfb\x01\xff\xfb\x03#CMD:OK,VAL:1.0;\r\n", A, 1.0, id="P24"),
        pytest.param(b"#CMD:OK,VAL:1.0;\n", A, 1.0, id="P28"),
        pytest.param(b"#CMD:OK,VAL:1.0;\r", A, 1.0, id="CR alone"),
        pytest.param(b"#CMD:OK,VAL:1.0\r\n", A, 1.0, id="A without semicolon"),
        pytest.param(b"#CMD:OK,VAL:1.0;\r\n", B, 1.0, id="B without address"),
        pytest.param(b"#BD:00,CMD:OK,VAL:1.0;\r\n", A, 1.0, id="A with address"),
        pytest.param(b"#CMD:OK,VAL: 1.0 ;\r\n", A, 1.0, id="spaces"),
        pytest.param(b"#CMD:OK,VAL:+1.;\r\n", A, 1.0, id="sign and bare point"),
    ],
)
def test_a_number_is_read(data, dialect, number):
    assert reply(data, dialect).number() == number


@pytest.mark.parametrize("text", ["00001", "1", "1.0", "1.", "+1", "0x1", "0X0001"])
def test_P3_a_whole_number_is_read_in_every_form(text):
    assert reply(f"#CMD:OK,VAL:{text};\r\n".encode()).integer() == 1


@pytest.mark.parametrize("text", ["", "1.5", "0x", "1e3", "x1", "nan", "0xFFFFFFFFF", "-", "9" * 20])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(Garbled):
        reply(f"#CMD:OK,VAL:{text};\r\n".encode()).integer()


@pytest.mark.parametrize(
    "text",
    [pytest.param(text, id=f"P25 {text}") for text in ("nan", "inf", "1e3")]
    + [pytest.param("", id="P13"), pytest.param("+", id="P14")]
    + ["-", ".", "1,5", "1 2", "0x1", "--1", "1;2", "9" * 400, "1_000", "1.0 V", "12.3.4"],
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(Garbled):
        reply(f"#CMD:OK,VAL:{text};\r\n".encode()).number()


@pytest.mark.parametrize(
    ("data", "values"),
    [
        pytest.param(b"#CMD:OK,VAL:0001.0;0002.0;0003.0;0004.0;\r\n", (1.0, 2.0, 3.0, 4.0), id="P8"),
        pytest.param(b"#BD:00,CMD:OK,VAL:1.0;2.0;3.0;4.0\r\n", (1.0, 2.0, 3.0, 4.0), id="P9"),
    ],
)
def test_a_group_is_read(data, values):
    assert reply(data).numbers(4) == values


def test_words_and_whole_numbers_of_a_group_are_read():
    assert reply(b"#CMD:OK,VAL:+;-;+;+;\r\n").words(4) == ("+", "-", "+", "+")
    assert reply(b"#CMD:OK,VAL:00001;00128;00000;00065;\r\n").integers(4) == (1, 128, 0, 65)


@pytest.mark.parametrize("text", ["1.0;2.0;3.0;", "1;2;3;4;5;", "1;;3;4;", "1;2;3;;", "1;2;x;4;", ";;;;", ""])
def test_P10_a_group_with_wrong_number_of_values_gives_none_at_all(text):
    with pytest.raises(Garbled):
        reply(f"#CMD:OK,VAL:{text}\r\n".encode()).numbers(4)


def test_P6_success_without_value_is_success_only_when_no_value_was_asked_for():
    success = reply(b"#CMD:OK\r\n")
    assert success.text is None
    for read in (success.word, success.number, success.integer, lambda: success.words(4)):
        with pytest.raises(Garbled):
            read()


def test_P7_the_address_of_a_reply_is_reported():
    assert reply(b"#BD:09,CMD:OK\r\n", Dialect(Profile.B, 9)) == Reply(9, None)


@pytest.mark.parametrize("data", [b"#BD:01,CMD:OK,VAL:42\r\n", b"#BD:01,LOC:ERR\r\n"])
def test_P5_the_reply_of_another_board_is_no_answer(data):
    with pytest.raises(Garbled):
        reply(data, B)


def test_P12_P14_words_keep_colons_and_signs():
    assert reply(b"#CMD:OK,VAL:00:50:C2:00:00:01;\r\n").word() == "00:50:C2:00:00:01"
    assert reply(b"#CMD:OK,VAL:+;\r\n").word() == "+"
    assert reply(b"#CMD:OK,VAL:DT 5533, E;\r\n").word() == "DT 5533, E"


def test_P13_an_empty_word_is_refused():
    with pytest.raises(Garbled):
        reply(b"#CMD:OK,VAL:;\r\n").word()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        pytest.param(b"#LOC:ERR\r\n", "LOC", id="P15 A"),
        pytest.param(b"#BD:00,LOC:ERR\r\n", "LOC", id="P15 B"),
        pytest.param(b"#CMD:ERR\r\n", "CMD", id="P16"),
        pytest.param(b"#FOO:ERR\r\n", "FOO", id="P17"),
        pytest.param(b"#ERR:3;\r\n", "ERR:3", id="P18"),
        pytest.param(b"#VAL:ERR;\r\n", "VAL", id="semicolon"),
    ],
)
def test_a_refusal_tells_its_word(data, word):
    with pytest.raises(ErrorReply) as refusal:
        reply(data)
    assert refusal.value.word == word
    assert isinstance(refusal.value, Refused)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"CMD:OK,VAL:1.0;\r\n", id="P19"),
        b"#CMD:OKVAL:1.0;\r\n",
        b"#CMD:OK;VAL:1.0;\r\n",
        b"#CMD:OK,VAL:1.0;#CMD:OK,VAL:2.0;\r\n",
        b"#CMD:OK,VAL:1.0;$CMD:MON,PAR:BDNAME\r\n",
        b"#cmd:ok,VAL:1.0;\r\n",
        b"#CMD:OK,\r\n",
        b"#\r\n",
        b"#BD:00\r\n",
        b"#BD:,CMD:OK\r\n",
        b"#CMD:OK,VAL:1\x000;\r\n",
        b"#CMD:OK,VAL:1\xff0;\r\n",
        b"12345.0;\r\n",
    ],
)
def test_what_is_no_reply_is_refused(data):
    with pytest.raises(Garbled):
        reply(data)


def read_in_every_way(data: bytes) -> None:
    for line in lines(data + b"\r\n"):
        for read in (Reply.word, Reply.number, Reply.integer, lambda r: r.numbers(4), lambda r: r.integers(4)):
            with suppress(DeviceError):
                value = read(parse_reply(line, A))
                assert isinstance(value, str | tuple) or math.isfinite(value)


@given(st.binary(max_size=200))
def test_P26_no_bytes_raise_anything_but_a_device_error(data):
    read_in_every_way(data)


@given(st.text("#BDCMOKVAL:ERR,;.0123456789+-x \t$", max_size=40))
def test_no_text_made_of_the_protocol_itself_raises_anything_but_a_device_error(text):
    read_in_every_way(text.encode())
    read_in_every_way(f"#CMD:OK,VAL:{text}".encode())


def test_every_status_word_survives_the_round_trip():
    for word in range(1 << 16):
        status = ChannelStatus(reply(f"#CMD:OK,VAL:{word:05d};\r\n".encode()).integer())
        assert int(status) == word


def test_the_bits_have_the_names_and_the_order_of_the_manual():
    names = "ON UP DOWN OVC OVV UNV MAXV TRIP MAXPW TWARN OVT KILL INTLCK CALERR"
    assert [bit.name for bit in ChannelStatus] == names.split()
    assert [bit.value for bit in ChannelStatus] == [1 << n for n in range(14)]


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        (0, ChannelStatus(0)),
        (1, ChannelStatus.ON),
        (3, ChannelStatus.ON | ChannelStatus.UP),
        (4, ChannelStatus.DOWN),
        (5, ChannelStatus.ON | ChannelStatus.DOWN),
        (41, ChannelStatus.ON | ChannelStatus.OVC | ChannelStatus.UNV),
        (65, ChannelStatus.ON | ChannelStatus.MAXV),
        (128, ChannelStatus.TRIP),
    ],
)
def test_typical_words_are_decoded(word, meaning):
    assert ChannelStatus(word) == meaning
