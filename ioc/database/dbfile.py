"""EPICS database files: parse a template once, expand it many times.

The grammar is in ``db.lark``. A template becomes a list of records whose strings are split around their
macro references, so that expanding it for the next channel is joining pieces, not parsing. As in dbStaticLib
of base: ``grecord``, ``alias``, ``include`` and appending with ``record("*", "NAME")``. What is stricter,
because each is a mistake in practice: a record defined twice, a field given twice in one block and an
undefined macro are errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from ioc.database.macros import Text, UndefinedError, attempt, harmless, resolve, split_text, unescape

_STATEMENT = re.compile(r"^[ \t]*(g?record|alias|include)\b", re.MULTILINE)
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


@dataclass(slots=True)
class _Block:
    """One ``record(...)`` of a template."""

    rtyp: Text
    name: Text
    file: str
    line: int
    fields: dict[str, Text] = field(default_factory=dict)
    info: dict[str, Text] = field(default_factory=dict)
    aliases: list[Text] = field(default_factory=list)
    field_lines: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Alias:
    """One ``alias("RECORD", "NEW")`` outside a record."""

    record: Text
    alias: Text
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
            if not harmless(value)
        ]
        if errors:
            raise DatabaseError(errors)
        records: dict[str, RecordDef] = {}
        for block in self._blocks:
            try:
                definition = _expand_block(block, macros)
            except UndefinedError:
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
    return _read(Path(path), frozenset())


def _read(path: Path, including: frozenset[Path]) -> Template:
    """Parse a file that is included, one within the other, by ``including``."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseError([f"{path}: cannot be read: {error}"]) from error
    return _build(text, str(path), including | {path.resolve()})


def parse_text(text: str, path: str) -> Template:
    """Parse the text of a database file; ``path`` names it and is where includes are looked for."""
    return _build(text, path, frozenset())


def _build(text: str, path: str, including: frozenset[Path]) -> Template:
    tree, errors = _parse(text, path)
    builder = _Builder(path, including, errors)
    for statement in tree.children if tree is not None else ():
        builder.statement(statement)
    if errors:
        raise DatabaseError(errors)
    return Template(path, builder.blocks, builder.aliases)


@cache
def _grammar() -> Lark:
    return Lark.open("db.lark", rel_to=__file__, start="database", parser="lalr", propagate_positions=True)


def _parse(text: str, path: str) -> tuple[Tree[Token] | None, list[str]]:
    """Parse a file; after a mistake go on at the next statement, so that all mistakes are told at once."""
    errors: list[str] = []
    while True:
        try:
            tree = _grammar().parse(text)
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
    return f"{line}:{'' if at_end else f' column {error.column}:'} found {found}, expected {' or '.join(names)}"


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

    def __init__(self, path: str, including: frozenset[Path], errors: list[str]) -> None:
        self.blocks: list[_Block] = []
        self.aliases: list[_Alias] = []
        self._path = path
        self._including = including
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
        if target.resolve() in self._including:
            self._error(node, f"include: {name} is being read already")
            return
        try:
            included = _read(target, self._including)
        except DatabaseError as error:
            self._errors += error.errors
        else:
            self.blocks += included._blocks
            self.aliases += included._aliases

    def _text(self, word: Any) -> Text:
        token: Token = word.children[0]
        raw = token[1:-1] if token.type == "STRING" else str(token)
        try:
            return split_text(raw)
        except ValueError as error:
            self._error(word, str(error))
            return ""

    def _error(self, node: Any, reason: str) -> None:
        self._errors.append(f"{self._path}:{node.meta.line}: {reason}")


def _resolve_all(texts: dict[str, Text], macros: Mapping[str, str]) -> dict[str, str]:
    return {key: text if isinstance(text, str) else resolve(text, macros) for key, text in texts.items()}


def _expand_block(block: _Block, macros: Mapping[str, str]) -> RecordDef:
    return RecordDef(
        resolve(block.name, macros),
        resolve(block.rtyp, macros),
        _resolve_all(block.fields, macros),
        _resolve_all(block.info, macros),
        tuple(resolve(alias, macros) for alias in block.aliases),
        block.file,
        block.line,
        block.field_lines,
    )


def _undefined(block: _Block, macros: Mapping[str, str]) -> Iterator[str]:
    """Say for each string of a block which macro is missing."""
    name = attempt(block.name, macros)[0]
    parts: list[tuple[int, str, Text]] = [(block.line, "", block.rtyp), (block.line, "", block.name)]
    parts += [(block.field_lines[key], f"field {key}: ", text) for key, text in block.fields.items()]
    parts += [(block.line, f"info {key}: ", text) for key, text in block.info.items()]
    parts += [(block.line, "alias: ", text) for text in block.aliases]
    for line, part, text in parts:
        missing = attempt(text, macros)[1]
        if missing:
            yield f"{block.file}:{line}: record {name}: {part}macro {missing} is not defined"


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
        name, new = resolve(alias.record, macros), resolve(alias.alias, macros)
    except UndefinedError as error:
        yield f"{alias.file}:{alias.line}: alias: macro {error} is not defined"
        return
    if name not in records:
        yield f"{alias.file}:{alias.line}: record {name}: no such record to give the alias {new}"
    else:
        records[name] = replace(records[name], aliases=(*records[name].aliases, new))
