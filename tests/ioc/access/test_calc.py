"""CALC expressions: EPICS base decides."""

from __future__ import annotations

import math
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.access.calc import LETTERS, compile_calc
from tests.conftest import rounds
from tests.ioc.access import libcom

NUMBERS = st.sampled_from(
    [0.0, 1.0, -1.0, 2.0, 0.5, 3.0, 7.0, 1e10, -5.0, 2147483648.0, math.nan, math.inf, -math.inf, 1e300]
)
OPERANDS = st.sampled_from(
    [*"ABCHLMTUabu", "VAL", "PI", "d2r", "R2D", "0", "1", "2.5", ".5", "1e3", "0x1F", "0xFFFFFFFF", "inf", "NaN", "12"]
)
PREFIXES = st.sampled_from(
    "- ! ~ NOT ABS acos ASIN ATAN CEIL COS cosh EXP FLOOR ISINF LN LOG LOGE NINT SIN SINH SQR SQRT TAN TANH".split()  # noqa: SIM905
)
OPERATORS = st.sampled_from(
    "|| | _OR_ _xor_ && & _AND_ << >> >>> != # < <= = == > >= + - * / % ** ^".replace("_", "\t").split(" ")
)


def _longer(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(inner, min_size=1, max_size=3).map(",".join)
    return st.one_of(
        st.builds("{}({})".format, PREFIXES, inner),
        st.builds("{} {}".format, PREFIXES, inner),
        st.builds("{}{}{}".format, inner, OPERATORS, inner),
        st.builds("{}?{}:{}".format, inner, inner, inner),
        st.builds("{}({})".format, st.sampled_from(["MAX", "min", "FINITE", "isnan"]), several),
        st.builds("{}({},{})".format, st.sampled_from(["ATAN2", "FMOD"]), inner, inner),
        inner.map("({})".format),
    )


EXPRESSIONS = st.recursive(OPERANDS, _longer, max_leaves=6)


@settings(max_examples=rounds(300))
@given(EXPRESSIONS, st.lists(NUMBERS, min_size=len(LETTERS), max_size=len(LETTERS)), NUMBERS)
def test_the_result_is_that_of_base(text: str, values: list[float], before: float) -> None:
    expected = libcom.calculate(text, values, before)
    assert expected is not None, text
    found = compile_calc(text).evaluate(values, before)
    assert math.isnan(found) == math.isnan(expected)
    assert math.isnan(found) or math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-300)


BROKEN = ["", " ", "A+", "*A", "(A", "A)", "A B", "MAX()", "A?B", "A:B", "X", "@", "1.2.3", "A:=1", "A;B"]


@pytest.mark.parametrize("text", BROKEN)
def test_what_base_does_not_understand_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"not understood at|an operand is missing|an assignment is not allowed"):
        compile_calc(text)
    if (
        ":=" not in text and text != "ATAN2(A)"
    ):  # base understands an assignment, not allowed here; the other it misreads
        assert libcom.calculate(text, [0.0] * len(LETTERS), 0.0) is None


@given(st.lists(st.one_of(OPERANDS, PREFIXES, OPERATORS, st.sampled_from("()?:,")), max_size=6).map(" ".join))
def test_no_text_ends_in_anything_but_a_result_or_a_sentence(text: str) -> None:
    try:
        calc = compile_calc(text)
    except ValueError:
        return
    assert isinstance(calc.evaluate([1.0] * len(LETTERS), 0.0), float)
    assert libcom.calculate(text, [1.0] * len(LETTERS), 0.0) is not None, text


def test_the_inputs_are_the_letters_that_are_used() -> None:
    used = chain.from_iterable(compile_calc(text).inputs for text in ("A+u", "MAX(b,1)", "VAL+PI"))
    assert set(used) == {0, 1, 20}
