"""A console whose terminal is scripted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ioc.console.pvs import Line
from ioc.console.session import Session
from ioc.records import PutContext

USER = PutContext("karl", "labpc", ("127.0.0.1", 0), callback=True)


class ScriptedTerminal:
    """Answers every question alike, and keeps what was shown."""

    def __init__(self, answer: str = "", interactive: bool = False) -> None:
        self.interactive = interactive
        self.answer = answer
        self.questions: list[str] = []
        self.shown: list[str] = []
        self.severities: list[int] = []
        self.complaints: list[str] = []
        self.gone = False

    async def ask(self, question: str) -> str:
        self.questions.append(question)
        return self.answer

    async def show(self, lines: Iterable[Line]) -> None:
        if self.gone:
            raise BrokenPipeError
        for line in lines:
            self.shown.append(line.text)
            self.severities.append(line.severity)

    async def complain(self, text: str) -> None:
        self.complaints.append(text)


async def carry_out(app: Any, *lines: str) -> ScriptedTerminal:
    terminal = ScriptedTerminal()
    session = Session(app, terminal, USER)
    for line in lines:
        failed = len(terminal.complaints)
        assert await session.take(line) == (len(terminal.complaints) == failed)
    return terminal
