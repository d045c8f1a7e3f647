"""One bad answer is left out, a second is INVALID, several in a row are a lost device."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import Garbled
from devices.model import Cause, Level, Reading
from devices.rules.answers import BadAnswers

GOOD = Reading(1.0, 5.0)
ERROR = Garbled("rubbish")


def test_the_first_is_left_out_and_the_second_is_invalid():
    answers = BadAnswers()
    assert answers.judged("A", GOOD, 7.0) is GOOD
    answers.bad("A", ERROR)
    assert answers.judged("A", GOOD, 7.0) is None
    answers.bad("A", ERROR)
    assert answers.judged("A", GOOD, 7.0) == Reading(None, 7.0, Level.INVALID, Cause.READ)
    assert answers.judged("B", GOOD, 7.0) is GOOD
    answers.good("A")
    assert answers.judged("A", GOOD, 7.0) is GOOD


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.booleans()), max_size=30), st.integers(1, 5))
def test_so_many_in_a_row_are_a_lost_device_whatever_they_are_about(events: list[tuple[str, bool]], lost_after: int):
    answers, in_a_row = BadAnswers(lost_after), 0
    for item, is_good in events:
        if is_good:
            in_a_row = 0
            answers.good(item)
            assert answers.missed(item) == 0
            continue
        in_a_row += 1
        if in_a_row == lost_after:
            in_a_row = 0
            with pytest.raises(Garbled, match=f"{lost_after} answers in a row .* the last one: rubbish"):
                answers.bad(item, ERROR)
        else:
            answers.bad(item, ERROR)


def test_nothing_is_lost_when_that_is_not_wanted():
    answers = BadAnswers(0)
    for _ in range(20):
        answers.bad("A", ERROR)
    assert answers.missed("A") == 20
    answers.reset()
    assert answers.missed("A") == 0
