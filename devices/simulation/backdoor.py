"""The text port behind every simulated device: one command per line, one line back.

For demonstrations and for tests that run in another process: it puts a device into states that no client of the
wire could reach. ``help`` lists the commands. Loopback only, since it asks for no password.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from devices.simulation.ports import Listener

T = TypeVar("T")

Action = Callable[..., Awaitable[str | None] | str | None]
"""What a command does with its words; the answer is "ok" where it returns none."""


class TextDoor(Listener):
    """Listens on a port of its own; start it after the device, stop it before.

    ``commands`` are the names with their arguments, as one text for the help, and what they do. A ValueError that
    an action raises is an answer too.
    """

    def __init__(self, port: int, commands: Mapping[str, tuple[str, Action]]) -> None:
        super().__init__(self._execute_lines, port)
        self._commands = {"help": ("", self._help), **commands}

    async def execute(self, line: str) -> str:
        """Run one command and return its one-line answer, which starts with ``error`` when it went wrong."""
        name, *words = line.split() or [""]
        if name not in self._commands:
            return f"error: no command {name!r}; try help"
        usage, action = self._commands[name]
        if len(words) != len(usage.split()):
            return f"error: use {name} {usage}".rstrip()
        try:
            answer = action(*words)
            if answer is not None and not isinstance(answer, str):
                answer = await answer
            return "ok" if answer is None else answer
        except ValueError as error:
            return f"error: {error}; use {name} {usage}"

    async def _execute_lines(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ValueError):  # an endless line
            while line := await reader.readline():
                writer.write(f"{await self.execute(line.decode('utf-8', 'replace'))}\n".encode())
                await writer.drain()

    def _help(self) -> str:
        return "; ".join(f"{name} {usage}".rstrip() for name, (usage, _) in sorted(self._commands.items()))


def is_on(word: str) -> bool:
    """Read ``on`` or ``off``; raises ValueError."""
    if word not in ("on", "off"):
        raise ValueError(f"{word} is neither on nor off")
    return word == "on"


def finite(word: str) -> float:
    """Read a number; raises ValueError."""
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word} is not a finite number")
    return value


def positive(word: str) -> float:
    """Read a number that is not negative; raises ValueError."""
    value = finite(word)
    if value < 0:
        raise ValueError(f"{word} is negative")
    return value


def whole(most: int, what: str, word: str) -> int:
    """Read a whole number, 0 to ``most``; raises ValueError."""
    if not word.isdecimal() or int(word) > most:
        raise ValueError(f"{word} is not a {what} (0 to {most})")
    return int(word)


def channel_number(count: int, word: str) -> int:
    """Read the number of one of so many channels; raises ValueError."""
    if not word.isdecimal() or int(word) >= count:
        raise ValueError(f"no channel {word}, there are 0 to {count - 1}")
    return int(word)


def include(members: set[T], member: T, word: str) -> None:
    """Put something into a set, or take it out: ``on`` or ``off``; raises ValueError."""
    (members.add if is_on(word) else members.discard)(member)


def load_mohm(word: str) -> float:
    """Read a load in Mohm, infinite for none; raises ValueError."""
    value = float(word)
    if math.isnan(value) or value < 0:
        raise ValueError(f"{word} is not a load in Mohm (0 is a short, inf no load)")
    return value


def setting(target: Callable[..., object], attribute: str, convert: Callable[[str], object]) -> Action:
    """Return the action that sets an attribute to its last word; ``target`` takes the words before it."""

    def action(*words: str) -> None:
        value = convert(words[-1])
        setattr(target(*words[:-1]), attribute, value)

    return action


def switch(target: object, name: str) -> Action:
    """Return the action that sets an attribute to on or off."""
    return setting(lambda: target, name, is_on)
