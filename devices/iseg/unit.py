"""An Iseg module as a table of EDCP items: what it is, what its firmware can do, how to read with the fewest frames.

Between the protocol (frames) and the driver (meaning). Every value read is kept here with the time of its answer. What
the firmware does not know it leaves unanswered: such an item is asked for twice, then no more.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from devices.errors import Garbled, ReplyTimeout
from devices.iseg.catalogue import LIVE
from devices.iseg.edcp.bits import ModuleControl
from devices.iseg.edcp.items import BY_NAME, Index, Item, Scope, Type
from devices.iseg.edcp.protocol import write
from devices.iseg.link import ModuleLink
from devices.iseg.question import BLOCK, Answer, Many, Question, by_channel, one, several
from devices.model import Value
from devices.rules.settings import BadAnswers

log = logging.getLogger("labioc.iseg")

MOST_CHANNELS = 64
FEW = 3  # channels below which single reads cost no more than one read of many
GIVE_UP = 2  # reads without any answer after which an item counts as unknown to the firmware
IDENTITY = ("SerialNumber", "FirmwareRelease", "FirmwareName")
"""What tells one module from another; asked for first at each connection."""

DESCRIPTION = ("ChannelNumber", "ModuleOption", "ArticleDescription", "VoltageMax", "CurrentMax")
NOMINALS = ("VoltageNominal", "CurrentNominal")
POLARITY = "OutputPolarity"
OPTIONAL = ("VoltageRampSpeedUp", "VoltageRampSpeedDown", POLARITY)
"""Channel items that only some boards have; channel 0 is asked whether they are there."""

CONSTANT = frozenset((*IDENTITY, *DESCRIPTION, *NOMINALS, *OPTIONAL))
"""What is taken over from the last connection to the same module until it has been read again."""

GROUPS = range(32)
COPIED = {"VoltageSet": 1, "CurrentSet": 2, "ChannelControl": 10}
"""What a set group may copy from its master to its members, by the number in its type (EDCP guide)."""

VOLTS = (1.0, 1e5)
"""Nominal voltages that exist, in V; what is outside was not understood."""

TINY = 1e-30
"""No reading but 0 is smaller; numbers of the other byte order often are."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one batch reads: items of the module, and items of channels with the channels they are needed of."""

    module: tuple[Item, ...] = ()
    channels: Mapping[Item, frozenset[int]] | None = None


