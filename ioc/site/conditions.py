"""Conditions over PVs, from their text to a tree: what an interlock of the site file is about.

The grammar is in ``conditions.lark``. A condition looks at values only: there is nothing in it to call or to assign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_SAME_UNITS: Final = str.maketrans({"°": "", "µ": "u"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """``pv operator value``: true when it has been so for ``hold`` seconds.

    ``value`` is a number, or the text of a state; ``unit`` is empty when none is given. Once false, a number has to be
    on the right side by ``hysteresis``.
    """

    pv: str
    operator: str
    value: float | str
    unit: str = ""
    hysteresis: float = 0.0
    hold: float = 0.0

    @property
    def limit(self) -> str:
        """What is asked for, in words: ``< 80 C``."""
        value = f"{self.value:g}" if isinstance(self.value, float) else self.value
        return f"{self.operator} {value} {self.unit}".rstrip() + (f" for {self.hold:g} s" if self.hold else "")


@dataclass(frozen=True, slots=True)
class Change:
    """``pv changes within ...``: true when its value has changed in the last ``within`` seconds, like a heartbeat."""

    pv: str
    within: float


@dataclass(frozen=True, slots=True)
class Joined:
    """Conditions joined by a ``word``: ``and``, ``or``, or ``not`` in front of a single one."""

    word: str
    parts: tuple[Condition, ...]


Condition = Comparison | Change | Joined


def leaves(condition: Condition) -> Iterator[Comparison | Change]:
    """Yield what looks at a PV, from left to right."""
    if isinstance(condition, Joined):
        for part in condition.parts:
            yield from leaves(part)
    else:
        yield condition


def plain_unit(unit: str) -> str:
    """Return a unit as EGU has it: in ASCII, C for °C."""
    return unit.translate(_SAME_UNITS)


def parse_condition(text: str) -> Condition:
    """Return the tree of a condition. Raises ValueError with the place and what is possible there."""
    try:
        tree = _grammar().parse(text)
        condition: Condition = _Maker().transform(tree)
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        at = len(text) if ended or error.pos_in_stream is None else error.pos_in_stream
        found = text[at:].split(maxsplit=1)[0] if text[at:].strip() else "its end"
        where = f"column {at + 1}: found {found}"
        raise ValueError(f'{where}, allowed: conditions like "FURN1:TEMP < 80 C and GAS:FLOW > 5 for 10 s"') from error
    except VisitError as error:
        raise ValueError(str(error.orig_exc)) from error
    return condition


@cache
def _grammar() -> Lark:
    return Lark.open("conditions.lark", rel_to=__file__, start="condition", parser="lalr", lexer="contextual")


class _Maker(Transformer[Token, Any]):
    """Makes the tree."""

    def duration(self, found: list[Any]) -> float:
        return float(found[0]) * _SECONDS[str(found[1])]

    def hysteresis(self, found: list[Any]) -> tuple[str, float]:
        if float(found[0]) < 0:
            raise ValueError(f"found hysteresis {found[0]}, allowed: 0 or more")
        return "hysteresis", float(found[0])

    def hold(self, found: list[Any]) -> tuple[str, float]:
        if found[0] < 0:
            raise ValueError("found a negative time after for, allowed: 0 or more")
        return "hold", found[0]

    def comparison(self, found: list[Any]) -> Comparison:
        pv, operator, value, *rest = found
        kept: dict[str, float] = dict(part for part in rest if isinstance(part, tuple))
        unit = next((plain_unit(str(part)) for part in rest if isinstance(part, Token)), "")
        if value.type == "NUMBER":
            return Comparison(str(pv), str(operator), float(value), unit, **kept)
        if operator not in ("==", "!="):
            raise ValueError(f"found {pv} {operator} {value}, allowed: == or != with the text of a state")
        return Comparison(str(pv), str(operator), str(value).strip("\"'"), unit, **kept)

    def change(self, found: list[Any]) -> Change:
        if found[1] <= 0:
            raise ValueError(f"found {found[0]} changes within {found[1]:g} s, allowed: above 0")
        return Change(str(found[0]), found[1])

    def negation(self, found: list[Any]) -> Joined:
        for leaf in leaves(found[0]):
            if isinstance(leaf, Comparison) and leaf.hysteresis:  # it would put off when the negation fails
                text = f"found hysteresis behind not for {leaf.pv}, allowed: the comparison turned round"
                raise ValueError(text)
        return Joined("not", (found[0],))

    def conjunction(self, found: list[Any]) -> Condition:
        return found[0] if len(found) == 1 else Joined("and", tuple(found))

    def disjunction(self, found: list[Any]) -> Condition:
        return found[0] if len(found) == 1 else Joined("or", tuple(found))


def renamed(condition: Condition, name: Callable[[str], str]) -> Condition:
    """Return the condition with the names of its PVs changed."""
    if isinstance(condition, Joined):
        return replace(condition, parts=tuple(renamed(part, name) for part in condition.parts))
    return replace(condition, pv=name(condition.pv))
