"""Questions at a terminal: with prompt-toolkit, where it is installed, answers are completed and can be edited."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping


class Questions:
    """Asks at the terminal of this process. ``possible`` says that there is one."""

    def __init__(self) -> None:
        self.possible = sys.stdin.isatty() and sys.stdout.isatty()

    def ask(
        self, question: str, default: str = "", words: Iterable[str] = (), check: Callable[[str], str] = lambda _: ""
    ) -> str:
        """Return an answer, or the default when there was none or no more can come.

        ``check`` returns what is wrong with an answer, which is then asked for again. Raises KeyboardInterrupt.
        """
        while True:
            try:
                answer = _line(f"{question}{f' [{default}]' if default else ''}: ", list(words)).strip() or default
            except EOFError:
                print()
                return default
            mistake = check(answer)
            if not mistake:
                return answer
            print(f"  {mistake}")

    def choose(self, question: str, choices: Mapping[str, str], end: str, free: bool = False) -> str:
        """Return one of the choices, given by its number or as it is written; empty for the ``end`` of the questions.

        ``choices`` have a few words about each; with ``free`` any other answer is taken too.
        """
        for number, (choice, about) in enumerate(choices.items(), 1):
            print(f"  {number}  {choice}{f'  {about}' if about else ''}")

        def chosen(answer: str) -> str:
            numbered = answer.isdecimal() and 1 <= int(answer) <= len(choices)
            return list(choices)[int(answer) - 1] if numbered else answer

        def mistake(answer: str) -> str:
            good = free or chosen(answer) in choices or not answer
            return "" if good else f"found {answer!r}, allowed: a number, {', '.join(choices)}, or nothing"

        return chosen(self.ask(f"{question} (Enter: {end})", "", choices, mistake))


def _line(prompt: str, words: list[str]) -> str:
    """Return a line of the terminal. Raises EOFError and KeyboardInterrupt."""
    try:
        from prompt_toolkit import prompt as ask  # noqa: PLC0415  an extra, and it takes long to import
        from prompt_toolkit.completion import WordCompleter  # noqa: PLC0415
    except ImportError:
        return input(prompt)
    completer = WordCompleter(words, sentence=True)
    return ask(prompt, completer=completer, reserve_space_for_menu=min(len(words), 4))
