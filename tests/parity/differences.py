"""What may differ between labioc and a C IOC, each with its reason; in prose in docs/reference/differences.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class InTranscript:
    """A difference in what a scenario shows: ``pattern`` is blanked in the lines of both servers."""

    scenarios: str
    pattern: str
    reason: str


@dataclass(frozen=True)
class InField:
    """A difference in a field: ``keys`` matches ``RTYP.FIELD aspect``."""

    keys: str
    reason: str


TRANSCRIPTS: tuple[InTranscript, ...] = ()

FIELDS: tuple[InField, ...] = ()


def tolerated(scenario: str, lines: list[str]) -> list[str]:
    """The lines with everything blanked that may differ."""
    for difference in TRANSCRIPTS:
        if fnmatchcase(scenario, difference.scenarios):
            lines = [re.sub(difference.pattern, "(differs)", line) for line in lines]
    return lines


def tolerated_field(key: str) -> bool:
    """Whether a field may differ in this aspect."""
    return any(fnmatchcase(key, difference.keys) for difference in FIELDS)
