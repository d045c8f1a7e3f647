"""One user at the console of a server: takes one command after the other and never holds up the server.

The user has the rights that the ``[access]`` section gives to that name on this computer.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from ioc.app import App
from ioc.console.devices import Places, Put, details, overview, raw_request
from ioc.console.pvs import CommandError, Line, Watch, all_fields, find, names, put, targets, value_line
from ioc.records import AccessDenied, Cancelled, PutContext, PutRefused, fields_of
from ioc.scan.scanner import DeviceScanner

log = logging.getLogger("labioc.console")

QUIT = ("quit", "exit")

MOST = 60
"""Names that are offered at once; of more, the parts up to their next colon."""

_OF_PV = ("get", "put", "watch", "dbpr")
_OF_DEVICE = ("devices", "raw", "start", "stop", "period")
_OF_CHANNEL = ("set", "on", "off", "kill")


class Terminal(Protocol):
    """What a session needs of the outside; ``interactive`` is whether a person is there to be asked."""

    interactive: bool

    async def ask(self, question: str) -> str:
        """Ask a question and return the answer; empty when there is none."""

    async def show(self, lines: Iterable[Line]) -> None:
        """Show lines of an answer."""

    async def complain(self, text: str) -> None:
        """Show why a command failed."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its arguments, what it does, how many words it takes, and the method."""

    usage: str
    about: str
    least: int
    most: int
    run: Callable[[list[str]], Awaitable[None]]


