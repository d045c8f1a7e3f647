r"""Strings of EPICS database files: escapes and macro references.

A string is split once into constant text and references; putting it together for one set of macros is then joining
pieces. As in macLib of base: ``$(NAME)``, ``${NAME}``, ``$(NAME=default)``, nested,
and ``\$(`` is no reference. Scoped definitions (``$(NAME,X=1)``) are not known; a macro whose value refers to the
macro itself is as good as not defined.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_NAMED_ESCAPES = {"0": "\0", "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_TO_ESCAPE = {"\\": "\\\\", '"': '\\"', **{char: f"\\{key}" for key, char in _NAMED_ESCAPES.items() if key != "0"}}
_TOKEN = re.compile(r"(?:\\.|\$(?![({])|[^$\\=,(){}])+|\$[({]|[=,(){}]", re.DOTALL)
_CLOSING = {"$(": ")", "${": "}"}
_HARMFUL = re.compile(r'["\\\x00-\x1f]')
MACRO_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _Macro:
    """One reference; the name may itself hold references."""

    name: Text
    default: Text | None


Text = str | tuple["str | _Macro", ...]
"""A string as written: constant text, or pieces of text and macro references."""
Macros = Mapping[str, Text | None]
"""Macros by their name; the value of one may hold references, and None is as good as no macro."""


class UndefinedError(Exception):
    """A macro without value or default; the text is its name."""


@cache
def split_text(raw: str) -> Text:
    """Split the inside of a string as written; raises ValueError saying what is wrong with a macro."""
    if "$(" not in raw and "${" not in raw:
        return unescape(raw)
    pieces, _ = _pieces(raw, 0)
    return tuple(map(_unescaped, pieces))


def _pieces(raw: str, at: int, end: str = "", barred: str = "") -> tuple[list[str | _Macro], int]:
    """Return texts and references from a place up to one of the letters ``end``, and where that is."""
    pieces: list[str | _Macro] = []
    while at < len(raw) and raw[at] not in end:
        found = _TOKEN.match(raw, at)
        if found is None or found[0] in barred:
            raise _not_understood(raw, at)
        if found[0] in _CLOSING:
            macro, at = _reference(raw, found.end(), _CLOSING[found[0]])
            pieces.append(macro)
        else:
            pieces.append(found[0])
            at = found.end()
    return pieces, at


def _reference(raw: str, at: int, closing: str) -> tuple[_Macro, int]:
    """Return the reference whose name begins at a place, and what follows it."""
    name, at = _pieces(raw, at, f"={closing}", "=,(){}")
    default: list[str | _Macro] | None = None
    if name and raw.startswith("=", at):
        default, at = _pieces(raw, at + 1, closing, ",")
    if at == len(raw):
        raise ValueError(f"macro reference in {raw!r} is not closed")
    if not name:
        raise _not_understood(raw, at)
    if not all(MACRO_NAME.fullmatch(part) for part in name if isinstance(part, str)):
        raise ValueError(f"macro reference in {raw!r}: a name is letters, digits, _ and -")
    return _Macro(_text(name), None if default is None else _text(default)), at + 1


def _not_understood(raw: str, at: int) -> ValueError:
    return ValueError(f"macro reference in {raw!r} is not understood at {raw[at:]!r}")


def _text(pieces: list[str | _Macro]) -> Text:
    constants = [unescape(piece) for piece in pieces if isinstance(piece, str)]
    return "".join(constants) if len(constants) == len(pieces) else tuple(map(_unescaped, pieces))


def _unescaped(piece: str | _Macro) -> str | _Macro:
    return unescape(piece) if isinstance(piece, str) else piece


def unescape(text: str) -> str:
    """Resolve the C escapes that EPICS knows in database strings."""
    return _ESCAPE.sub(_unescape_one, text) if "\\" in text else text


def _unescape_one(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _NAMED_ESCAPES.get(code, code)


def harmless(value: str) -> bool:
    """Say whether a macro value can stand inside a quoted string as it is."""
    return _HARMFUL.search(value) is None


def resolve(text: Text, macros: Macros) -> str:
    """Put a text together; raises UndefinedError for a macro that has neither value nor default."""
    return text if isinstance(text, str) else resolve_all((text,), macros)[0]


def resolve_all(texts: Iterable[Text], macros: Macros) -> list[str]:
    """Put several texts together. Raises UndefinedError."""
    found = []
    for text in texts:
        if isinstance(text, str):
            found.append(text)
            continue
        pieces = []
        for piece in text:
            if isinstance(piece, str):
                pieces.append(piece)
                continue
            name = piece.name if isinstance(piece.name, str) else resolve(piece.name, macros)
            value, scope = macros.get(name), macros
            if value is None:
                value = piece.default
            elif not isinstance(value, str):
                scope = {**macros, name: None}
            if value is None:
                raise UndefinedError(name)
            pieces.append(value if isinstance(value, str) else resolve_all((value,), scope)[0])
        found.append("".join(pieces))
    return found


def attempt(text: Text, macros: Macros) -> str:
    """Return the text as far as it can be expanded."""
    shown = []
    for piece in (text,) if isinstance(text, str) else text:
        try:
            shown.append(resolve((piece,), macros))
        except UndefinedError as error:
            shown.append(f"$({error})")
    return "".join(shown)


def quote(text: str) -> str:
    """Return text as a quoted database string that every EPICS reader turns back into the same text."""
    body = "".join(_TO_ESCAPE.get(char, char if char >= " " else f"\\x{ord(char):02x}") for char in text)
    return '"' + body.replace("$(", "\\$(").replace("${", "\\${") + '"'
