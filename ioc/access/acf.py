"""Access security files (.acf) as EPICS base reads them: groups of users, hosts and records, with their rules.

The grammar is in ``acf.lark``. As in base a group of users or hosts is defined before it is used, ``DEFAULT`` is the
group of records of every record whose own is not in the file, and what a newer server would understand is read over.
Beyond base, a user ``"@NAME"`` stands for the members of that group of the operating system.
"""

from __future__ import annotations

import grp
import pwd
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from lark import Lark, Token
from lark.exceptions import UnexpectedInput

from ioc.access.calc import LETTERS, Calc, compile_calc
from ioc.access.policy import Access
from ioc.database.macros import Macros, UndefinedError, resolve, split_text
from ioc.database.syntax import where
from ioc.errors import MistakesError

NONE, READ, WRITE = range(3)
"""What a rule grants."""

DEFAULT: Final = "DEFAULT"
_GRANTS: Final = {"NONE": NONE, "READ": READ, "WRITE": WRITE}
_LOGGED: Final = ("TRAPWRITE", "NOTRAPWRITE")


class AcfError(MistakesError):
    """An access security file cannot be used; ``errors`` holds one ``file:line: reason`` each."""

    subject = "the access security file"


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``RULE``: who gets what, for fields up to this level.

    ``users`` and ``hosts`` are all members of the groups that it names, None when it names none.
    """

    level: int
    grant: int
    users: frozenset[str] | None
    hosts: frozenset[str] | None
    calc: Calc | None


@dataclass(slots=True)
class Group:
    """One ``ASG``: PVs whose values its rules may use, with the position of their letter, and the rules in order."""

    name: str
    inputs: list[tuple[int, str]] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)


@dataclass(slots=True)
class Acf:
    """One access security file; ``warnings`` name what was read over, and names that are not known."""

    path: str
    groups: dict[str, Group]
    warnings: list[str] = field(default_factory=list)

    def group(self, name: str) -> Group:
        """Return the group of a record with this ASG."""
        return self.groups.get(name) or self.groups[DEFAULT]


def load_acf(access: Access) -> Acf:
    """Read the file that the site file names. Raises AcfError with every mistake."""
    path = access.acf
    assert path is not None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AcfError([f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    return parse_acf(text, str(path), access.macros, access.client_ip)


def parse_acf(text: str, path: str, macros: Mapping[str, str] | None = None, client_ip: bool = False) -> Acf:
    """Read a file's text; with ``client_ip`` names of hosts become addresses. Raises AcfError with every mistake."""
    reader = _Reader(path, client_ip)
    text = reader.expand(text, macros or {})
    try:
        tree = _grammar().parse(text)
    except UnexpectedInput as error:
        reader.errors.append(f"{path}:{where(error, text)}")
    else:
        for item in tree.children:
            reader.take(item)
    if reader.errors:
        raise AcfError(reader.errors)
    return reader.acf


@cache
def _grammar() -> Lark:
    return Lark.open("acf.lark", rel_to=__file__, parser="lalr", lexer="basic", propagate_positions=True)


