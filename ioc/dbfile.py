"""EPICS database files: parse a template once, expand it many times.

The grammar is in ``db.lark`` and ``macro.lark``. A template becomes a list of records whose strings are
either constant or a few pieces around macro references, so that expanding it for the next channel is joining
pieces, not parsing. As in dbStaticLib of base: escapes, ``grecord``, ``alias``, ``include`` and appending with
``record("*", "NAME")``. What is stricter, because each is a mistake in practice: a record defined twice,
a field given twice in one block and an undefined macro are errors. A macro value is taken as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

_Keyed = TypeVar("_Keyed")

_STATEMENT = re.compile(r"^[ \t]*(g?record|alias|include)\b", re.MULTILINE)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_NAMED_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_TO_ESCAPE = {"\\": "\\\\", '"': '\\"', **{char: f"\\{key}" for key, char in _NAMED_ESCAPES.items()}}
_MACRO_NAME = re.compile(r"[A-Za-z0-9_-]+")
_APPEND = "*"


class DatabaseError(Exception):
    """Mistakes in the database; ``errors`` holds one ``file:line: record NAME: field F: reason`` each."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class RecordDef:
    """One record as written, macros expanded; the dictionaries are shared and must not be changed."""

    name: str
    rtyp: str
    fields: dict[str, str]
    info: dict[str, str]
    aliases: tuple[str, ...]
    file: str
    line: int
    field_lines: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Macro:
    """One reference; the name may itself hold references."""

    name: tuple[str | _Macro, ...]
    default: tuple[str | _Macro, ...] | None


_Text = str | tuple["str | _Macro", ...]


class _UndefinedError(Exception):
    """A macro without value or default."""


@dataclass(slots=True)
class _Block:
    """One ``record(...)`` of a template."""

    rtyp: _Text
    name: _Text
    file: str
    line: int
    fields: dict[str, _Text] = field(default_factory=dict)
    info: dict[str, _Text] = field(default_factory=dict)
    aliases: list[_Text] = field(default_factory=list)
    field_lines: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Alias:
    """One ``alias("RECORD", "NEW")`` outside a record."""

    record: _Text
    alias: _Text
    file: str
    line: int


class Template:
    """A parsed database file, ready to be expanded with different macros."""

    def __init__(self, path: str, blocks: list[_Block], aliases: list[_Alias]) -> None:
        self.path = path
        self._blocks = blocks
        self._aliases = aliases

    def expand(self, macros: Mapping[str, str]) -> list[RecordDef]:
        """Return the records in the order of the file.

        Raises DatabaseError listing every undefined macro, duplicate record and alias of an unknown record.
        """
        errors = [
            f"{self.path}: macro {name}: {value!r} cannot stand inside a database string"
            for name, value in macros.items()
            if not _harmless(value)
        ]
        if errors:
            raise DatabaseError(errors)
        records: dict[str, RecordDef] = {}
        for block in self._blocks:
            try:
                definition = _expand_block(block, macros)
            except _UndefinedError:
                errors += _undefined(block, macros)
            else:
                errors += _add(records, definition)
        for alias in self._aliases:
            errors += _add_alias(records, alias, macros)
        if errors:
            raise DatabaseError(errors)
        return list(records.values())


