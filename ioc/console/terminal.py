"""Lines in and out of the console: a terminal with line editing, or commands from a pipe or a file.

Reading a line waits for a person, and writing one may wait too (Ctrl-S, a pager): both happen on threads of their own,
so that the server never waits with them. The threads end with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import termios
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TextIO

WORD_ENDS = " \t="
"""What ends a word that is completed; a colon does not, PV names have them."""


class Terminal(Protocol):
    """What a console session needs of the outside."""

    @property
    def interactive(self) -> bool:
        """Whether a person is there to be asked."""

    async def ask(self, prompt: str) -> str | None:
        """Show a prompt and return the next line without its end; None when there are no more."""

    async def say(self, text: str) -> None:
        """Write lines to standard output. Raises BrokenPipeError when nobody reads them any more."""

    async def complain(self, text: str) -> None:
        """Write lines to standard error."""


class Worker:
    """A thread that does one blocking thing after the other; it is left behind when the process ends."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def do(self, job: Callable[[], Any]) -> Any:
        """Return what the job returns, or raise what it raises; giving up does not stop a job that has begun."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def perform() -> None:
            try:
                result, error = job(), None
            except Exception as trouble:
                result, error = None, trouble
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody wants to know any more
                loop.call_soon_threadsafe(_settle, done, result, error)

        self._jobs.put(perform)
        return await done

    def end(self) -> None:
        """End the thread after the jobs that it has."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _settle(done: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if not done.done():
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)


class StandardStreams:
    """The terminal of this process; where standard input or output is none, plain lines without prompts.

    ``words`` are what the Tab key completes.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._reader, self._writer = Worker("console input"), Worker("console output")
        self._rest = b""
        self._mode: list[Any] | None = None
        if self.interactive:
            self._mode = termios.tcgetattr(sys.stdin.fileno())
            _prepare_editing(sorted(words))

    def close(self) -> None:
        """Give the terminal back as it was, even while a line is being edited."""
        if self._mode is not None:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._mode)
        self._reader.end()
        self._writer.end()

    async def ask(self, prompt: str) -> str | None:
        """Show a prompt and return the next line without its end; None when there are no more."""
        line: str | None = await self._reader.do(lambda: _edited(prompt) if self.interactive else self._next_line())
        return line

    async def say(self, text: str) -> None:
        """Write lines to standard output. Raises BrokenPipeError when nobody reads them any more."""
        await self._writer.do(lambda: _print(text, sys.stdout))

    async def complain(self, text: str) -> None:
        """Write lines to standard error."""
        await self._writer.do(lambda: _print(text, sys.stderr))

    def _next_line(self) -> str | None:
        """Read a line past ``sys.stdin``, whose lock would hold up the end of the process."""
        while b"\n" not in self._rest:
            data = os.read(0, 4096)
            if not data:
                last, self._rest = self._rest, b""
                return last.decode("utf-8", "replace") if last else None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")


def _print(text: str, stream: TextIO) -> None:
    print(text, file=stream, flush=True)


def _edited(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        print(flush=True)
        return None


def _prepare_editing(words: Sequence[str]) -> None:
    import readline  # noqa: PLC0415 - only here, since it changes how this process reads its terminal

    def complete(start: str, number: int) -> str | None:
        return next(
            (word for place, word in enumerate(w for w in words if w.startswith(start)) if place == number), None
        )

    readline.set_completer_delims(WORD_ENDS)
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