class _Reader:
    """Turns the parse tree of a file into groups; mistakes are appended to ``errors``."""

    def __init__(self, path: str, client_ip: bool) -> None:
        self.acf = Acf(path, {DEFAULT: Group(DEFAULT)})
        self.errors: list[str] = []
        self._client_ip = client_ip
        self._users: dict[str, frozenset[str]] = {}
        self._hosts: dict[str, frozenset[str]] = {}

    def expand(self, text: str, macros: Macros) -> str:
        """Replace the macros of each line; a comment that has a line of its own is left as it is."""
        return "".join(
            line if "$" not in line or line.lstrip().startswith("#") else self._expand_line(line, number, macros)
            for number, line in enumerate(text.splitlines(keepends=True), 1)
        )

    def _expand_line(self, line: str, number: int, macros: Macros) -> str:
        try:
            return resolve(split_text(line.replace("\\", "\\\\")), macros)
        except UndefinedError as error:
            allowed = ", ".join(macros) or "none, macros of [access] defines them"
            self._error(number, f"found macro {error}, allowed: {allowed}")
        except ValueError as error:
            self._error(number, str(error))
        return line

    def take(self, item: Any) -> None:
        """Take one definition of the file."""
        match item.data:
            case "uag":
                self._define(self._users, item, self._user)
            case "hag":
                self._define(self._hosts, item, self._host)
            case "asg":
                self._group(item)
            case _:
                self._warn(item, f"{item.children[0]} is not known here and is read over")

    def _define(self, groups: dict[str, frozenset[str]], item: Any, member: Any) -> None:
        name, members = _text(item.children[1]), item.children[2]
        if name in groups:
            self._error(item.meta.line, f"{item.children[0]} {name} is defined already")
        found = [member(_text(token), token.line) for token in (members.children if members is not None else ())]
        groups[name] = frozenset().union(*found)

    def _user(self, name: str, line: int) -> set[str]:
        if not name.startswith("@"):
            return {name}
        try:
            group = grp.getgrnam(name[1:])
        except KeyError:
            self.acf.warnings.append(f"{self.acf.path}:{line}: {name[1:]} is not a group of this computer")
            return set()
        return {*group.gr_mem, *(user.pw_name for user in pwd.getpwall() if user.pw_gid == group.gr_gid)}

    def _host(self, name: str, line: int) -> set[str]:
        if not self._client_ip:
            return {name.lower()}
        try:
            return {socket.gethostbyname(name)}
        except (OSError, UnicodeError):
            self.acf.warnings.append(f"{self.acf.path}:{line}: host {name} has no known address")
            return set()

    def _group(self, item: Any) -> None:
        _, name, *body = item.children
        group = self.acf.groups.get(_text(name), Group(_text(name)))
        if group.name in self.acf.groups and (group.name != DEFAULT or group.rules or group.inputs):
            self._error(item.meta.line, f"ASG {group.name} is defined already")
        self.acf.groups[group.name] = group
        for part in body:
            if part is None:
                continue
            if part.data == "input":
                self._input(group, part)
            elif (rule := self._rule(part)) is not None:
                group.rules.append(rule)

    def _input(self, group: Group, item: Any) -> None:
        from labioc_ca.client import checked_name  # noqa: PLC0415  most files have no inputs

        letter, name = item.children
        try:
            group.inputs.append((LETTERS.index(letter[3]), checked_name(_text(name))))
        except ValueError as error:
            self._error(item.meta.line, f"found {letter} {name}: {error}")

    def _rule(self, item: Any) -> Rule | None:
        """Return a rule, None for one that never applies here."""
        _, level, grant, logged, *conditions = item.children
        applies = _text(grant) in _GRANTS
        if not applies:
            self._warn(item, f"a RULE that grants {grant} never applies, allowed: {', '.join(_GRANTS)}")
        if int(level) < 0:
            self._error(item.meta.line, f"found level {level}, allowed: 0 or more")
        if logged is not None and _text(logged) not in _LOGGED:
            self._error(item.meta.line, f"found {logged}, allowed: {' or '.join(_LOGGED)}")
        users: frozenset[str] | None = None
        hosts: frozenset[str] | None = None
        calc: Calc | None = None
        for condition in conditions:
            if condition is None:
                continue
            match condition.data:
                case "users":
                    users = (users or frozenset()) | self._members(condition, self._users)
                case "hosts":
                    hosts = (hosts or frozenset()) | self._members(condition, self._hosts)
                case "calc":
                    calc = self._calc(condition)
                case _:
                    applies = False
                    self._warn(condition, f"a RULE with {condition.children[0]} never applies")
        return Rule(int(level), _GRANTS[_text(grant)], users, hosts, calc) if applies else None

    def _members(self, condition: Any, groups: dict[str, frozenset[str]]) -> frozenset[str]:
        keyword, *names = condition.children
        for name in names:
            if _text(name) not in groups:
                allowed = ", ".join(groups) or "none"
                self._error(name.line, f"found {keyword} {name}, allowed: those defined before ({allowed})")
        return frozenset().union(*(groups.get(_text(name), frozenset()) for name in names))

    def _calc(self, condition: Any) -> Calc | None:
        token = condition.children[1]
        try:
            return compile_calc(_text(token))
        except ValueError as error:
            self._error(token.line, f"found CALC {token}: {error}")
            return None

    def _error(self, line: int, reason: str) -> None:
        self.errors.append(f"{self.acf.path}:{line}: {reason}")

    def _warn(self, item: Any, reason: str) -> None:
        self.acf.warnings.append(f"{self.acf.path}:{item.meta.line}: {reason}")


def _text(token: Token) -> str:
    """Return a name without its quotes; a backslash inside stays, as in base."""
    return token[1:-1] if token.startswith('"') else str(token)