class IsegUnit:
    """The items of one module; ``configured`` is the number of channels that the site file expects.

    All methods that talk raise LinkDown and ReplyTimeout.
    """

    def __init__(self, link: ModuleLink, configured: int) -> None:
        self.link = link
        self.channels = 0
        self.many = Many.SINGLE
        self.unsupported: set[str] = set()
        self.cells: dict[tuple[str, int | None], Answer] = {}
        self.assumed: set[tuple[str, int | None]] = set()
        """Cells that are those of the last connection."""
        self.revision = 0
        """Grows with every change of anything but what each scan measures."""
        self.answers = BadAnswers()
        self.groups: dict[int, tuple[frozenset[int], int]] = {}
        """Variable groups that have members: these, and the type of the group."""
        self._with_groups: set[int] = set()  # groups that this firmware has
        self._configured = configured
        self._one_by_one: set[str] = set()  # items that are not answered for many channels at once
        self._silent: dict[str, int] = {}
        self._known: set[str] = set()
        self._last_identity: tuple[Value | None, ...] = ()

    def value(self, item: str, channel: int | None = None) -> Value | None:
        """Return the last value of an item, None when it has not been read in this connection."""
        cell = self.cells.get((item, channel))
        return None if cell is None else cell.value

    def number(self, item: str, channel: int | None = None) -> float | None:
        """Return the last value of a numeric item."""
        cell = self.cells.get((item, channel))
        return float(cell.value) if cell is not None and isinstance(cell.value, int | float) else None

    def word(self, item: str, channel: int | None = None) -> int:
        """Return the last value of a status or event word, 0 when it has not been read."""
        return int(self.number(item, channel) or 0)

    def settled(self, item: str, channel: int | None) -> bool:
        """Whether an item has been read in this connection."""
        return (item, channel) in self.cells and (item, channel) not in self.assumed

    def missed(self, item: str, channel: int | None) -> int:
        """Return how many reads in a row brought no usable answer."""
        return self.answers.missed((item, channel))

    # After connecting

    async def identify(self) -> bool:
        """Learn what the module is, and what it can do unless it is the one of the last connection.

        Returns whether it is that one, for which ``learn`` does the rest. Raises Garbled when it makes no sense.
        """
        before, self.cells = self.cells, {}
        self.revision += 1
        self.assumed.clear()
        self.answers.reset()
        await self.read_back(BY_NAME["ModuleStatus"])
        await self.check_byte_order()
        await self._probe(IDENTITY)
        identity = tuple(self.value(name) for name in IDENTITY)
        if identity == self._last_identity and identity[0] is not None:
            kept = {key: cell for key, cell in before.items() if key[0] in CONSTANT and key not in self.cells}
            self.cells |= kept
            self.assumed |= kept.keys()
            self.revision += 1
            return True
        for memory in (self.unsupported, self._one_by_one, self._known, self._with_groups, self.groups):
            memory.clear()  # what it could not do is known of that very module only
        self._silent.clear()
        self.channels, self.many = 0, Many.SINGLE
        await self._probe(DESCRIPTION)
        self.channels = self._count_channels()
        await self._find_many()
        await self._probe(OPTIONAL)
        await self.read(Wanted(channels=dict.fromkeys((BY_NAME[name] for name in (*NOMINALS, POLARITY)), self.every)))
        if not any(self.value("VoltageNominal", channel) for channel in self.every):
            raise Garbled(f"{self.link}: does not report its nominal voltage")
        await self._find_groups()
        self._last_identity = identity
        return False

    async def learn(self) -> AsyncIterator[str]:
        """Ask once more for what had no answer at an earlier connection; yield each item that has one now.

        An answer may just have been lost then. One request at a time, so that scans go on meanwhile.
        """
        for name in sorted(self.unsupported):
            await self._probe([name])
            if name not in self.unsupported:
                yield name
        for name in sorted(self._one_by_one):
            if await self._answers_many(BY_NAME[name], self.many):
                self._one_by_one.discard(name)
        await self._find_many()
        await self._find_groups()

    async def _find_groups(self) -> None:
        if await self._read_groups((0,)):
            await self._read_groups(GROUPS[1:])

    async def look_at_groups(self) -> bool:
        """Read the variable groups of this firmware again; return whether each has answered."""
        await self.link.get_in_step({BY_NAME["VariableGroup"].id})
        return self._with_groups <= await self._read_groups(self._with_groups)

    async def _read_groups(self, numbers: Iterable[int]) -> set[int]:
        """Read variable groups, which few firmwares have; return those that have answered."""
        questions = {number: one(self.link, BY_NAME["VariableGroup"], number, probe=True) for number in numbers}
        await self.link.ask(list(questions.values()))
        answered = {number for number, question in questions.items() if number in question.answers}
        for number in answered:
            self.groups.pop(number, None)
            if isinstance(value := questions[number].answers[number].value, tuple):
                offset, mask, kind = map(int, value)
                if mask:
                    self.groups[number] = frozenset(offset + n for n in range(BLOCK) if mask >> n & 1), kind
        self._with_groups |= answered
        self.revision += 1
        return answered

    def followers(self, item: str, channel: int) -> frozenset[int]:
        """Return the other channels to which the module copies an item of this one, as set groups do."""
        found: set[int] = set()
        for members, kind in self.groups.values():
            if kind >> 14 == 0 and kind >> 4 & 0xF == COPIED.get(item) and kind & 0xF == channel:
                found |= members
        return frozenset(found & self.every) - {channel}

    @property
    def every(self) -> frozenset[int]:
        """Every channel that the module has and anybody wants to know about."""
        return frozenset(range(min(self.channels, self._configured)))

    async def _probe(self, names: Collection[str]) -> None:
        """Read what the firmware may not know, items of channels of channel 0 only."""
        unread = {BY_NAME[name]: 0 if BY_NAME[name].index is Index.CHANNEL else None for name in names}
        for _ in range(GIVE_UP):
            unread = {item: index for item, index in unread.items() if (item.name, index) not in self.cells}
            await self._ask({one(self.link, item, index): item for item, index in unread.items()}, defaultdict(set))
        for item, index in unread.items():
            if (item.name, index) not in self.cells and item.name not in self._known | self.unsupported:
                log.info("%s: its firmware does not know %s", self.link, item.name)
                self.unsupported.add(item.name)

    def _count_channels(self) -> int:
        number = self.value("ChannelNumber")
        if isinstance(number, int) and 1 <= number <= MOST_CHANNELS:
            return number
        # Some firmware does not answer; names carry the number, as in E08F2 (EDCP guide, list of device classes).
        match = re.match(r"[A-Z](\d\d)", str(self.value("FirmwareName") or ""))
        if match and 1 <= int(match[1]) <= MOST_CHANNELS:
            return int(match[1])
        log.info("%s: does not report its number of channels, taking %d", self.link, self._configured)
        return self._configured

    async def _find_many(self) -> None:
        """Find out whether many channels can be read with one request, or in a shorter way than so far."""
        for form in (Many.ALL, Many.MASK):
            if form is self.many:
                return
            if await self._answers_many(BY_NAME["ChannelStatus"], form):
                self.many = form
                break
        log.info("%s: channels are read by %s", self.link, self.many.value)

    async def _answers_many(self, item: Item, form: Many) -> bool:
        questions = [
            replace(question, probe=True) for question in several(self.link, item, self.every, form, self.channels)
        ]
        await self.link.ask(questions)
        return 2 * sum(len(question.answers) for question in questions) > len(self.every)

    # Reading

    async def read(self, wanted: Wanted) -> None:
        """Read a batch, everything under way at once, and keep what came."""
        of_module = [item for item in wanted.module if item.name not in self.unsupported]
        of_channels = {
            item: channels & self.every
            for item, channels in (wanted.channels or {}).items()
            if item.name not in self.unsupported and channels & self.every
        }
        fresh: dict[str, set[int | None]] = defaultdict(set)
        first = {one(self.link, item): item for item in of_module}
        for item, channels in of_channels.items():
            form = self.many if self._together(item, channels) else Many.SINGLE
            first |= dict.fromkeys(several(self.link, item, channels, form, self.channels), item)
        await self._ask(first, fresh)
        await self._fill_gaps(of_channels, fresh)
        for item in of_module:
            self._account(item, (None,), fresh[item.name])
        for item, channels in of_channels.items():
            self._account(item, channels, fresh[item.name])

    async def _ask(self, questions: Mapping[Question, Item], fresh: dict[str, set[int | None]]) -> None:
        for question, item in questions.items():
            question.probe = item.name not in self._known
        await self.link.ask([*questions])
        doubtful = False
        for question, item in questions.items():
            doubtful = doubtful or bool(question.bad)
            for index, answer in by_channel(item, question).items():
                if not self._plausible(item, index, answer.value):
                    doubtful = True
                    continue
                if item.name == "ModuleControl" and not _is_big_endian(answer.value):
                    doubtful = True
                # A put may have read it anew while the rest of this batch was on its way.
                cell = self.cells.get((item.name, index))
                if cell is None or cell.order <= answer.order:
                    value = decimal(answer.value)
                    self.revision += item.name not in LIVE and (cell is None or cell.value != value)
                    self.cells[item.name, index] = replace(answer, value=value)
                self.assumed.discard((item.name, index))
                self.unsupported.discard(item.name)
                fresh[item.name].add(index)
                self._known.add(item.name)
        if doubtful:
            await self.check_byte_order()

    def _plausible(self, item: Item, index: int | None, value: Value) -> bool:
        """Tell whether a number can be one: not tiny without being 0, and within twice the nominal value."""
        if item.type not in (Type.R4, Type.R4_UI1):
            return True
        number = abs(value[0] if isinstance(value, tuple) else float(value))
        if item.name == "VoltageNominal":
            return number == 0 or VOLTS[0] <= number <= VOLTS[1]
        nominal = {"V": "VoltageNominal", "A": "CurrentNominal"}.get(item.unit) if item.scope is Scope.CHANNEL else None
        known = self.number(nominal, index) if nominal and nominal != item.name else None
        return number == 0 or TINY < number <= (2 * abs(known) if known else VOLTS[1])

    async def check_byte_order(self) -> None:
        """Raise Garbled when the module sends its words little-endian: none of its numbers can be used then.

        Bit 11 of ModuleControl selects the order; a program that writes the word without it changes the order for
        everybody. The nominal voltage is the judge, as the bit may mean nothing to a firmware. Asked past the tables,
        because nothing of it is to be shown.
        """
        control, nominal = BY_NAME["ModuleControl"], BY_NAME["VoltageNominal"]
        of_control, of_nominal = one(self.link, control, probe=True), one(self.link, nominal, 0, probe=True)
        await self.link.ask([of_control, of_nominal])
        word = of_control.answers.get(None)
        if word is None or _is_big_endian(word.value):
            return
        volts = of_nominal.answers.get(0)
        if of_nominal.bad or (volts is not None and not self._plausible(nominal, 0, volts.value)):
            raise Garbled(
                f"{self.link}: sends its numbers in little-endian order, no reading can be used: another program has "
                "written ModuleControl without bit 11; let it set that bit again"
            )

    async def _fill_gaps(self, of_channels: Mapping[Item, frozenset[int]], fresh: dict[str, set[int | None]]) -> None:
        """Ask once more, one by one, for channels that a request for many did not bring."""
        again: dict[Question, Item] = {}
        rest: dict[Question, Item] = {}
        doubtful: dict[Item, frozenset[int]] = {}
        for item, channels in of_channels.items():
            missing = channels - fresh[item.name]
            if not missing or not self._together(item, channels):
                continue
            if item.name not in self._known:
                # One channel tells whether the item is unknown to the firmware or only this form of asking.
                doubtful[item] = missing
                missing = frozenset((min(missing),))
            again |= {one(self.link, item, channel): item for channel in sorted(missing)}
        await self._ask(again, fresh)
        for item, missing in doubtful.items():
            if fresh[item.name]:
                log.info("%s: %s is answered one by one only", self.link, item.name)
                self._one_by_one.add(item.name)
                rest |= {one(self.link, item, channel): item for channel in sorted(missing - fresh[item.name])}
        await self._ask(rest, fresh)

    def _account(self, item: Item, indices: Collection[int | None], fresh: Collection[int | None]) -> None:
        """Count what brought no answer, and give up an item that nothing has ever answered."""
        for index in indices:
            (self.answers.good if index in fresh else self.answers.bad)((item.name, index))
        if item.name in self._known:
            return
        self._silent[item.name] = self._silent.get(item.name, 0) + 1
        if self._silent[item.name] >= GIVE_UP:
            log.info("%s: its firmware does not know %s", self.link, item.name)
            self.unsupported.add(item.name)

    def _together(self, item: Item, channels: Collection[int]) -> bool:
        return self.many is not Many.SINGLE and len(channels) >= FEW and item.name not in self._one_by_one

    async def read_back(self, item: Item, channel: int | None = None) -> Value:
        """Read one item now and keep it; raises ReplyTimeout when it cannot be had."""
        if await self.read_now((item.name, channel)):
            raise ReplyTimeout(f"{item.name}: no usable answer")
        return self.cells[item.name, channel].value

    async def read_now(self, *cells: tuple[str, int | None]) -> list[str]:
        """Read items at once, and return the names of those that had no usable answer."""
        questions = {one(self.link, BY_NAME[name], index): BY_NAME[name] for name, index in cells}
        await self.link.get_in_step({question.data_id for question in questions})
        fresh: dict[str, set[int | None]] = defaultdict(set)
        await self._ask(questions, fresh)
        silent = [name for name, index in cells if index not in fresh[name]]
        self.answers.good(*((name, index) for name, index in cells if name not in silent))
        return silent

    def write(self, item: Item, value: Value, channel: int | None = None) -> None:
        """Send one value; nothing tells whether it arrived. Raises LinkDown, Refused, OutOfLimits."""
        self.link.send(write(self.link.address, item, value, channel, base=self.link.base), changes=True)


def _is_big_endian(control: Value) -> bool:
    return isinstance(control, int) and bool(control & ModuleControl.BIG_ENDIAN)


def decimal(value: Value) -> Value:
    """Undo what single precision makes of a decimal number: 1e-4 arrives as 9.999999747e-05."""
    return float(f"{value:.7g}") if isinstance(value, float) else value
