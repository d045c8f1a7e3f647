"""What a database file becomes once it is parsed: statements, which give records for one set of macros after another.

Macros have the scopes of ``msi`` of base: ``substitute`` and ``global`` define them from there on, a row of a
substitution file for its own expansion. Their values may hold macros again, which are looked up where the value is
used. What is stricter, because each is a mistake in practice: a record defined twice, an undefined macro and a macro
defined by itself are errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from ioc.database.macros import Macros, Text, UndefinedError, attempt, harmless, resolve, resolve_all
from ioc.errors import MistakesError

_APPEND = "*"


class DatabaseError(MistakesError):
    """Mistakes in the database; ``errors`` holds one ``file:line: record NAME: field F: reason`` each."""

    subject = "the database"
    status = 1


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
class Block:
    """One ``record(...)``."""

    rtyp: Text
    name: Text
    file: str
    line: int
    fields: dict[str, Text] = field(default_factory=dict)
    info: dict[str, Text] = field(default_factory=dict)
    aliases: list[Text] = field(default_factory=list)
    field_lines: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Alias:
    """One ``alias("RECORD", "NEW")`` outside a record."""

    record: Text
    alias: Text
    file: str
    line: int


@dataclass(slots=True)
class Define:
    """One ``substitute "NAME=VALUE,..."`` or ``global {NAME=VALUE}``; without a value the macro is defined no more."""

    macros: dict[str, Text | None]


@dataclass(slots=True)
class Insert:
    """One ``include``, or one row of a substitution file, which has macros of its own (``row``)."""

    name: Text
    read: Callable[[str], Template]
    file: str
    line: int
    row: dict[str, Text | None] | None = None


Statement = Block | Alias | Define | Insert


class Template:
    """A parsed database file, ready to be expanded with different macros."""

    def __init__(self, path: str, statements: list[Statement]) -> None:
        self.path = path
        self.statements = statements

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
        expansion = _Expansion()
        expansion.add(self.statements, dict(macros))
        for alias, scope in expansion.aliases:
            expansion.errors += _add_alias(expansion.records, alias, scope)
        if expansion.errors:
            raise DatabaseError(expansion.errors)
        return list(expansion.records.values())


class _Expansion:
    """The records so far, the aliases to give at the end, and what is wrong."""

    def __init__(self) -> None:
        self.records: dict[str, RecordDef] = {}
        self.aliases: list[tuple[Alias, Macros]] = []
        self.errors: list[str] = []

    def add(self, statements: list[Statement], scope: dict[str, Text | None]) -> None:
        """Go through the statements of a file; what they define is added to ``scope``."""
        for statement in statements:
            if isinstance(statement, Block):
                try:
                    new = _expand_block(statement, scope)
                except UndefinedError:
                    self.errors += _undefined(statement, scope)
                else:
                    if new.rtyp == _APPEND or new.name in self.records:
                        self.errors += _append(self.records, new)
                    else:
                        self.records[new.name] = new
            elif isinstance(statement, Alias):
                self.aliases.append((statement, dict(scope)))
            elif isinstance(statement, Define):
                scope.update(statement.macros)
            else:
                self._insert(statement, scope)

    def _insert(self, insert: Insert, scope: dict[str, Text | None]) -> None:
        if insert.row is not None:
            scope = scope | insert.row
        before = len(self.errors)
        try:
            self.add(insert.read(resolve(insert.name, scope)).statements, scope)
        except UndefinedError as error:
            self.errors.append(f"{insert.file}:{insert.line}: name of the file: macro {error} is not defined")
        except DatabaseError as error:
            self.errors += error.errors
        if insert.row is not None and len(self.errors) > before:
            self.errors[before:] = [f"{insert.file}:{insert.line}: {error}" for error in self.errors[before:]]


def _expand_block(block: Block, macros: Macros) -> RecordDef:
    """Return the record of a block, without what macros have made empty: a row that has nothing in this column."""
    parts = block.fields.values(), block.info.values(), block.aliases
    texts = iter(resolve_all(chain((block.name, block.rtyp), *parts), macros))
    name, rtyp = next(texts), next(texts)
    fields: dict[str, str] = {}
    info: dict[str, str] = {}
    for found, written in ((fields, block.fields), (info, block.info)):
        appended = rtyp == _APPEND and written is block.fields  # there it takes the place of an earlier value
        for key, text in zip(written, texts, strict=False):
            if text or appended or isinstance(written[key], str):
                found[key] = text
    return RecordDef(
        name,
        rtyp,
        fields,
        info,
        tuple(texts),
        block.file,
        block.line,
        block.field_lines,
    )


def _undefined(block: Block, macros: Macros) -> Iterator[str]:
    """Say for each string of a block which macro is missing."""
    parts: list[tuple[int, str, Text]] = [(block.line, "", block.rtyp), (block.line, "", block.name)]
    parts += [(block.field_lines[key], f"field {key}: ", text) for key, text in block.fields.items()]
    parts += [(block.line, f"info {key}: ", text) for key, text in block.info.items()]
    parts += [(block.line, "alias: ", text) for text in block.aliases]
    for line, part, text in parts:
        try:
            resolve(text, macros)
        except UndefinedError as error:
            yield f"{block.file}:{line}: record {attempt(block.name, macros)}: {part}macro {error} is not defined"


def _append(records: dict[str, RecordDef], new: RecordDef) -> Iterator[str]:
    """Append to a record that is there; yields what is wrong."""
    old = records.get(new.name)
    if old is None:
        yield f"{new.file}:{new.line}: record {new.name}: nothing to append to"
    elif new.rtyp != _APPEND:
        yield f"{new.file}:{new.line}: record {new.name}: already defined in {old.file}:{old.line}"
    else:
        records[new.name] = replace(
            old,
            fields={**old.fields, **new.fields},
            info={**old.info, **new.info},
            aliases=old.aliases + new.aliases,
            field_lines={**old.field_lines, **new.field_lines},
        )


def _add_alias(records: dict[str, RecordDef], alias: Alias, macros: Macros) -> Iterator[str]:
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
