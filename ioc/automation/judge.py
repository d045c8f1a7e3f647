"""Whether a condition holds, by inputs of which any may be unknown; and if not, which of them is why."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ioc.clock import Clock
from ioc.inputs import Input, Inputs, InputState
from ioc.records import Value
from ioc.site.conditions import Change, Comparison, Condition, Joined, leaves, plain_unit

_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a condition: ``holds`` is None when an input cannot be relied on; ``cause`` says why not.

    ``cause`` names input, value and limit. It is empty when the condition holds.
    """

    holds: bool | None
    cause: str = ""


class Judge:
    """Judges one condition; ``on_update`` is called when one of its inputs has changed."""

    def __init__(self, condition: Condition, inputs: Inputs, clock: Clock, on_update: Callable[[], object]) -> None:
        self._condition = condition
        self._leaves: dict[Comparison | Change, _Leaf] = {}
        for leaf in leaves(condition):
            unit = isinstance(leaf, Comparison) and leaf.unit != ""
            kind = _ComparisonLeaf if isinstance(leaf, Comparison) else _ChangeLeaf
            self._leaves[leaf] = kind(leaf, inputs.add(leaf.pv, on_update, unit), clock)  # type: ignore[arg-type]

    @property
    def known(self) -> bool:
        """Whether every input can be relied on, and nothing needs more time to be true."""
        return not any(leaf.pending or leaf.input.state().problem for leaf in self._leaves.values())

    @property
    def timed(self) -> bool:
        """Whether it can stop to hold by nothing but time."""
        return any(isinstance(leaf, Change) for leaf in self._leaves)

    def verdict(self) -> Verdict:
        """Judge by the inputs of now: an unknown input makes unknown what depends on it."""
        found = {leaf: one.verdict() for leaf, one in self._leaves.items()}  # all: each keeps the time of its changes
        return _judged(self._condition, found)


def _judged(condition: Condition, found: Mapping[Comparison | Change, Verdict]) -> Verdict:
    if not isinstance(condition, Joined):
        return found[condition]
    parts = [_judged(part, found) for part in condition.parts]
    if condition.word == "not":
        part = parts[0]
        if part.holds is None:
            return part
        return Verdict(not part.holds, "" if not part.holds else f"not allowed: {_words(condition, found)}")
    if condition.word == "and":
        bad = [part for part in parts if part.holds is False] or [part for part in parts if part.holds is None]
        return bad[0] if bad else Verdict(True)
    if any(part.holds for part in parts):
        return Verdict(True)
    unknown = [part for part in parts if part.holds is None]
    return Verdict(None if unknown else False, (unknown or parts)[0].cause)


def _words(condition: Condition, found: Mapping[Comparison | Change, Verdict]) -> str:
    """Name what holds in a condition that must not hold."""
    true = [leaf for leaf in leaves(condition) if found[leaf].holds]
    leaf = true[0] if true else next(leaves(condition))
    return f"{leaf.pv} {leaf.limit}" if isinstance(leaf, Comparison) else f"{leaf.pv} changes"


class _Leaf:
    """One look at an input; ``pending``: it may become true by nothing but time, or has not been seen to change yet."""

    input: Input
    pending = False

    def verdict(self) -> Verdict:
        raise NotImplementedError


class _ComparisonLeaf(_Leaf):
    def __init__(self, leaf: Comparison, source: Input, clock: Clock) -> None:
        self.input = source
        self._leaf = leaf
        self._clock = clock
        self._true_since: float | None = None
        self._was_false = False

    def verdict(self) -> Verdict:
        leaf, state = self._leaf, self.input.state()
        self.pending = False
        problem = state.problem or self._unfit(state)
        if problem:
            self._true_since = None
            return Verdict(None, f"{self.input.name} is {problem}")
        if not self._true(state):
            self._true_since, self._was_false = None, True
            return Verdict(False, f"{self.input.name} is {self._text(state)}, allowed: {leaf.limit}")
        now = self._clock.monotonic()
        if self._true_since is None:
            self._true_since = now
        if now - self._true_since < leaf.hold:
            self.pending = True
            lasted = f"for {now - self._true_since:.0f} s"
            return Verdict(False, f"{self.input.name} is {self._text(state)} {lasted}, allowed: {leaf.limit}")
        self._was_false = False
        return Verdict(True)

    def _unfit(self, state: InputState) -> str:
        """Return why its value cannot be compared, empty when it can."""
        leaf, value = self._leaf, state.value
        if leaf.unit:
            unit = self.input.unit()
            if unit is None:
                return "without a known unit"
            if plain_unit(unit) != leaf.unit:
                return f"in {unit or 'no unit'}, not in {leaf.unit}"
        if isinstance(leaf.value, str):
            return "" if state.choices or isinstance(value, str) else "a number, compare it with one"
        if isinstance(value, int | float):
            return "" if value == value else "not a number"  # noqa: PLR0124  only NaN differs from itself
        return "not a number"

    def _true(self, state: InputState) -> bool:
        leaf, value = self._leaf, state.value
        if isinstance(leaf.value, str):
            return (_state_text(state) == leaf.value) == (leaf.operator == "==")
        assert isinstance(value, int | float)
        limit = leaf.value
        if self._was_false and leaf.operator in ("<", "<="):
            limit -= leaf.hysteresis
        elif self._was_false and leaf.operator in (">", ">="):
            limit += leaf.hysteresis
        return _OPERATORS[leaf.operator](value, limit)

    def _text(self, state: InputState) -> str:
        if state.choices:
            return _state_text(state)
        value = f"{state.value:.6g}" if isinstance(state.value, float) else str(state.value)
        return f"{value} {self._leaf.unit or self.input.unit() or ''}".rstrip()


class _ChangeLeaf(_Leaf):
    def __init__(self, leaf: Change, source: Input, clock: Clock) -> None:
        self.input = source
        self._leaf = leaf
        self._clock = clock
        self._value: Value | None = None
        self._changed: float | None = None

    def verdict(self) -> Verdict:
        state, now = self.input.state(), self._clock.monotonic()
        if state.problem:
            self._value, self._changed, self.pending = None, None, False
            return Verdict(None, f"{self.input.name} is {state.problem}")
        if self._value is not None and state.value != self._value:
            self._changed = now
        self._value, self.pending = state.value, self._changed is None
        if self._changed is not None and now - self._changed <= self._leaf.within:
            return Verdict(True)
        lasted = "yet" if self._changed is None else f"for {now - self._changed:.0f} s"
        within = f"changes within {self._leaf.within:g} s"
        return Verdict(False, f"{self.input.name} has not changed {lasted}, allowed: {within}")


def _state_text(state: InputState) -> str:
    value = state.value
    if isinstance(value, int) and 0 <= value < len(state.choices):
        return state.choices[value]
    return str(value)
