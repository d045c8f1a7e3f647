"""The console of a running server: the same site, with a prompt in the terminal as iocsh has it in a C IOC.

A session takes one command after the other and never holds up the server. Whoever sits here is the user of the
operating system, and has the rights that the ``[access]`` section gives to that user.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from ioc.app import App, stop_signal
from ioc.console.devices import details, find_device, overview, raw_request
from ioc.console.pvs import CommandError, Watch, all_fields, find, local_context, names, put, value_line
from ioc.console.terminal import StandardStreams, Terminal
from ioc.records import PutRefused
from ioc.services.state import state_folder
from ioc.site.config import Site

log = logging.getLogger("labioc.console")

READ_SECONDS = 3.0
"""How long the devices may take to be read before the first command is taken."""

QUIT = ("quit", "exit")


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its arguments, what it does, how many words it takes, and the method."""

    usage: str
    about: str
    least: int
    most: int
    run: Callable[[list[str]], Awaitable[None]]


class Session:
    """Takes commands from a terminal until there are no more, or ``quit``; ``failures`` counts those that failed."""

    def __init__(self, app: App, terminal: Terminal) -> None:
        self.failures = 0
        self._app = app
        self._terminal = terminal
        self._context = local_context()
        self._commands = {
            "help": Command("[COMMAND]", "list the commands", 0, 1, self._help),
            "dbl": Command("[PATTERN]", "list PVs; PATTERN may have * and ?", 0, 1, self._list),
            "dbpr": Command("PV", "print all fields of a record", 1, 1, self._print),
            "get": Command("PV[.FIELD]", "show a value, its time and its alarm", 1, 1, self._get),
            "put": Command("PV[.FIELD] VALUE", "set a value and wait until it is applied", 2, 99, self._put),
            "watch": Command("PV [SECONDS]", "show changes until Enter, or for so many seconds", 1, 2, self._watch),
            "devices": Command("[DEVICE]", "state of the devices, or all about one, with limits", 0, 1, self._devices),
            "raw": Command("DEVICE ITEM... [= VALUE]", "read or write past the PVs (experts)", 1, 99, self._raw),
            "quit": Command("", "end the server; Ctrl-D or exit do the same", 0, 0, self._nothing),
        }

    async def run(self) -> None:
        """Take commands. Raises BrokenPipeError when nobody reads the answers any more."""
        if self._terminal.interactive:
            count = len(self._app.records)
            await self._terminal.say(f"Serving {count} PVs. help lists the commands, quit ends the server.")
        while True:
            line = await self._terminal.ask(f"{self._app.site.prefix}> ")
            if line is None or line.strip() in QUIT:
                return
            await self.take(line)

    async def take(self, line: str) -> None:
        """Carry out one command; what goes wrong is told in a sentence."""
        if not line.strip() or line.lstrip().startswith("#"):
            return
        try:
            await self._carry_out(line)
        except (CommandError, PutRefused) as error:
            self.failures += 1
            await self._terminal.complain(f"{error}")
        except BrokenPipeError:
            raise
        except Exception as error:
            self.failures += 1
            log.exception("console: %s", line)
            await self._terminal.complain(f"internal error: {type(error).__name__}: {error}")

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

    # ---- commands

    async def _help(self, words: list[str]) -> None:
        if words and words[0] not in self._commands:
            raise CommandError(f"{words[0]} is not a command; help lists them")
        for name in words or self._commands:
            command = self._commands[name]
            await self._terminal.say(f"{name + ' ' + command.usage:<32}{command.about}")

    async def _list(self, words: list[str]) -> None:
        found = list(names(self._app.records, words[0] if words else "*"))
        if not found:
            raise CommandError(f"no PV matches {words[0]}" if words else "there are no PVs")
        await self._terminal.say("\n".join(found))

    async def _print(self, words: list[str]) -> None:
        await self._terminal.say("\n".join(all_fields(find(self._app.records, words[0]).record)))

    async def _get(self, words: list[str]) -> None:
        await self._terminal.say(value_line(find(self._app.records, words[0])))

    async def _put(self, words: list[str]) -> None:
        target = find(self._app.records, words[0])
        await put(target, " ".join(words[1:]), self._app.policy, self._context)
        await self._terminal.say(value_line(target))

    async def _watch(self, words: list[str]) -> None:
        target = find(self._app.records, words[0])
        seconds = _seconds(words[1]) if len(words) == 2 else None
        with Watch(target) as watch:
            show = asyncio.create_task(self._show(watch), name="watch")
            try:
                if seconds is None:
                    end = asyncio.create_task(self._terminal.ask(""), name="end of watch")
                    await asyncio.wait({show, end}, return_when=asyncio.FIRST_COMPLETED)
                    end.cancel()
                else:
                    await asyncio.wait({show}, timeout=seconds)
            finally:
                show.cancel()
                with suppress(asyncio.CancelledError):
                    await show

    async def _show(self, watch: Watch) -> None:
        while True:
            await self._terminal.say(await watch.line())

    async def _devices(self, words: list[str]) -> None:
        scanners = self._app.scanners
        lines = details(find_device(scanners, words[0])) if words else overview(scanners)
        await self._terminal.say("\n".join(lines))

    async def _raw(self, words: list[str]) -> None:
        scanner = find_device(self._app.scanners, words[0])
        request = raw_request(scanner, words[1:])
        if request.value is None:
            lines = await self._app.puts.read_raw(scanner.name, request)
        else:
            denied = self._app.policy.may_write_raw(self._context)
            if denied is None and not await self._confirmed(f"{scanner.name}: {request.what}", request.value):
                raise CommandError("nothing was written")
            lines = await self._app.puts.write_raw(scanner.name, request, self._context, denied)
        await self._terminal.say("\n".join(lines))

    async def _confirmed(self, what: str, value: str) -> bool:
        """Ask whoever is there; a script has to know what it does."""
        if not self._terminal.interactive:
            return True
        answer = await self._terminal.ask(f"{what}: write {value or 'this command'}? [y/N] ")
        return (answer or "").strip().lower() in ("y", "yes")

    async def _nothing(self, words: list[str]) -> None:
        """Stand for what ends the session before it gets here."""


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise CommandError(f"{word} is not a number of seconds, 0 to 86400")
    return seconds


async def run(site: Site, port: int | None = None) -> int:
    """Serve a site with a prompt until the session ends, or SIGINT or SIGTERM; return the exit status.

    In a script a command that failed makes it 1. Raises OSError or DatabaseError when the site can't be served.
    """
    stop = stop_signal()
    app = App(site, port, folder=state_folder(site))
    terminal = None
    try:
        await app.start()
        terminal = StandardStreams([*app.records, *app.records.aliases])
        session = Session(app, terminal)
        await _until(stop, app.wait_until_read(READ_SECONDS))
        await _until(stop, session.run())
        return int(session.failures > 0 and not terminal.interactive)
    finally:
        if terminal is not None:
            terminal.close()
        await app.stop()


async def _until(stop: asyncio.Event, work: Awaitable[object]) -> None:
    """Do some work, but no longer than until ``stop``; raises what it raises."""
    tasks = {asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()
