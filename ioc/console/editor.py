"""Lines of a terminal with prompt_toolkit: a menu of completions, search in earlier lines, suggestions."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from ioc.console.lines import Candidates, Lines, history_file


class EditedLines(Lines):
    """A terminal with line editing; ``candidates`` completes the last word of a line."""

    def __init__(self, prompt: str, candidates: Candidates) -> None:
        self._prompt = prompt
        self._session: PromptSession[str] = PromptSession(
            history=_history(),
            completer=_Completer(candidates),
            complete_while_typing=False,
            auto_suggest=AutoSuggestFromHistory(),
        )
        self._questions: PromptSession[str] = PromptSession(history=InMemoryHistory())

    def next(self) -> str | None:
        """Return the next line; Ctrl-C begins it anew, Ctrl-D ends."""
        while True:
            with suppress(KeyboardInterrupt):
                try:
                    return self._session.prompt(self._prompt)
                except EOFError:
                    return None

    def ask(self, question: str) -> str:
        """Ask a question; Ctrl-C and Ctrl-D are no answer."""
        try:
            return self._questions.prompt(question)
        except (KeyboardInterrupt, EOFError):
            return ""


class _Completer(Completer):
    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield what may stand in place of the word before the cursor."""
        line = document.text_before_cursor
        start = -len(line.rpartition(" ")[2])
        yield from (Completion(word, start_position=start) for word in self._candidates(line))


def _history() -> History:
    try:
        history_file().parent.mkdir(parents=True, exist_ok=True)
        history_file().touch()
    except OSError:
        return InMemoryHistory()
    return FileHistory(history_file())
