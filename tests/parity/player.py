"""Plays a scenario on one server and writes down everything that a client can see.

The transcript is text, one fact a line, so that two of them are compared like files. After each put a fence is put
too and its monitor awaited: what the put caused has then arrived, without waiting for a time.
"""

from __future__ import annotations

import math

from tests import dbr
from tests.libca import CaError, Channel, Context, Reply, Subscription
from tests.parity.dbd import fields

MASKS = {
    "V": dbr.DBE_VALUE,
    "L": dbr.DBE_LOG,
    "A": dbr.DBE_ALARM,
    "P": dbr.DBE_PROPERTY,
    "VA": dbr.DBE_VALUE | dbr.DBE_ALARM,
    "VLAP": 15,
}
STATE = ("STAT", "SEVR", "AMSG", "NSTA", "NSEV", "ACKS", "ACKT", "UDF", "LALM", "ALST", "MLST")


def shown(value: object) -> str:
    """A value, with one spelling of NaN."""
    return "nan" if isinstance(value, float) and math.isnan(value) else repr(value)


def elements(channel: Channel, reply: Reply) -> str:
    """The value; of an array up to the last element that is not 0, because labioc serves its full length."""
    value = reply.value
    if channel.element_count == 1:
        return shown(value)
    left = list(value) if isinstance(value, tuple) else [value]
    while left and not left[-1]:
        left.pop()
    return f"[{', '.join(map(shown, left))}]"


class Player:
    """One scenario on one server; ``prefix`` selects its own set of records."""

    def __init__(self, context: Context, prefix: str) -> None:
        self.context, self.prefix = context, prefix
        self.log: list[str] = []
        self._channels: dict[str, Channel] = {}
        self._watches: list[tuple[str, Subscription, int]] = []
        self._stamps: dict[str, float] = {}
        self._states: dict[str, dict[str, Channel]] = {}
        self._fence = 0
        self._fences = self.channel("FENCE").monitor(dbr.LONG)

    def channel(self, name: str) -> Channel:
        """The channel of a record or field, connected once."""
        if name not in self._channels:
            self._channels[name] = self.context.channel(self.prefix + name)
        return self._channels[name]

    def watch(self, name: str, *masks: str, dbr_type: int | None = None) -> None:
        """Subscribe with each of the masks (all when none is named)."""
        for mask in masks or MASKS:
            subscription = self.channel(name).monitor(dbr_type, mask=MASKS[mask])
            subscription.wait(1)
            self._watches.append((f"{name} {mask}", subscription, 0))
        self.settle()

    def unwatch(self) -> None:
        """Cancel all subscriptions."""
        for _, subscription, _ in self._watches:
            subscription.clear()
        self._watches.clear()

    def put(self, name: str, *values: object, dbr_type: int | None = None) -> None:
        """Put values one after the other, each with completion, and write down what follows."""
        for value in values:
            try:
                code = self.channel(name).put_callback(value, dbr_type)
            except CaError as error:  # the library itself refuses: no write access, too many elements
                code = error.code
            of_type = "" if dbr_type is None else f" as DBR {dbr_type}"
            self.log.append(f"put {name} {shown(value)}{of_type}: ECA {code}")
            self.settle()

    def drive(self, name: str, *values: object, dbr_type: int | None = None) -> None:
        """As put, with the state of the record after each."""
        for value in values:
            self.put(name, value, dbr_type=dbr_type)
            self.state(name.split(".", maxsplit=1)[0])

    def settle(self) -> None:
        """Wait until everything that was caused so far has arrived, and write it down."""
        self._fence += 1
        fence = self.channel("FENCE")
        if fence.put_callback(self._fence, dbr.LONG) != 1:
            raise AssertionError("the fence cannot be put")
        self._fences.wait_value(self._fence)
        for index, (label, subscription, seen) in enumerate(self._watches):
            events = list(subscription.events)
            self.log += [
                f"  event {label}: {self._event(label, subscription.channel, event)}" for event in events[seen:]
            ]
            self._watches[index] = (label, subscription, len(events))

    def _event(self, label: str, channel: Channel, event: Reply) -> str:
        if event.status != 1:
            return f"ECA {event.status}"
        facts = event.decoded
        parts = [elements(channel, event)]
        if facts.status is not None:
            parts.append(f"stat {facts.status} sevr {facts.severity}")
        if facts.stamp is not None:
            before = self._stamps.get(label)
            self._stamps[label] = facts.stamp
            if before is not None:
                parts.append("later" if facts.stamp > before else "same time")
        if facts.units is not None:
            parts.append(
                f"{facts.units} {facts.precision} {facts.display} {facts.alarm} {facts.control} {facts.strings}"
            )
        return ", ".join(parts)

    def state(self, record: str, *extra: str) -> None:
        """Write down the value and the alarm fields of a record, as text."""
        if record not in self._states:
            known = fields(str(self.channel(record).get(dbr.CLASS_NAME, 1).value))
            names = ["VAL", *(name for name in STATE if name in known)]
            channels = self.context.connect([f"{self.prefix}{record}.{name}" for name in names])
            self._states[record] = dict(zip(names, channels, strict=True))
        wanted = self._states[record] | {name: self.channel(f"{record}.{name}") for name in extra}
        answers = self.context.get_many([(channel, dbr.STRING, 1) for channel in wanted.values()])
        facts = " ".join(f"{name}={shown(answer.value)}" for name, answer in zip(wanted, answers, strict=True))
        self.log.append(f"  state {record}: {facts}")

    def get(self, name: str, dbr_type: int, count: int = 0) -> None:
        """Write down an answer to a get."""
        answer = self.channel(name).get_any(dbr_type, count)
        if answer.status != 1:
            self.log.append(f"get {name} as DBR {dbr_type} count {count}: ECA {answer.status}")
        else:
            self.log.append(f"get {name} as DBR {dbr_type} count {count}: {elements(self.channel(name), answer)}")

    def fields(self, record: str, names: tuple[str, ...]) -> None:
        """Write down fields as text."""
        for name in names:
            self.get(f"{record}.{name}", dbr.STRING, 1)
