"""Where the console has its lines from: a script, or a person at a terminal with the line editing of Python."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from devices.rules.state_file import default_folder

Candidates = Callable[[str], list[str]]
"""Returns what may stand in place of the last word of an unfinished line."""

HISTORY_LINES: Final = 1000
WORD_ENDS: Final = " \t"
"""What ends a word that is completed; a colon does not, PV names have them."""


class Lines:
    """A source of commands: a pipe or a file, without prompts and questions."""

    def next(self) -> str | None:
        """Return the next command; None when there are no more."""
        line = sys.stdin.readline()
        return line.rstrip("\r\n") if line else None

    def ask(self, question: str) -> str:
        """Ask a question; empty without an answer: a script has to know what it does."""
        return ""


class PlainLines(Lines):
    """A terminal with the line editing of Python's ``input``: Tab, and earlier lines."""

    def __init__(self, prompt: str, candidates: Candidates) -> None:
        import readline  # noqa: PLC0415 - only here, since it changes how this process reads its terminal

        self._prompt = prompt
        self._candidates = candidates
        self._found: list[str] = []
        self._readline = readline
        with suppress(OSError):
            readline.read_history_file(history_file())
        readline.set_history_length(HISTORY_LINES)
        readline.set_completer_delims(WORD_ENDS)
        readline.set_completer(self._complete)
        readline.parse_and_bind("tab: complete")

    def next(self) -> str | None:
        """Return the next line; Ctrl-C begins it anew, Ctrl-D ends."""
        while True:
            try:
                line = input(self._prompt)
            except KeyboardInterrupt:
                print(flush=True)
                continue
            except EOFError:
                print(flush=True)
                return None
            self._keep()
            return line

    def ask(self, question: str) -> str:
        """Ask a question; Ctrl-C and Ctrl-D are no answer."""
        try:
            return input(question)
        except (KeyboardInterrupt, EOFError):
            print(flush=True)
            return ""

    def _complete(self, start: str, number: int) -> str | None:
        if number == 0:
            self._found = self._candidates(self._readline.get_line_buffer()[: self._readline.get_endidx()])
        return self._found[number] if number < len(self._found) else None

    def _keep(self) -> None:
        with suppress(OSError):
            history_file().parent.mkdir(parents=True, exist_ok=True)
            self._readline.write_history_file(history_file())


def history_file() -> Path:
    """Return where the earlier lines of this user are kept."""
    return default_folder() / "console-history"
