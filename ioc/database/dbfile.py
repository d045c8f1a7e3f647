"""EPICS database files and substitution files: parse one once, expand it many times.

The grammar is in ``db.lark``. A template becomes a list of records whose strings are split around their
macro references, so that expanding it for the next channel is joining pieces, not parsing. As in dbStaticLib
of base: ``grecord``, ``alias``, ``include`` and appending with ``record("*", "NAME")``. As in msi and
dbLoadTemplate: ``substitute``, and substitution files (``*.substitutions``). A field given twice in one block
is an error here, and so is a backslash in the value of a macro.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from ioc.database.macros import MACRO_NAME, Text, harmless, split_text, unescape
from ioc.database.syntax import where
from ioc.database.template import Alias, Block, DatabaseError, Define, Insert, RecordDef, Statement, Template

__all__ = ["DatabaseError", "RecordDef", "Template", "parse_template", "parse_text"]

_SUFFIX = ".substitutions"
# Words that base takes for a statement wherever they stand without quotes.
_KEYWORDS = re.compile(
    "include|path|addpath|menu|choice|recordtype|field|device|driver|link|registrar|function|variable|breaktable"
    "|g?record|info|alias"
)
_STATEMENT = {
    "database": re.compile(r"^[ \t]*(g?record|alias|include|substitute)\b", re.MULTILINE),
    "table": re.compile(r"^[ \t]*(file|global)\b", re.MULTILINE),
}


def parse_template(
    path: Path | str, folders: Sequence[Path] = (), parsed: dict[Path, Template] | None = None
) -> Template:
    """Read and parse a database file, or a substitution file, which is known by its suffix ``.substitutions``.

    Files that it names are looked for next to it, then in ``folders``; those in ``parsed`` are not read again, and what
    is read is added to it. Raises DatabaseError listing every syntax error, or saying that the file cannot be read.
    """
    return _read(Path(path), _Search(tuple(folders), parsed={} if parsed is None else parsed))


def parse_text(text: str, path: str) -> Template:
    """Parse the text of a database or substitution file; ``path`` names it and is where other files are looked for."""
    return _build(text, path, _Search(()))


@dataclass(frozen=True, slots=True)
class _Search:
    """Where files are looked for, which ones are being read, one for the other, and what came of the others."""

    folders: tuple[Path, ...]
    reading: frozenset[Path] = frozenset()
    parsed: dict[Path, Template] = field(default_factory=dict)

    def find(self, name: str, near: str) -> Path:
        """Return the path of a file named in the file ``near``."""
        places = [Path(near).parent / name, *(folder / name for folder in self.folders)]
        return next((place for place in places if place.exists()), places[0])


def _read(path: Path, search: _Search) -> Template:
    if path in search.parsed:
        return search.parsed[path]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseError([f"{path}: cannot be read: {error}"]) from error
    template = _build(text, str(path), replace(search, reading=search.reading | {path.resolve()}))
    search.parsed[path] = template
    return template


def _build(text: str, path: str, search: _Search) -> Template:
    start = "table" if path.endswith(_SUFFIX) else "database"
    tree, errors = _parse(text, path, start)
    builder = _Builder(path, search, errors)
    for statement in tree.children if tree is not None else ():
        builder.statement(statement)
    if errors:
        raise DatabaseError(errors)
    return Template(path, builder.statements)


@cache
def _grammar() -> Lark:
    starts = [*_STATEMENT, "definitions"]
    return Lark.open("db.lark", rel_to=__file__, start=starts, parser="lalr")


def _parse(text: str, path: str, start: str) -> tuple[Tree[Token] | None, list[str]]:
    """Parse a file; after a mistake go on at the next statement, so that all mistakes are reported at once."""
    errors: list[str] = []
    while True:
        try:
            tree = _grammar().parse(text, start)
        except UnexpectedInput as error:
            errors.append(f"{path}:{where(error, text)}")
            resume = _STATEMENT[start].search(text, _line_end(text, error.pos_in_stream or 0))
            if resume is None:
                return None, errors
            text = re.sub(r"[^\n]", " ", text[: resume.start()]) + text[resume.start() :]
        else:
            return (tree if not errors else None), errors


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if position < 0 or end < 0 else end


class _Builder:
    """Turns the parse tree of one file into statements; mistakes are appended to ``errors``."""

    def __init__(self, path: str, search: _Search, errors: list[str]) -> None:
        self.statements: list[Statement] = []
        self._path = path
        self._search = search
        self._errors = errors

    def statement(self, node: Any) -> None:
        """Take one statement of the file."""
        match node.data:
            case "record":
                self._record(node)
            case "alias":
                record, alias = (self._text(word) for word in node.children[1:])
                self.statements.append(Alias(record, alias, self._path, _line(node)))
            case "include":
                self._include(node)
            case "substitute":
                self._substitute(node)
            case "global":
                self._global(node)
            case _:
                self._file(node)

    def _record(self, node: Any) -> None:
        rtyp, name = (self._text(word) for word in node.children[1:3])
        block = Block(rtyp, name, self._path, _line(node))
        for item in node.children[3:]:
            if item is None:
                continue
            if item.data == "own_alias":
                block.aliases.append(self._text(item.children[1]))
                continue
            key, value = item.children[1].children[0], self._text(item.children[2])
            if _KEYWORDS.fullmatch(key):
                self._error(item, f"{item.data} {key}: this word must stand in quotes")
            name_of_item = unescape(key[1:-1]) if key.type == "STRING" else str(key)
            into = block.fields if item.data == "field" else block.info
            if name_of_item in into:
                self._error(item, f"{item.data} {name_of_item}: given twice in one record")
            into[name_of_item] = value
            if item.data == "field":
                block.field_lines[name_of_item] = _line(item)
        self.statements.append(block)

    def _include(self, node: Any) -> None:
        name = self._text(node.children[1])
        read = self._reader(name, node)
        if isinstance(name, str):
            self.statements += read(name).statements
        else:
            self.statements.append(Insert(name, read, self._path, _line(node)))

    def _reader(self, name: Text, node: Any) -> Callable[[str], Template]:
        """Return what reads another file, once each; a file whose name is known is read now, for its mistakes."""
        read = cache(partial(self._other_file, _line(node)))
        if isinstance(name, str):
            try:
                read(name)
            except DatabaseError as error:
                self._errors += error.errors
                return lambda path: Template(path, [])
        return read

    def _other_file(self, line: int, name: str) -> Template:
        path = self._search.find(name, self._path)
        if path.resolve() in self._search.reading:
            raise DatabaseError([f"{self._path}:{line}: {name} is being read already"])
        return _read(path, self._search)

    def _substitute(self, node: Any) -> None:
        raw = node.children[1][1:-1]
        try:
            tree = _grammar().parse(raw, "definitions")
        except UnexpectedInput:
            self._error(node, f"substitute: found {raw!r}, allowed: NAME=VALUE, NAME='VALUE, WITH COMMA'")
            return
        for token in tree.scan_values(lambda part: part is not None):  # None: a macro without a value
            token.line = _line(node)
        self.statements.append(Define(self._assignments(tree.children)))

    def _global(self, node: Any) -> None:
        self.statements.append(Define(self._assignments(node.children[0].children[1:])))

    def _file(self, node: Any) -> None:
        """Take ``file NAME { ... }`` of a substitution file: one insertion for each row."""
        name, body = self._value(node.children[1]), node.children[2]
        read = self._reader(name, node)
        rows = list(body.children) if body is not None else []
        columns = self._columns(rows.pop(0)) if body is not None and body.data == "pattern" else None
        for row in rows:
            if row.data == "global":
                self._global(row)
            else:
                macros = self._assignments(row.children[1:]) if columns is None else self._row(row, columns)
                self.statements.append(Insert(name, read, self._path, _line(row), macros))

    def _columns(self, node: Any) -> list[str]:
        return [self._macro_name(name) for name in node.children]

    def _row(self, node: Any, columns: Sequence[str]) -> dict[str, Text | None]:
        values = node.children[1:]
        if len(values) > len(columns):
            self._error(node, f"found {len(values)} values, allowed: at most {len(columns)}, one for each column")
        return {name: self._value(value) for name, value in zip(columns, values, strict=False)}

    def _assignments(self, pairs: Sequence[Any]) -> dict[str, Text | None]:
        """Return macros with their values; a macro without one is not defined from there on."""
        named = ((self._macro_name(one.children[0]), one.children[1]) for one in pairs)
        return {name: None if value is None else self._value(value) for name, value in named}

    def _macro_name(self, token: Token) -> str:
        if not MACRO_NAME.fullmatch(token):
            self._error(token, f"macro {token}: a name is letters, digits, _ and -")
        return str(token)

    def _value(self, node: Any) -> Text:
        """Return the value of a macro, or the name of a file."""
        token: Token = node.children[0]
        raw = token[1:-1] if token.type == "QUOTED" else token.strip()
        if not harmless(raw):
            self._error(node, f"{raw!r} cannot stand inside a database string")
        return self._split(raw, node)

    def _text(self, word: Any) -> Text:
        token: Token = word.children[0]
        if _KEYWORDS.fullmatch(token):
            self._error(word, f"{token} must stand in quotes here")
        return self._split(token[1:-1] if token.type == "STRING" else str(token), word)

    def _split(self, raw: str, node: Any) -> Text:
        try:
            return split_text(raw)
        except ValueError as error:
            self._error(node, str(error))
            return ""

    def _error(self, node: Any, reason: str) -> None:
        self._errors.append(f"{self._path}:{_line(node)}: {reason}")


def _line(node: Any) -> int:
    """Return the line where a part of the tree begins."""
    while isinstance(node, Tree):
        node = node.children[0]
    line: int = node.line
    return line
