"""What answers of a device mean, and what became of a setting that was demanded.

One bad answer is left out, a second one is INVALID, several in a row are a lost device.

Every family writes a setting alike, by ``apply``: look at the device, check, send once, read back, decide. The demand
ends in one of four ways: confirmed; refused, with the device as it was; taken otherwise, when the device has taken
another value; unknown, when it cannot be read back or gave no answer.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

from devices.errors import DeviceError, Garbled, LinkDown, OutOfLimits, Refused, ReplyTimeout, TakenOtherwise
from devices.model import Cause, DeviceSettings, Level, Limits, Reading, SiteLimits, Value, state_reading
from devices.permit import current

LOST_AFTER = 4
"""Exchanges in a row, whatever they are about, of which nothing could be read: more than one fast scan of a supply."""

LOST_AFTER_SCANS = 2
"""Fast scans in a row without any answer, where a scan is given up with its first question."""


class BadAnswers:
    """Counts the reads of each item that brought no usable answer, and the exchanges in a row that brought nothing.

    An item is whatever the driver asks for: a parameter, a register, a parameter of one channel.
    """

    def __init__(self) -> None:
        self.counts: dict[Hashable, int] = {}
        """Reads in a row that brought nothing usable, by item; items without one are not here."""
        self._in_a_row = 0

    def reset(self) -> None:
        """Begin anew, as after connecting."""
        self.counts.clear()
        self._in_a_row = 0

    def good(self, *items: Hashable) -> None:
        """Count a usable answer about each of these."""
        for item in items:
            self.counts.pop(item, None)

    def bad(self, *items: Hashable) -> None:
        """Count that each of these was asked for, and not learnt."""
        for item in items:
            self.counts[item] = self.counts.get(item, 0) + 1

    def missed(self, *items: Hashable) -> int:
        """Return how many reads in a row brought nothing usable of these, the largest number."""
        return max(map(self.counts.get, items, repeat(0)), default=0) if self.counts else 0

    @property
    def fruitless(self) -> bool:
        """Whether nothing of the last exchange was understood."""
        return self._in_a_row > 0

    def exchanged(self, understood: bool, last_error: str, lost_after: int = LOST_AFTER) -> None:
        """Count an exchange of which something, or nothing, was understood.

        Raises Garbled when nothing has been ``lost_after`` times in a row: the device is to be taken as lost.
        """
        self._in_a_row = 0 if understood else self._in_a_row + 1
        if self._in_a_row >= lost_after:
            raise Garbled(f"{self._in_a_row} unreadable answers in a row, {last_error}")


def instead(missed: int, now: float, value: Value | None = None) -> Reading | None:
    """Return what is shown after so many reads without a usable answer, at least one, in place of the last value.

    The first is left out; from the second on the reading is INVALID, with this ``value`` where one says "unknown".
    ``now`` is Unix time.
    """
    return None if missed == 1 else Reading(value, now, Level.INVALID, Cause.READ)


HALF = 0.5001
"""Share of a step up to which two values of a setting are the same."""

MISMATCH_POLLS = 2  # polls in a row that a read-back may differ from its demand: MINOR after them


def moved(demands: Mapping[str, Demand], prefix: str = "") -> list[str]:
    """Return the signals of demands that have changed by themselves and are to be shown."""
    return [prefix + name for name, demand in demands.items() if demand.moved]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a put asks of a setting; ``what`` is its name for people, ``device`` what they call the device.

    ``value`` is in ``unit``, and up to half a ``step`` is no difference; with ``labels`` it is the index of one.
    ``place`` is the prefix of its signal, for messages that come long after the put.
    """

    what: str
    value: float
    unit: str = ""
    step: float = 0.0
    labels: tuple[str, ...] = ()
    device: str = "device"
    place: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.text(self.value)}"

    def text(self, value: float) -> str:
        """Write a value of this setting as people read it."""
        if self.labels and value in range(len(self.labels)):
            return self.labels[int(value)]
        return f"{value:.10g} {self.unit}".rstrip()

    def same(self, one: float, other: float) -> bool:
        """Whether two values are the same to the device."""
        return abs(one - other) <= HALF * self.step


