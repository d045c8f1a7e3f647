"""How the values of the parameters are written: numbers, words, texts."""

from __future__ import annotations

from dataclasses import dataclass

from devices.caen.catalogue import BOARD, CHANNEL
from devices.caen.protocol import HIGHEST_STATUS, Reply
from devices.errors import Garbled
from devices.model import Kind

Plain = float | int | str


@dataclass(frozen=True, slots=True)
class _Format:
    kind: Kind
    words: tuple[str, ...] = ()


_FORMATS = {row.wire: _Format(row.kind, row.words) for row in (*CHANNEL.values(), *BOARD.values()) if row.wire}


def format_of(parameter: str) -> _Format:
    """Return how the value of a parameter is written; what is not published is a limit, resolution or count."""
    if parameter in _FORMATS:
        return _FORMATS[parameter]
    counts = "DEC" in parameter
    return _Format(Kind.INT if counts else Kind.FLOAT)


def values_of(parameter: str, reply: Reply, count: int) -> tuple[Plain, ...]:
    """Read the values of an answer in the format of its parameter. Raises Garbled."""
    wanted = format_of(parameter)
    if wanted.kind is Kind.TEXT:
        return (reply.word(),) if count == 1 else reply.words(count)
    if wanted.kind is Kind.INT:
        numbers = (reply.integer(),) if count == 1 else reply.integers(count)
        if not all(0 <= number <= HIGHEST_STATUS for number in numbers):
            raise Garbled(f"{parameter}: {numbers} are no status words or counts")
        return numbers
    if wanted.kind is Kind.FLOAT:
        return (reply.number(),) if count == 1 else reply.numbers(count)
    words = (reply.word(),) if count == 1 else reply.words(count)
    if unknown := [word for word in words if word not in wanted.words]:
        raise Garbled(f"{parameter}: unknown word {unknown[0]!r}")
    return tuple(wanted.words.index(word) for word in words)
