"""What ends a command with a list of mistakes: the command line knows it before anything else is loaded."""

from __future__ import annotations

from typing import ClassVar


class MistakesError(Exception):
    """Something that a user wrote cannot be used; ``errors`` holds one sentence for each mistake."""

    subject: ClassVar[str]
    """What cannot be used; ``{site}`` stands for the name of the site file."""
    status: ClassVar[int] = 2
    """Exit status of the command."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors
