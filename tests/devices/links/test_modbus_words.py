"""Numbers, times and floats as words of Modbus, and those that do not fit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.links import modbus_frames as words

word = st.integers(0, 0xFFFF)


@pytest.mark.parametrize(
    ("raw", "decimals", "number"),
    [(0x072A, 1, 183.4), (0xFF84, 1, -12.4), (0x00B7, 0, 183.0), (0x47A6, 2, 183.42), (0x01F4, 2, 5.0)],
)
def test_scaled_words(raw, decimals, number):
    assert words.number_from(raw, decimals) == number
    assert words.word_from(number, decimals) == raw


def test_a_float_is_rounded_as_the_front_panel_does():
    assert words.word_from(250.25, 1) == 2503
    assert words.signed(words.word_from(-250.25, 1)) == -2503


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 3276.8, -3276.8])
def test_what_does_not_fit_a_word_is_refused(number):
    with pytest.raises(ValueError, match="not"):
        words.word_from(number, 1)


@pytest.mark.parametrize("number", [math.nan, math.inf, 1e39])
def test_what_does_not_fit_a_float_is_refused(number):
    with pytest.raises(ValueError, match="not"):
        words.words_from_float(number)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 2147484.0])
def test_what_is_no_time_is_refused(seconds):
    with pytest.raises(ValueError, match="time"):
        words.words_from_seconds(seconds)


def test_floats_and_times_of_the_handbook():
    assert words.float_from(0x437A, 0x4000) == 250.25
    assert words.words_from_float(250.25) == (0x437A, 0x4000)
    assert words.seconds_from(0x0001, 0xD4C0) == 120.0
    assert words.words_from_seconds(120.0) == (0x0001, 0xD4C0)
    assert words.seconds_from(0xFFFF, 0xFFFF) == -0.001


def test_twins():
    assert (words.twin_of(1), words.twin_of(324), words.twin_of(12550)) == (0x8002, 0x8288, 0xE20C)
    for address in (-1, 0x4000):
        with pytest.raises(ValueError, match="twin"):
            words.twin_of(address)


@given(st.integers(-32767, 32767), st.integers(0, 3))
def test_every_word_survives_the_round_trip(number, decimals):
    raw = words.unsigned(number)
    assert words.word_from(words.number_from(raw, decimals), decimals) == raw


@given(word, word)
def test_every_float_survives_the_round_trip(high, low):
    number = words.float_from(high, low)
    if math.isfinite(number):
        assert words.words_from_float(number) == (high, low)


@given(st.integers(0, 0x7FFFFFFF))
def test_every_time_survives_the_round_trip(milliseconds):
    high, low = divmod(milliseconds, 0x10000)
    assert words.words_from_seconds(words.seconds_from(high, low)) == (high, low)
