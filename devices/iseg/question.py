"""Questions to an Iseg module: a request, the answers that belong to it, and those that are asked together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from devices.links.can_frame import Frame
from devices.model import Value


@dataclass(frozen=True, slots=True)
class Answer:
    """One value and the Unix time at which it arrived; ``order`` is the monotonic one, which never goes back."""

    value: Value
    time: float
    order: float = 0.0


@dataclass(eq=False, slots=True)
class Question:
    """One request and what has come back.

    ``wanted`` are the channels (or offsets, or None) that the answers will carry; when it is empty, answers are
    taken until ``complete`` says so. A ``probe`` asks for what this firmware may not know: silence is no error.
    ``answers`` keeps the order of arrival; ``bad`` holds whose value made no sense.
    """

    frame: Frame
    data_id: int
    wanted: frozenset[int | None] = frozenset((None,))
    complete: Callable[[Mapping[int | None, Answer]], bool] | None = None
    probe: bool = False
    answers: dict[int | None, Answer] = field(default_factory=dict)
    bad: set[int | None] = field(default_factory=set)
    tries: int = 0
    begun: float = 0.0  # monotonic time of the first try
    sent: float = 0.0  # of the last one
    received: float = 0.0  # of the last answer to it
    overtaken: bool = False
    timer: asyncio.TimerHandle | None = None

    @property
    def done(self) -> bool:
        """Whether everything asked for has come."""
        if self.complete is not None:
            return self.complete(self.answers)
        return all(index in self.answers or index in self.bad for index in self.wanted)

    @property
    def missing(self) -> set[int | None]:
        """Those that have not come, or made no sense."""
        return set(self.wanted - self.answers.keys())


class Batch:
    """The questions of one caller; ``over`` is set when each of them is answered or given up."""

    def __init__(self, questions: Collection[Question], over: asyncio.Future[None]) -> None:
        self.open = set(questions)
        self.over = over

    def settle(self, question: Question) -> None:
        """Note that a question is over."""
        self.open.discard(question)
        if not self.open and not self.over.done():
            self.over.set_result(None)

    def fail(self, error: Exception) -> None:
        """End the batch with an error, unless it is over."""
        if not self.over.done():
            self.over.set_exception(error)
