"""The text of a site file: read, parsed, and the line of each key, so that a mistake can be shown where it is."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of the file: ``("device", 0, "limits", "VSET")``."""

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"\s*(?P<open>\[\[?)\s*(?P<key>{_KEY})\s*\]")
_ENTRY = re.compile(rf"\s*(?P<key>{_KEY})\s*=\s*(?P<value>.*)")
_QUOTED = re.compile(r'"""|\'\'\'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*')
_TOML_PLACE = re.compile(r"^(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.S)


class SourceError(Exception):
    """The file cannot be read or is not TOML; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its contents, and where each key stands."""

    path: str
    data: Mapping[str, Any]
    text: str

    def where(self, key: KeyPath) -> tuple[int, str]:
        """Return number and text of the line of a key, or of the nearest one around it that has a line."""
        lines = key_lines(self.text)
        while key and key not in lines:
            key = key[:-1]
        number = lines.get(key, 1)
        return number, _line(self.text, number)


def read_source(path: Path | str) -> Source:
    """Read a TOML file, with or without a byte order mark. Raises SourceError."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = raw.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{path}:{number}: byte {error.start} of the file is not UTF-8") from error
    try:
        return Source(str(path), tomllib.loads(text), text)
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"{path}:{_toml_error(str(error), text)}") from error


def _toml_error(message: str, text: str) -> str:
    """Say line, what is wrong there, and the text of the line."""
    match = _TOML_PLACE.match(message)
    if match is None:
        return f"1: {message}"
    if match["line"]:
        number, column = int(match["line"]), int(match["column"])
    else:
        number, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    return shown(f"{number}: column {column}: {match['what']}", _line(text, number))


def shown(message: str, line: str) -> str:
    """Put the text of a line under a message."""
    return f"{message}\n      {line.strip()}" if line.strip() else message


def _line(text: str, number: int) -> str:
    return text.splitlines()[number - 1] if number <= len(text.splitlines()) else ""


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line of each table and key of a TOML text that is right; of inline tables that of the key before."""
    found: dict[KeyPath, int] = {}
    counts: defaultdict[KeyPath, int] = defaultdict(int)
    table: KeyPath = ()
    depth, quote = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if depth or quote:
            depth, quote = _unfinished(line, depth, quote)
        elif match := _TABLE.match(line):
            table = _resolved(_parts(match["key"]), counts)
            if match["open"] == "[[":
                counts[table] += 1
                table = (*table, counts[table] - 1)
            found.setdefault(table, number)
        elif match := _ENTRY.match(line):
            found.setdefault((*table, *_parts(match["key"])), number)
            depth, quote = _unfinished(match["value"], 0, "")
    return found


def _parts(key: str) -> list[str]:
    return [part.strip("\"'") if part[0] in "\"'" else part for part in re.findall(_PART, key)]


def _resolved(parts: Sequence[str], counts: Mapping[KeyPath, int]) -> KeyPath:
    """Return the path of a table, the last entry of each array of tables on the way to it included."""
    path: KeyPath = ()
    for at, part in enumerate(parts):
        path = (*path, part)
        if path in counts and at < len(parts) - 1:
            path = (*path, counts[path] - 1)
    return path


def _unfinished(text: str, depth: int, quote: str) -> tuple[int, str]:
    """Return how many brackets, and which long quote, are still open after a line of a value."""
    if quote:
        _, end, text = text.partition(quote)
        if not end:
            return depth, quote
    rest = ""
    at = 0
    while match := _QUOTED.search(text, at):
        rest += text[at : match.start()]
        at = match.end()
        if match[0] in ('"""', "'''"):
            closing = text.find(match[0], at)
            if closing < 0:
                return depth + _balance(rest), match[0]
            at = closing + 3
    return depth + _balance(rest + text[at:]), ""


def _balance(text: str) -> int:
    return sum((char in "[{") - (char in "]}") for char in text)
