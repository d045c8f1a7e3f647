"""Questions to an Iseg module: a request, the answers that belong to it, and the shortest way to ask for many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from devices.iseg.edcp.items import Index, Item
from devices.iseg.edcp.protocol import join_text, read, read_channels
from devices.links.can_frame import Frame
from devices.model import Value

if TYPE_CHECKING:
    from devices.iseg.link import ModuleLink

BLOCK = 16  # channels that one member mask reaches


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


class Many(Enum):
    """How this firmware wants to be asked for many channels at once."""

    ALL = "member mask 0, every channel"
    MASK = "explicit member mask, 16 channels at a time"
    SINGLE = "one by one"


def one(link: ModuleLink, item: Item, index: int | None = None, probe: bool = False) -> Question:
    """Return the question for one item of a module, a channel or a group."""
    frame = read(link.address, item, index, base=link.base)
    if item.index is Index.PART:
        return Question(frame, item.id, frozenset(), lambda parts: _text(parts) is not None, probe)
    wanted = 0 if item.index is Index.OFFSET and index is None else index
    return Question(frame, item.id, frozenset((wanted,)), probe=probe)


def several(link: ModuleLink, item: Item, channels: Collection[int], form: Many, count: int) -> list[Question]:
    """Return the questions for an item of channels of a module that has so many of them."""
    if form is Many.SINGLE:
        return [one(link, item, channel) for channel in sorted(channels)]
    if form is Many.ALL and (len(channels) * 2 > count or count > BLOCK):
        wanted: frozenset[int | None] = frozenset(range(count))
        return [Question(read_channels(link.address, item, base=link.base), item.many_id, wanted)]
    questions = []
    for offset in range(0, count, BLOCK):
        block = {channel for channel in channels if offset <= channel < offset + BLOCK}
        if block:
            members = sum(1 << channel - offset for channel in block)
            frame = read_channels(link.address, item, members, offset, base=link.base)
            questions.append(Question(frame, item.many_id, frozenset(block)))
    return questions


def by_channel(item: Item, question: Question) -> dict[int | None, Answer]:
    """Return the answers by channel, None for items of the module; a text of several frames as one."""
    if item.index is Index.CHANNEL or not question.answers:
        return question.answers
    if item.index is Index.PART:
        text = _text(question.answers)
        last = list(question.answers.values())[-1]
        return {} if text is None else {None: replace(last, value=text)}
    return {None: next(iter(question.answers.values()))}


def _text(parts: Mapping[int | None, Answer]) -> str | None:
    """Join the frames of a text in the order of their arrival; what their first byte means is not documented."""
    return join_text([str(part.value) for part in parts.values()])
