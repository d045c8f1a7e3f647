"""One bad answer is left out, a second is INVALID, several in a row are a lost device."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import Garbled
from devices.model import Cause, Level, Reading
from devices.rules.settings import LOST_AFTER, BadAnswers, instead


def test_the_first_is_left_out_and_the_second_is_invalid():
    assert instead(1, 7.0) is None
    assert instead(2, 7.0) == Reading(None, 7.0, Level.INVALID, Cause.READ)
    assert instead(9, 7.0, 3) == Reading(3, 7.0, Level.INVALID, Cause.READ)


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.booleans()), max_size=30))
def test_each_item_is_counted_by_itself_until_it_is_good(events: list[tuple[str, bool]]):
    answers, counts = BadAnswers(), dict.fromkeys("ABC", 0)
    for item, is_good in events:
        counts[item] = 0 if is_good else counts[item] + 1
        (answers.good if is_good else answers.bad)(item)
        assert {one: answers.missed(one) for one in counts} == counts
    answers.reset()
    assert not any(map(answers.missed, counts))


@given(st.lists(st.booleans(), max_size=30))
def test_so_many_exchanges_in_a_row_without_anything_are_a_lost_device(events: list[bool]):
    answers, in_a_row = BadAnswers(), 0
    for understood in events:
        in_a_row = 0 if understood else in_a_row + 1
        if in_a_row >= LOST_AFTER:
            with pytest.raises(Garbled, match=f"{in_a_row} unreadable answers in a row, rubbish"):
                answers.exchanged(understood, "rubbish")
        else:
            answers.exchanged(understood, "rubbish")
