"""CALC expressions as EPICS base evaluates them (postfix.c and calcPerform.c), without assignments.

The grammar is in ``calc.lark``. Arithmetic is that of C: a division by zero is an infinity, what has no result is NaN,
and bits are those of a 32-bit integer.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput, UnexpectedToken

LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTU"
"""The inputs that an expression may name."""

Evaluate = Callable[[Sequence[float], float], float]
"""Returns the result for the values of the inputs and the result before."""


@dataclass(frozen=True, slots=True)
class Calc:
    """One expression; ``inputs`` are the positions of the letters in it."""

    text: str
    inputs: frozenset[int]
    evaluate: Evaluate


def compile_calc(text: str) -> Calc:
    """Read an expression. Raises ValueError saying what is wrong with it."""
    if ":=" in text or ";" in text:
        raise ValueError("an assignment is not allowed")
    try:
        tree = _grammar().parse(text)
    except UnexpectedInput as error:
        if isinstance(error, UnexpectedToken) and error.token.type == "$END":
            raise ValueError("an operand is missing") from None
        raise ValueError(f"not understood at {text[error.pos_in_stream :]!r}") from None
    letters = {
        LETTERS.index(str(token).upper())
        for token in tree.scan_values(lambda one: isinstance(one, Token) and one.type == "LETTER")
    }
    return Calc(text, frozenset(letters), _Compiler().transform(tree))


@cache
def _grammar() -> Lark:
    return Lark.open("calc.lark", rel_to=__file__, parser="lalr", maybe_placeholders=False)


class _Compiler(Transformer[Token, Evaluate]):
    """Turns a parse tree into one function, from the operands up."""

    def letter(self, nodes: list[Any]) -> Evaluate:
        place = LETTERS.index(nodes[0].upper())
        return lambda values, before: values[place]

    def word(self, nodes: list[Any]) -> Evaluate:
        name = nodes[0].lower()
        if name == "val":
            return lambda values, before: before
        if name == "rndm":
            return lambda values, before: random.random()
        number = _CONSTANTS[name] if name in _CONSTANTS else float(name)
        return lambda values, before: number

    def integer(self, nodes: list[Any]) -> Evaluate:
        number = float(_signed(int(nodes[0], 16)))
        return lambda values, before: number

    def number(self, nodes: list[Any]) -> Evaluate:
        number = float(nodes[0])
        return lambda values, before: number

    def unary(self, nodes: list[Any]) -> Evaluate:
        function, inner = _UNARY[nodes[0].lower()], nodes[1]
        return lambda values, before: function(inner(values, before))

    def variadic(self, nodes: list[Any]) -> Evaluate:
        function, inner = _VARIADIC[nodes[0].lower()], nodes[1:]
        return lambda values, before: function([one(values, before) for one in inner])

    def pair(self, nodes: list[Any]) -> Evaluate:
        return self.binary([nodes[1], nodes[0], nodes[2]])

    def binary(self, nodes: list[Any]) -> Evaluate:
        left, function, right = nodes[0], _BINARY[nodes[1].lower()], nodes[2]
        return lambda values, before: function(left(values, before), right(values, before))

    either = both = relation = sum = product = power = binary

    def conditional(self, nodes: list[Any]) -> Evaluate:
        condition, yes, no = nodes
        return lambda values, before: (yes if condition(values, before) != 0 else no)(values, before)


def _signed(word: int) -> int:
    """Return the lowest 32 bits of an integer as a signed one."""
    return (word + 2**31) % 2**32 - 2**31


def _bits(value: float) -> int:
    """Return a number as a signed 32-bit integer, a positive one by way of an unsigned integer."""
    if value < 0:
        return _truncated(value)
    return _signed(int(value)) if value < 2**63 else 0


def _truncated(value: float) -> int:
    """Return a number as C casts it to a 32-bit integer; what does not fit is the lowest one, as on x86."""
    return int(value) if math.isfinite(value) and -(2**31) <= int(value) < 2**31 else -(2**31)


def _defined(function: Callable[..., float], pole: float = math.nan) -> Callable[..., float]:
    """Return a function with results where Python raises: ``pole`` for a domain error, infinity for an overflow."""

    def result(*arguments: float) -> float:
        try:
            return float(function(*arguments))
        except OverflowError:
            return math.inf
        except ValueError:
            return pole

    return result


def _divide(above: float, below: float) -> float:
    if below:
        return above / below
    if above == 0 or math.isnan(above) or math.isnan(below):
        return math.nan
    return math.copysign(math.inf, above) * math.copysign(1.0, below)


def _modulo(value: float, divisor: float) -> float:
    number, by = _truncated(value), _truncated(divisor)
    return math.fmod(number, by) if by else math.nan


def _power(base: float, exponent: float) -> float:
    odd = exponent % 2 == 1
    if base == 0 and exponent < 0:
        return math.copysign(math.inf, base) if odd else math.inf
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and odd else math.inf
    except ValueError:
        return math.nan


def _logarithm(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda value: -math.inf if value == 0 else _defined(function)(value)


def _whole(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda value: float(function(value)) if math.isfinite(value) else value


def _extreme(function: Callable[[list[float]], float]) -> Callable[[list[float]], float]:
    return lambda values: math.nan if any(map(math.isnan, values)) else function(values)


_CONSTANTS: Final = {"pi": math.pi, "d2r": math.pi / 180, "r2d": 180 / math.pi}
_UNARY: Final[dict[str, Callable[[float], float]]] = {
    **{
        name: _defined(getattr(math, name))
        for name in ("acos", "asin", "atan", "cos", "cosh", "exp", "sin", "tan", "tanh")
    },
    "-": operator.neg,
    "!": lambda value: float(not value),
    "~": lambda value: float(~_bits(value)),
    "not": lambda value: float(~_bits(value)),
    "abs": abs,
    "ceil": _whole(math.ceil),
    "floor": _whole(math.floor),
    "isinf": lambda value: math.copysign(1.0, value) if math.isinf(value) else 0.0,
    "ln": _logarithm(math.log),
    "log": _logarithm(math.log10),
    "loge": _logarithm(math.log),
    "nint": lambda value: float(_truncated(value + 0.5 if value >= 0 else value - 0.5)),
    "sinh": lambda value: math.copysign(_defined(math.sinh)(abs(value)), value),
    "sqr": _defined(math.sqrt),
    "sqrt": _defined(math.sqrt),
}
_VARIADIC: Final[dict[str, Callable[[list[float]], float]]] = {
    "max": _extreme(max),
    "min": _extreme(min),
    "finite": lambda values: float(all(map(math.isfinite, values))),
    "isnan": lambda values: float(any(map(math.isnan, values))),
}
_BINARY: Final[dict[str, Callable[[float, float], float]]] = {
    "||": lambda a, b: float(bool(a) or bool(b)),
    "|": lambda a, b: float(_bits(a) | _bits(b)),
    "or": lambda a, b: float(_bits(a) | _bits(b)),
    "xor": lambda a, b: float(_bits(a) ^ _bits(b)),
    "&&": lambda a, b: float(bool(a) and bool(b)),
    "&": lambda a, b: float(_bits(a) & _bits(b)),
    "and": lambda a, b: float(_bits(a) & _bits(b)),
    "<<": lambda a, b: float(_signed(_bits(a) << (_bits(b) & 31))),
    ">>": lambda a, b: float(_bits(a) >> (_bits(b) & 31)),
    ">>>": lambda a, b: float((_bits(a) % 2**32) >> (_bits(b) & 31)),
    "!=": lambda a, b: float(a != b),
    "#": lambda a, b: float(a != b),
    "<": lambda a, b: float(a < b),
    "<=": lambda a, b: float(a <= b),
    "=": lambda a, b: float(a == b),
    "==": lambda a, b: float(a == b),
    ">": lambda a, b: float(a > b),
    ">=": lambda a, b: float(a >= b),
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": _modulo,
    "**": _power,
    "^": _power,
    "atan2": lambda a, b: math.atan2(b, a),  # the arguments of base are the other way round than those of C
    "fmod": _defined(math.fmod),
}
