"""The side of the console that has the terminal: it asks for lines, sends them to the server, and shows the answers.

Ctrl-C clears the line, or ends the command that runs; it never reaches the server. At a terminal refusals are shown
where answers are; a script has them on standard error.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import Final

from ioc.console.lines import Candidates, Lines, PlainLines
from ioc.console.session import QUIT
from ioc.console.wire import LONGEST, Message, decoded, encoded

_COLOURS: Final = ("", "\x1b[33m", "\x1b[31m", "\x1b[35m")
"""Of NO_ALARM, MINOR, MAJOR and INVALID, as alarm handlers have them."""

_END: Final = "\x1b[0m"


class Lost(Exception):
    """The server has ended the connection."""


class Console:
    """A console at one connection."""

    def __init__(self, sock: socket.socket, attached: bool) -> None:
        self._sock = sock
        self._rest = b""
        self._attached = attached
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._coloured = self.interactive and "NO_COLOR" not in os.environ
        self._lines: Lines | None = None

    def run(self) -> int:
        """Take commands until there are no more; return 1 when one failed and this is a script.

        Raises Lost when the server ends, and BrokenPipeError when the output is closed.
        """
        self._send({"hello": self.interactive})
        greeting = self._receive()
        prompt = str(greeting.get("hello", "> "))
        self._lines = _lines(self.interactive, prompt, self._candidates)
        if self.interactive:
            end = "quit leaves, the server goes on" if self._attached else "quit ends the server"
            print(f"{greeting.get('pvs', 0)} PVs are served. help lists the commands, {end}.", flush=True)
        failures = 0
        while (line := self._lines.next()) is not None and line.strip() not in QUIT:
            failures += not self._carry_out(line)
        return int(failures > 0 and not self.interactive)

    def _carry_out(self, line: str) -> bool:
        """Have the server carry out a command, and show what it says; return whether it succeeded."""
        self._send({"line": line})
        while True:
            try:
                message = self._receive()
                if "done" in message:
                    return bool(message["done"])
                self._show(message)
            except KeyboardInterrupt:
                if not self.interactive:
                    raise
                print(flush=True)
                self._send({"cancel": True})

    def _show(self, message: Message) -> None:
        for text, severity in message.get("out", ()):
            colour = _COLOURS[severity] if self._coloured else ""
            print(f"{colour}{text}{_END}" if colour else text, flush=True)
        if "err" in message:
            print(message["err"], file=sys.stdout if self.interactive else sys.stderr, flush=True)
        if "ask" in message:
            assert self._lines is not None
            self._send({"answer": self._lines.ask(str(message["ask"]))})

    def _candidates(self, line: str) -> list[str]:
        """Ask what may stand in place of the last word of a line."""
        with suppress(Lost):  # the next command says so
            self._send({"complete": line})
            return [str(word) for word in self._receive().get("candidates", ())]
        return []

    def _send(self, message: Message) -> None:
        try:
            self._sock.sendall(encoded(message))
        except OSError as error:
            raise Lost from error

    def _receive(self) -> Message:
        while b"\n" not in self._rest:
            try:
                data = self._sock.recv(LONGEST)
            except OSError as error:
                raise Lost from error
            if not data:
                raise Lost
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return decoded(line)


def _lines(interactive: bool, prompt: str, candidates: Candidates) -> Lines:
    if not interactive:
        return Lines()
    try:
        from ioc.console.editor import EditedLines  # noqa: PLC0415  of an extra that may be missing
    except ImportError:
        return PlainLines(prompt, candidates)
    return EditedLines(prompt, candidates)