def parse_template(path: Path | str) -> Template:
    """Read and parse a database file; files it includes are looked for next to it.

    Raises DatabaseError listing every syntax error, or saying that the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseError([f"{path}: cannot be read: {error}"]) from error
    return parse_text(text, str(path))


def parse_text(text: str, path: str) -> Template:
    """Parse the text of a database file; ``path`` names it and is where includes are looked for."""
    tree, errors = _parse(text, path)
    builder = _Builder(path, errors)
    for statement in tree.children if tree is not None else ():
        builder.statement(statement)
    if errors:
        raise DatabaseError(errors)
    return Template(path, builder.blocks, builder.aliases)


def quote(text: str) -> str:
    """Return text as a quoted database string that every EPICS reader turns back into the same text."""
    body = "".join(_TO_ESCAPE.get(char, char if char >= " " else f"\\{ord(char):03o}") for char in text)
    return '"' + body.replace("$(", "\\$(").replace("${", "\\${") + '"'


@cache
def _grammar(name: str, start: str) -> Lark:
    return Lark.open(f"{name}.lark", rel_to=__file__, start=start, parser="lalr", propagate_positions=True)


def _parse(text: str, path: str) -> tuple[Tree[Token] | None, list[str]]:
    """Parse a file; after a mistake go on at the next statement, so that all mistakes are told at once."""
    errors: list[str] = []
    while True:
        try:
            tree = _grammar("db", "database").parse(text)
        except UnexpectedInput as error:
            errors.append(f"{path}:{_where(error, text)}")
            resume = _STATEMENT.search(text, _line_end(text, error.pos_in_stream or 0))
            if resume is None:
                return None, errors
            text = re.sub(r"[^\n]", " ", text[: resume.start()]) + text[resume.start() :]
        else:
            return (tree if not errors else None), errors


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if position < 0 or end < 0 else end


def _where(error: UnexpectedInput, text: str) -> str:
    """Say line, column, what was found and what the grammar wants there."""
    if isinstance(error, UnexpectedToken):
        found = "end of file" if error.token.type == "$END" else repr(str(error.token))
        wanted = error.accepts or error.expected
    else:
        found, wanted = repr(text[error.pos_in_stream or 0]), getattr(error, "allowed", None) or set()
    at_end = found == "end of file"
    line = text.count("\n") + 1 if at_end else error.line
    names = sorted({_terminal(name) for name in wanted if name not in {"COMMENT", "WHITE"}})
    return (
        f"{line}:{'' if at_end else f' column {error.column}:'} found {found}, expected {' or '.join(names)}"
    )


def _terminal(name: str) -> str:
    """Return the text of a terminal of the grammar for people."""
    shown = {
        "STRING": "a quoted string",
        "BARE": "a word",
        "LPAR": "'('",
        "RPAR": "')'",
        "LBRACE": "'{'",
        "RBRACE": "'}'",
        "COMMA": "','",
        "$END": "the end of the file",
    }
    return shown.get(name, name.lower())


class _Builder:
    """Turns the parse tree of one file into blocks; mistakes are appended to ``errors``."""

    def __init__(self, path: str, errors: list[str]) -> None:
        self.blocks: list[_Block] = []
        self.aliases: list[_Alias] = []
        self._path = path
        self._errors = errors

    def statement(self, node: Any) -> None:
        """Take one statement of the file."""
        match node.data:
            case "record":
                self._record(node)
            case "alias":
                record, alias = (self._text(word) for word in node.children)
                self.aliases.append(_Alias(record, alias, self._path, node.meta.line))
            case _:
                self._include(node)

    def _record(self, node: Any) -> None:
        rtyp, name = (self._text(word) for word in node.children[:2])
        block = _Block(rtyp, name, self._path, node.meta.line)
        for item in node.children[2:]:
            if item is None:
                continue
            if item.data == "own_alias":
                block.aliases.append(self._text(item.children[0]))
                continue
            key, value = item.children[0].children[0], self._text(item.children[1])
            name_of_item = unescape(key[1:-1]) if key.type == "STRING" else str(key)
            into = block.fields if item.data == "field" else block.info
            if name_of_item in into:
                self._error(item, f"{item.data} {name_of_item}: given twice in one record")
            into[name_of_item] = value
            if item.data == "field":
                block.field_lines[name_of_item] = item.meta.line
        self.blocks.append(block)

    def _include(self, node: Any) -> None:
        name = self._text(node.children[0])
        if not isinstance(name, str):
            self._error(node, "include: macros are not possible here")
            return
        target = Path(self._path).parent / name
        if target.resolve() == Path(self._path).resolve():
            self._error(node, "include: a file cannot include itself")
            return
        try:
            included = parse_template(target)
        except DatabaseError as error:
            self._errors += error.errors
        else:
            self.blocks += included._blocks
            self.aliases += included._aliases

    def _text(self, word: Any) -> _Text:
        token: Token = word.children[0]
        raw = token[1:-1] if token.type == "STRING" else str(token)
        if "$(" not in raw and "${" not in raw:
            return unescape(raw)
        try:
            tree = _grammar("macro", "text").parse(raw)
        except UnexpectedInput as error:
            if isinstance(error, UnexpectedToken) and error.token.type == "$END":
                reason = "is not closed"
            else:
                reason = f"is not understood at {raw[error.pos_in_stream or 0 :]!r}"
            self._error(word, f"macro reference in {raw!r} {reason}")
            return ""
        for name in tree.find_data("name"):
            if not all(isinstance(part, Tree) or _MACRO_NAME.fullmatch(part) for part in name.children):
                self._error(word, f"macro reference in {raw!r}: a name is letters, digits, _ and -")
        return _pieces(tree)

    def _error(self, node: Any, reason: str) -> None:
        self._errors.append(f"{self._path}:{node.meta.line}: {reason}")


def _pieces(tree: Tree[Token]) -> tuple[str | _Macro, ...]:
    return tuple(_piece(child) for child in tree.children)


def _piece(child: Token | Tree[Token]) -> str | _Macro:
    if isinstance(child, Token):
        return unescape(child)
    name, default = child.children[0], child.children[2]
    assert isinstance(name, Tree)
    return _Macro(_pieces(name), _pieces(default) if isinstance(default, Tree) else None)


def unescape(text: str) -> str:
    """Resolve the C escapes that EPICS knows in database strings."""
    return _ESCAPE.sub(_unescape_one, text) if "\\" in text else text


def _unescape_one(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8) & 0xFF)
    return _NAMED_ESCAPES.get(code, code)


def _harmless(value: str) -> bool:
    return not any(char in '"\\' or char < " " for char in value)


def _resolve(text: _Text, macros: Mapping[str, str]) -> str:
    if isinstance(text, str):
        return text
    return "".join([piece if isinstance(piece, str) else _value(piece, macros) for piece in text])


def _value(macro: _Macro, macros: Mapping[str, str]) -> str:
    name = macro.name[0] if len(macro.name) == 1 else _resolve(macro.name, macros)
    key = name if isinstance(name, str) else _value(name, macros)
    value = macros.get(key)
    if value is not None:
        return value
    if macro.default is None:
        raise _UndefinedError(key)
    return _resolve(macro.default, macros)


def _resolve_all(texts: dict[str, _Text], macros: Mapping[str, str]) -> dict[str, str]:
    return {key: text if isinstance(text, str) else _resolve(text, macros) for key, text in texts.items()}


def _expand_block(block: _Block, macros: Mapping[str, str]) -> RecordDef:
    return RecordDef(
        _resolve(block.name, macros),
        _resolve(block.rtyp, macros),
        _resolve_all(block.fields, macros),
        _resolve_all(block.info, macros),
        tuple(_resolve(alias, macros) for alias in block.aliases),
        block.file,
        block.line,
        block.field_lines,
    )


def _undefined(block: _Block, macros: Mapping[str, str]) -> Iterator[str]:
    """Say for each string of a block which macro is missing."""
    name = _attempt(block.name, macros)[0]
    parts: list[tuple[int, str, _Text]] = [(block.line, "", block.rtyp), (block.line, "", block.name)]
    parts += [(block.field_lines[key], f"field {key}: ", text) for key, text in block.fields.items()]
    parts += [(block.line, f"info {key}: ", text) for key, text in block.info.items()]
    parts += [(block.line, "alias: ", text) for text in block.aliases]
    for line, part, text in parts:
        missing = _attempt(text, macros)[1]
        if missing:
            yield f"{block.file}:{line}: record {name}: {part}macro {missing} is not defined"


def _attempt(text: _Text, macros: Mapping[str, str]) -> tuple[str, str]:
    """Return the text as far as it can be expanded, and the first macro that is missing (or nothing)."""
    missing = ""
    shown = []
    for piece in (text,) if isinstance(text, str) else text:
        try:
            shown.append(piece if isinstance(piece, str) else _value(piece, macros))
        except _UndefinedError as error:
            missing = missing or str(error)
            shown.append(f"$({error})")
    return "".join(shown), missing


def _add(records: dict[str, RecordDef], new: RecordDef) -> Iterator[str]:
    """Add a record, or append to the one that is there; yields what is wrong."""
    old = records.get(new.name)
    if new.rtyp == _APPEND:
        if old is None:
            yield f"{new.file}:{new.line}: record {new.name}: nothing to append to"
        else:
            records[new.name] = replace(
                old,
                fields={**old.fields, **new.fields},
                info={**old.info, **new.info},
                aliases=old.aliases + new.aliases,
                field_lines={**old.field_lines, **new.field_lines},
            )
    elif old is not None:
        yield f"{new.file}:{new.line}: record {new.name}: already defined in {old.file}:{old.line}"
    else:
        records[new.name] = new


def _add_alias(records: dict[str, RecordDef], alias: _Alias, macros: Mapping[str, str]) -> Iterator[str]:
    """Add an alias given outside its record; yields what is wrong."""
    try:
        name, new = _resolve(alias.record, macros), _resolve(alias.alias, macros)
    except _UndefinedError as error:
        yield f"{alias.file}:{alias.line}: alias: macro {error} is not defined"
        return
    if name not in records:
        yield f"{alias.file}:{alias.line}: record {name}: no such record to give the alias {new}"
    else:
        records[name] = replace(records[name], aliases=(*records[name].aliases, new))
