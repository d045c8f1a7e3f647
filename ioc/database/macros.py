r"""Strings of EPICS database files: escapes and macro references.

A string is split once into constant text and references (``macro.lark``); putting it together for one set of
macros is then joining pieces. As in macLib of base: ``$(NAME)``, ``${NAME}``, ``$(NAME=default)``, nested,
and ``\$(`` is no reference. Scoped definitions (``$(NAME,X=1)``) are not known; a macro whose value refers to the
macro itself is as good as not defined.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_NAMED_ESCAPES = {"0": "\0", "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_TO_ESCAPE = {"\\": "\\\\", '"': '\\"', **{char: f"\\{key}" for key, char in _NAMED_ESCAPES.items() if key != "0"}}
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


def split_text(raw: str) -> Text:
    """Split the inside of a string as written; raises ValueError saying what is wrong with a macro."""
    if "$(" not in raw and "${" not in raw:
        return unescape(raw)
    try:
        tree = _grammar().parse(raw)
    except UnexpectedInput as error:
        if isinstance(error, UnexpectedToken) and error.token.type == "$END":
            raise ValueError(f"macro reference in {raw!r} is not closed") from None
        rest = raw[error.pos_in_stream or 0 :]
        raise ValueError(f"macro reference in {raw!r} is not understood at {rest!r}") from None
    for name in tree.find_data("name"):
        if not all(isinstance(part, Tree) or MACRO_NAME.fullmatch(part) for part in name.children):
            raise ValueError(f"macro reference in {raw!r}: a name is letters, digits, _ and -")
    return tuple(_piece(child) for child in tree.children)


@cache
def _grammar() -> Lark:
    return Lark.open("macro.lark", rel_to=__file__, start="text", parser="lalr")


def _piece(child: Token | Tree[Token]) -> str | _Macro:
    if isinstance(child, Token):
        return unescape(child)
    name, default = child.children[0], child.children[2]
    assert isinstance(name, Tree)
    return _Macro(_text(name), _text(default) if isinstance(default, Tree) else None)


def _text(tree: Tree[Token]) -> Text:
    pieces = tuple(_piece(child) for child in tree.children)
    constants = [piece for piece in pieces if isinstance(piece, str)]
    return pieces if len(constants) < len(pieces) else "".join(constants)


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
    return not any(char in '"\\' or char < " " for char in value)


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