class Demand:
    """One setting: the demand is what was found first, then what users set.

    ``otherwise`` says that the demand is what the device has taken instead of what was asked for, until a user sets
    it again; ``moved`` that it has changed without a put that succeeded, and has not been shown since.
    """

    __slots__ = ("_differing", "_unknown", "moved", "otherwise", "value")

    def __init__(self) -> None:
        self.value: float | int | None = None
        self.otherwise = self.moved = False
        self._differing = 0  # polls in a row
        self._unknown: Asked | None = None

    @property
    def lasting(self) -> bool:
        """Whether the device differs from what was asked for: for more than two polls, or since it took otherwise."""
        return self.otherwise or self._differing > MISMATCH_POLLS

    def observe(self, found: float, step: float) -> Sequence[str]:
        """Take one reading of the setting; up to half a step is no difference.

        Returns a sentence for people when a write whose outcome was unknown has come true, nearly always none.
        """
        if self.value is None:
            self.value = found
        differs = abs(self.value - found) > HALF * step
        unknown = self._unknown
        if differs and unknown is not None:
            self.take(found)
            come_true = abs(found - unknown.value) <= HALF * step
            what = "has come true" if come_true else f"is now {unknown.text(found)}"
            return (f"{unknown.place.replace('.', ':')}{unknown}, whose outcome was unknown, {what}",)
        self._differing = self._differing + 1 if differs else 0
        return ()

    def accept(self, value: float) -> None:
        """Take the value that a user has set and the device has confirmed."""
        self.value, self.otherwise, self._unknown = value, False, None
        self.link_lost()

    def take(self, value: float) -> None:
        """Take what the device has instead of what was asked for; MINOR until a user sets it again."""
        self.value, self.otherwise, self.moved, self._unknown = value, True, True, None
        self.link_lost()

    @property
    def doubted(self) -> bool:
        """Whether there is a write whose outcome is unknown."""
        return self._unknown is not None

    def doubt(self, asked: Asked) -> None:
        """Remember a write whose outcome is unknown: it may come true later."""
        self._unknown = asked

    def link_lost(self) -> None:
        """Start counting again; the demand, and what is not known of it, stay."""
        self._differing = 0

    def reading(self, time: float) -> Reading | None:
        """Return the demand as a reading, None before it is known, and take it as shown."""
        if self.value is None:
            return None
        self.moved = False
        return state_reading(self.value, time, Level.MINOR if self.otherwise else Level.OK)


async def apply(
    asked: Asked,
    demand: Demand,
    look: Callable[[], Awaitable[float | None]],
    send: Callable[[], Awaitable[bool | None]],
    read_back: Callable[[], Awaitable[float | None]],
) -> float:
    """Write a setting once and return what the device has then, which is what was asked for.

    ``look`` reads what the device has now, with whatever the write depends on, and checks that. ``send`` sends one
    request and returns whether it was acknowledged (None where nothing ever is), or raises LinkDown when nothing could
    be sent. ``read_back`` reads the setting again.

    Raises Refused, or LinkDown, when nothing was sent; Refused when the device has refused or keeps what it had,
    TakenOtherwise when it took something else, and ReplyTimeout when the outcome is unknown.
    """
    try:
        before = await look()
    except Refused:
        raise
    except DeviceError as error:
        raise LinkDown(f"{asked.what}: nothing was sent, since it cannot be read: {error}") from error
    try:
        answered = await send()
    except ReplyTimeout:
        demand.doubt(asked)
        raise
    try:
        found = await read_back()
    except DeviceError as error:
        demand.doubt(asked)
        if isinstance(error, ReplyTimeout):
            raise
        raise ReplyTimeout(f"{asked.what}: outcome unknown, cannot be read back: {error}") from error
    return decide(asked, demand, before, found, answered)


def decide(
    asked: Asked, demand: Demand, before: float | None, found: float | None, answered: bool | None, reason: str = ""
) -> float:
    """Judge a write by what was there before and what is found after it; see ``apply``.

    ``reason`` is what the device says about it, behind a comma.
    """
    if found is not None and asked.same(found, asked.value):
        demand.accept(found)
        return found
    if answered is False:
        demand.doubt(asked)
    answer = {True: "answered OK but ", False: "gave no answer and ", None: ""}[answered]
    shown = "nothing" if found is None else asked.text(found)
    kept = found is None or (before is not None and asked.same(found, before))
    if kept or current().ended:  # what has overtaken this write may be what is found
        raise Refused(f"{asked}: the {asked.device} {answer}reads back {shown}{reason}")
    assert found is not None
    demand.take(found)
    raise TakenOtherwise(f"{asked.what}: the {asked.device} took {shown} instead of {asked.text(asked.value)}{reason}")


def number_asked(what: str, value: Value) -> float:
    """Return a demanded number; raises OutOfLimits for what is none."""
    if isinstance(value, (str, tuple)) or not math.isfinite(value):
        raise OutOfLimits(f"{what}: {value!r} is not a number")
    return float(value)


def choice_asked(what: str, value: Value, labels: tuple[str, ...]) -> int:
    """Return a demanded choice as its index; raises OutOfLimits for what is none."""
    if isinstance(value, (str, tuple)) or value not in range(len(labels)):
        raise OutOfLimits(f"{what}: {value!r} is none of {', '.join(labels)}")
    return int(value)


def tightened(limits: Limits, sites: Iterable[SiteLimits], suffix: str, whose: str = "site limit") -> Limits:
    """Return the limits of a setting, each side that the site has tighter moved there; ``whose`` names the site."""
    for site in sites:
        if suffix in site:
            low, high = site[suffix]
            if low > limits.low:
                limits = replace(limits, low=low, low_from=whose)
            if high < limits.high:
                limits = replace(limits, high=high, high_from=whose)
    return limits


def check_writable(settings: DeviceSettings) -> None:
    """Raise Refused when the site file forbids writing to a device."""
    if settings.readonly:
        raise Refused("nothing is written to this device: the site file has readonly = true for it")


def check_limits(what: str, number: float, unit: str, limits: Limits) -> None:
    """Raise OutOfLimits with a sentence when a demanded number is outside the limits in force."""
    asked = f"{what} {number:.10g} {unit}".rstrip()
    if number > limits.high:
        raise OutOfLimits(f"{asked} is above {limits.high:.10g} {unit} ({limits.high_from})")
    if number < limits.low:
        raise OutOfLimits(f"{asked} is below {limits.low:.10g} {unit} ({limits.low_from})")
