"""Conditions: their text, and their truth by inputs of which any may be unknown."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.automation.judge import Judge, Verdict
from ioc.inputs import Inputs
from ioc.records import RecordSet, alarm_status
from ioc.site.conditions import Change, Comparison, Joined, leaves, parse_condition
from tests.ioc.fakes import FakeClock, definition

A = definition("LAB:D:A", "ai", "D A", EGU="C")
B = definition("LAB:D:B", "ai", "D B", EGU="uA")
VALVE = definition("LAB:D:VALVE", "bi", "D VALVE", ZNAM="SHUT", ONAM="OPEN")
TEXT = definition("LAB:D:TEXT", "stringin", "D TEXT")


class Bench:
    def __init__(self, text: str) -> None:
        self.clock = FakeClock()
        self.records = RecordSet.build([A, B, VALVE, TEXT], time=self.clock.time)
        inputs = Inputs(self.records, self.clock, "LAB", env={})
        self.judge = Judge(parse_condition(text), inputs, self.clock, lambda: None)

    def post(self, name: str, value: object) -> None:
        """Post a value; None makes it INVALID."""
        record = self.records[f"LAB:D:{name}"]
        if value is None:
            record.lose(alarm_status("TIMEOUT"))
        else:
            record.post(value, self.clock.time())  # type: ignore[arg-type]

    def verdict(self, **values: object) -> Verdict:
        for name, value in values.items():
            self.post(name, value)
        return self.judge.verdict()


@pytest.mark.parametrize(
    ("text", "values", "holds", "cause"),
    [
        ("D:A < 80 C", {"A": 79.0}, True, ""),
        ("D:A < 80 °C", {"A": 80.0}, False, "LAB:D:A is 80 C, allowed: < 80 C"),
        ("D:A < 80", {}, None, "LAB:D:A is not read yet"),
        ("D:A < 80", {"A": math.nan}, None, "LAB:D:A is not read yet"),
        ("D:A < 80 K", {"A": 5.0}, None, "LAB:D:A is in C, not in K"),
        ("D:B >= 1 µA", {"B": 1.0}, True, ""),
        ("D:A < 80 and D:B > 1", {"A": 90.0, "B": 0.0}, False, "LAB:D:A is 90 C, allowed: < 80"),
        ("D:A < 80 or D:B > 1", {"A": 90.0, "B": 2.0}, True, ""),
        ("D:A < 80 or D:B > 1", {"A": 70.0}, True, ""),
        ("D:A < 80 or D:B > 1", {"A": 90.0}, None, "LAB:D:B is not read yet"),
        ("not D:A < 80", {}, None, "LAB:D:A is not read yet"),
        ("not D:A < 80", {"A": 90.0}, True, ""),
        ("not (D:A < 80 and D:B > 1)", {"A": 70.0, "B": 2.0}, False, "not allowed: D:A < 80"),
        ("D:VALVE == OPEN", {"VALVE": 1}, True, ""),
        ("D:VALVE == OPEN", {"VALVE": 0}, False, "LAB:D:VALVE is SHUT, allowed: == OPEN"),
        ("D:VALVE != 'OPEN'", {"VALVE": 0}, True, ""),
        ("D:VALVE == 1", {"VALVE": 1}, True, ""),
        ("D:TEXT == READY", {"TEXT": "READY"}, True, ""),
        ("D:TEXT == 1", {"TEXT": "READY"}, None, "LAB:D:TEXT is not a number"),
        ("D:A == HOT", {"A": 1.0}, None, "LAB:D:A is a number, compare it with one"),
        ("GAS:FLOW > 5 l/h", {}, None, "GAS:FLOW is not connected"),
    ],
)  # fmt: skip
def test_a_condition_is_judged_and_the_first_cause_is_named(
    text: str, values: dict[str, object], holds: bool | None, cause: str
) -> None:
    assert Bench(text).verdict(**values) == Verdict(holds, cause)


async def test_a_heartbeat_counts_from_its_first_change_and_again_after_a_loss() -> None:
    bench = Bench("D:A changes within 5 s")
    assert bench.verdict(A=1.0).holds is False
    assert bench.verdict(A=2.0).holds is True
    await bench.clock.advance(5.0)
    assert bench.verdict(A=2.0).holds is True
    await bench.clock.advance(1.0)
    assert bench.verdict(A=2.0).cause == "LAB:D:A has not changed for 6 s, allowed: changes within 5 s"
    bench.post("A", None)
    assert bench.verdict().holds is None
    assert bench.verdict(A=2.0).holds is False
    assert bench.verdict(A=3.0).holds is True


def test_a_loss_does_not_ask_for_the_hysteresis() -> None:
    bench = Bench("D:A < 80 hysteresis 5")
    assert bench.verdict(A=79.0).holds is True
    assert bench.verdict(A=None).holds is None
    assert bench.verdict(A=79.0).holds is True
    assert bench.verdict(A=80.0).holds is False
    assert bench.verdict(A=79.0).holds is False
    assert bench.verdict(A=74.0).holds is True


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "column 1: found its end, allowed: conditions like"),
        ("D:A <", "column 6: found its end"),
        ("D:A < 5 and", "column 12: found its end"),
        ("A > 5", "column 1: found A"),
        ("D:A = 5", "column 5: found ="),
        ("D:A < 5)", "column 8: found )"),
        ("D:A < OPEN", "found D:A < OPEN, allowed: == or != with the text of a state"),
        ("D:A < 5 hysteresis -1", "found hysteresis -1, allowed: 0 or more"),
        ("not (D:B > 2 or D:A > 80 hysteresis 2)", "found hysteresis behind not for D:A"),
        ("D:A < 5 for -1 s", "found a negative time after for"),
        ("D:A changes within 0 s", "allowed: above 0"),
        ("__import__('os').system('x')", "column 1: found __import__"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="found") as refused:
        parse_condition(text)
    assert reason in str(refused.value)


def test_units_times_and_states_are_understood() -> None:
    text = '(D:A < 80.5 °C hysteresis 2 for 2 min or not D:B changes within 500 ms) and D:VALVE == "HALF OPEN"'
    tree = parse_condition(text)
    assert list(leaves(tree)) == [
        Comparison("D:A", "<", 80.5, "C", 2.0, 120.0),
        Change("D:B", 0.5),
        Comparison("D:VALVE", "==", "HALF OPEN"),
    ]


VALUES = st.none() | st.floats(0.0, 10.0)
TREES: st.SearchStrategy[str] = st.recursive(
    st.sampled_from(["D:A < 5", "D:B > 5", "D:A >= 2"]),
    lambda inner: (
        st.builds("({} and {})".format, inner, inner)
        | st.builds("({} or {})".format, inner, inner)
        | st.builds("not ({})".format, inner)
    ),
    max_leaves=6,
)


@given(TREES, VALUES, VALUES)
def test_it_holds_only_if_it_holds_for_whatever_an_unknown_input_may_be(
    text: str, a: float | None, b: float | None
) -> None:
    bench = Bench(text)
    bench.post("A", 0.0)
    bench.post("B", 0.0)
    verdict = bench.verdict(A=a, B=b)
    assert (verdict.cause == "") == (verdict.holds is True)
    python = text.replace("D:A", "A").replace("D:B", "B")
    truth: Callable[[float, float], bool] = lambda one, other: bool(eval(python, {"A": one, "B": other}))  # noqa: E731
    possible = [truth(one, other) for one in ([a] if a is not None else [0.0, 3.0, 9.0])
                for other in ([b] if b is not None else [0.0, 9.0])]  # fmt: skip
    if verdict.holds is None:
        assert a is None or b is None
    else:
        assert set(possible) == {verdict.holds}


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        tree = parse_condition(text)
    except ValueError:
        return
    assert list(leaves(tree))
    assert not isinstance(tree, Joined) or tree.parts