class Session:
    """Takes commands of one user, who is known by ``context``."""

    def __init__(self, app: App, terminal: Terminal, context: PutContext) -> None:
        self._app = app
        self._terminal = terminal
        self._user = context
        self._prefix = app.site.prefix
        self._places = Places(app.records, app.scanners)
        self._commands = {
            "help": Command("[COMMAND]", "list the commands", 0, 1, self._help),
            "dbl": Command("[PATTERN]", "list PVs; PATTERN may have * and ?", 0, 1, self._list),
            "dbpr": Command("PV", "print all fields of a record", 1, 1, self._print),
            "get": Command("PV[.FIELD]...", "show values, their time and alarm; wildcards too", 1, 99, self._get),
            "put": Command("PV[.FIELD] VALUE", "set a value and wait until it is applied", 2, 99, self._put),
            "watch": Command(
                "PV... [SECONDS]", "show changes until Ctrl-C, or for so many seconds", 1, 99, self._watch
            ),
            "devices": Command("[DEVICE]", "state of the devices, or all about one, with limits", 0, 1, self._devices),
            "set": Command("CHANNEL NAME VALUE", "set by short names: set HV1.0 vset 500", 3, 99, self._set),
            "on": Command("CHANNEL...", "switch channels on: on HV1.0 HV1.1", 1, 99, partial(self._switch, "ON")),
            "off": Command(
                "CHANNEL...", "switch channels off; HV1.* are all of a supply", 1, 99, partial(self._switch, "OFF")
            ),
            "kill": Command("CHANNEL...", "switch channels off without a ramp", 1, 99, self._kill),
            "start": Command("DEVICE", "talk to a device again", 1, 1, partial(self._disable, False)),
            "stop": Command(
                "DEVICE", "do not talk to a device until start; outputs stay", 1, 1, partial(self._disable, True)
            ),
            "period": Command("DEVICE [SECONDS]", "show or set how often it is read", 1, 2, self._period),
            "raw": Command("DEVICE ITEM... [= VALUE]", "read or write past the PVs (experts)", 1, 99, self._raw),
            "asreload": Command("", "read the access rights anew (experts)", 0, 0, self._reload),
            "quit": Command("", "end this console; Ctrl-D or exit do the same", 0, 0, self._nothing),
        }

    def candidates(self, line: str) -> list[str]:
        """Return the words that may stand in place of the last one of an unfinished line: what the Tab key offers."""
        *before, start = line.lstrip().split(" ")
        try:
            return self._candidates([word for word in before if word], start)
        except CommandError:
            return []

    async def take(self, line: str) -> bool:
        """Carry out one command and return whether it succeeded; what goes wrong is shown as one sentence."""
        if not line.strip() or line.lstrip().startswith("#"):
            return True
        try:
            await self._carry_out(line)
        except (CommandError, PutRefused) as error:
            await self._terminal.complain(f"{error}")
        except ConnectionError:
            raise
        except Exception as error:
            log.exception("console: %s", line)
            await self._terminal.complain(f"internal error: {type(error).__name__}: {error}")
        else:
            return True
        return False

    async def _carry_out(self, line: str) -> None:
        try:
            name, *words = shlex.split(line)
        except ValueError as error:
            raise CommandError(f"{error} in {line.strip()}") from error
        command = self._commands.get(name)
        if command is None:
            raise CommandError(f"{name} is not a command; help lists them")
        if not command.least <= len(words) <= command.most:
            raise CommandError(f"expected {name} {command.usage}".rstrip())
        await command.run(words)

    async def _show(self, *lines: str | Line) -> None:
        await self._terminal.show([Line(line) if isinstance(line, str) else line for line in lines])

    @property
    def _context(self) -> PutContext:
        """Who puts; each put can be given up by itself."""
        return replace(self._user, cancelled=Cancelled())

    # ---- commands about PVs

    async def _help(self, words: list[str]) -> None:
        if words and words[0] not in self._commands:
            raise CommandError(f"{words[0]} is not a command; help lists them")
        chosen = {name: self._commands[name] for name in words or self._commands}
        await self._show(*(f"{name + ' ' + command.usage:<32}{command.about}" for name, command in chosen.items()))

    async def _list(self, words: list[str]) -> None:
        found = list(names(self._app.records, words[0] if words else "*", self._prefix))
        if not found:
            raise CommandError(f"no PV matches {words[0]}" if words else "there are no PVs")
        await self._show(*found)

    async def _print(self, words: list[str]) -> None:
        await self._show(*all_fields(find(self._app.records, words[0], self._prefix).record))

    async def _get(self, words: list[str]) -> None:
        await self._show(*map(value_line, targets(self._app.records, words, self._prefix)))

    async def _put(self, words: list[str]) -> None:
        await self._perform(Put(words[0], " ".join(words[1:])))

    async def _watch(self, words: list[str]) -> None:
        seconds = _seconds(words.pop()) if len(words) > 1 and _is_number(words[-1]) else None
        watched = targets(self._app.records, words, self._prefix)
        if seconds is None and not self._terminal.interactive:
            raise CommandError("watch in a script needs a number of seconds: watch PV... SECONDS")
        with Watch(watched) as watch, suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await self._show(await watch.line())

    # ---- commands about devices and channels

    def _scanner(self, word: str) -> DeviceScanner:
        return self._app.scanners[self._places.device(word)]

    async def _devices(self, words: list[str]) -> None:
        await self._show(*(details(self._scanner(words[0])) if words else overview(self._app.scanners.values())))

    async def _set(self, words: list[str]) -> None:
        await self._perform(self._places.set(words[0], words[1], " ".join(words[2:])))

    async def _switch(self, state: str, words: list[str]) -> None:
        await self._for_each([[self._places.set(place, "ON", state)] for place in self._places.switches(words)])

    async def _kill(self, words: list[str]) -> None:
        await self._for_each([self._places.kill(place) for place in self._places.switches(words)])

    async def _disable(self, off: bool, words: list[str]) -> None:
        await self._perform(self._places.disable(words[0], off))

    async def _period(self, words: list[str]) -> None:
        for change in self._places.period(*words) if len(words) == 2 else ():
            await put(find(self._app.records, change.name), change.value, self._app.policy, self._context)
        await self._show(f"{self._places.device(words[0])} is read every {', '.join(self._places.periods(words[0]))}")

    async def _raw(self, words: list[str]) -> None:
        scanner = self._scanner(words[0])
        request = raw_request(scanner, words[1:])
        if request.value is None:
            lines = await self._app.puts.read_raw(scanner.name, request)
        else:
            denied = self._app.policy.may_write_raw(self._context)
            if denied is None and not await self._confirmed(f"{scanner.name}: {request.what}", request.value):
                raise CommandError("nothing was written")
            lines = await self._app.puts.write_raw(scanner.name, request, self._context, denied)
        await self._show(*lines)

    async def _reload(self, words: list[str]) -> None:
        if (denied := self._app.policy.may_write_raw(self._context)) is not None:
            raise AccessDenied(denied)
        await self._show(await self._app.policy.reload())

    async def _perform(self, change: Put) -> None:
        """Put, and show what it has become. Raises CommandError and PutRefused."""
        target = find(self._app.records, change.name, self._prefix)
        await put(target, change.value, self._app.policy, self._context)
        await self._show(value_line(target))

    async def _for_each(self, channels: list[list[Put]]) -> None:
        """Put to several channels at once, to each one after the other, also when one is refused."""
        outcomes = await asyncio.gather(*map(self._in_order, channels))
        refused = [text for texts in outcomes for text in texts]
        if refused:
            raise CommandError("\n".join(refused))

    async def _in_order(self, changes: list[Put]) -> list[str]:
        refused = []
        for change in changes:
            try:
                await self._perform(change)
            except PutRefused as refusal:
                refused.append(
                    f"{change.name}: {refusal}".replace(f"{change.name}: {change.name}: ", f"{change.name}: ")
                )
        return refused

    async def _confirmed(self, what: str, value: str) -> bool:
        """Ask the user; a script has to know what it does."""
        if not self._terminal.interactive:
            return True
        answer = await self._terminal.ask(f"{what}: write {value or 'this command'}? [y/N] ")
        return answer.strip().lower() in ("y", "yes")

    async def _nothing(self, words: list[str]) -> None:
        """Stand for what ends the console before it gets here."""

    # ---- completion

    def _candidates(self, before: list[str], start: str) -> list[str]:
        if not before or before == ["help"]:
            return _starting(self._commands, start)
        command, place = before[0], len(before)
        if command in _OF_PV and (place == 1 or command == "watch"):
            return self._names(start)
        if command == "put" and place == 2:
            target = find(self._app.records, before[1], self._prefix)
            return _starting(filter(None, target.spec.choices or target.record.enum_strings()), start, True)
        if command in _OF_DEVICE and place == 1:
            return _starting(self._places.names(channels=False), start, True)
        if command in _OF_CHANNEL and (place == 1 or command != "set"):
            return _starting(self._places.names(), start, True)
        if command == "set" and place == 2:
            return _starting((name.lower() for name in self._places.settings(before[1])), start, True)
        if command == "set" and place == 3:
            return _starting(filter(None, self._places.record(before[1], before[2]).enum_strings()), start, True)
        return []

    def _names(self, start: str) -> list[str]:
        """Return PV names, with or without the prefix of the site as it was begun; behind a dot, its fields."""
        base, dot, field = start.partition(".")
        if dot:
            specs = fields_of(find(self._app.records, base, self._prefix).record.rtyp).values()
            return [f"{base}.{spec.name}" for spec in specs if spec.implemented and spec.name.startswith(field.upper())]
        known = [*self._app.records, *self._app.records.aliases]
        found = _starting(known, start)
        if not found:
            skip = len(self._prefix) + 1
            found = [name[skip:] for name in _starting(known, f"{self._prefix}:{start}")]
        if len(found) <= MOST:
            return found
        ends = ((name, name.find(":", len(start))) for name in found)
        return list(dict.fromkeys(name[: end + 1] if end >= 0 else name for name, end in ends))[:MOST]


def _starting(words: Iterable[str], start: str, any_case: bool = False) -> list[str]:
    if any_case:
        return [word for word in words if word.upper().startswith(start.upper())]
    return [word for word in words if word.startswith(start)]


def _is_number(word: str) -> bool:
    return word[:1].isdigit() or word in ("nan", "inf")


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise CommandError(f"{word} is not a number of seconds, 0 to 86400")
    return seconds
