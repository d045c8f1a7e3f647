"""One quantity of a simple device: what is known of it whatever the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Protocol, TypeVar

from devices.errors import DeviceError, LinkDown, ReplyTimeout
from devices.links.line import LineLink
from devices.links.modbus import ModbusUnit
from devices.model import Kind, Signal, Value
from devices.permit import current

READ_BACK, HIGHEST, LOWEST = ".RBV", ".HI", ".LO"


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity, named as its PV suffix with dots (``TEMP``, ``LOOP.SP``).

    ``labels`` make it a choice, whose value is the index of one; ``text`` a text, ``whole`` a whole number.
    ``decimals`` are those that the device shows. A setting that is a number has ``limits``, in ``unit``; its ``step``,
    half of which is no difference, is the last decimal when none is given. A simulated device begins with
    ``simulated``; with ``follows`` it approaches another quantity, two thirds of the way in ``seconds``.
    """

    name: str
    _: KW_ONLY
    unit: str = ""
    labels: tuple[str, ...] = ()
    text: bool = False
    whole: bool = False
    decimals: int = 3
    limits: tuple[float, float] | None = None
    step: float = 0.0
    simulated: Value = 0.0
    follows: str = ""
    seconds: float = 10.0

    @property
    def settable(self) -> bool:
        """Whether it can be written."""
        raise NotImplementedError

    @property
    def readable(self) -> bool:
        """Whether it can be read; a command can not."""
        return True

    @property
    def numeric(self) -> bool:
        """Whether it is a number, and not a choice or a text."""
        return not (self.labels or self.text)

    @property
    def resolution(self) -> float:
        """The step of a number; 0 for what is none."""
        return self.step or (10.0 ** -(0 if self.whole else self.decimals) if self.numeric else 0.0)

    def carried(self, value: float) -> float:
        """Return the number that reaches the device for a value of a setting that is a number, in ``unit``."""
        raise NotImplementedError

    @property
    def kind(self) -> Kind:
        """The type of its value."""
        if self.labels or not self.readable:
            return Kind.ENUM
        if self.text:
            return Kind.TEXT
        return Kind.INT if self.whole else Kind.FLOAT

    def signals(self) -> Iterator[Signal]:
        """Yield its signals: a setting has a read-back, and limits when it is a number."""
        labels = self.labels if self.readable else ("", "DO")
        yield Signal(self.name, self.kind, self.settable, self.unit, labels)
        if self.settable and self.readable:
            yield Signal(self.name + READ_BACK, self.kind, unit=self.unit, labels=labels)
            for end in (HIGHEST, LOWEST) if self.numeric else ():
                yield Signal(self.name + end, self.kind, unit=self.unit)


R = TypeVar("R", bound=Row)


def check_table(rows: Iterable[Row]) -> None:
    """Raise ValueError when a table makes no sense: names used twice, settings without limits, unknown followers."""
    seen: set[str] = set()
    rows = list(rows)
    names = {row.name for row in rows}
    for row in rows:
        if row.name in seen:
            raise ValueError(f"{row.name}: there are two of this name")
        seen.add(row.name)
        if row.settable and row.readable and row.text:
            raise ValueError(f"{row.name}: a text cannot be set")
        if row.settable and row.readable and row.numeric and row.limits is None:
            raise ValueError(f"{row.name}: a setting has limits, limits=(LOWEST, HIGHEST)")
        if row.readable == row.name.endswith(".CMD"):
            raise ValueError(f"{row.name}: a command, which cannot be read, and only a command, ends in .CMD")
        if row.follows and row.follows not in names:
            raise ValueError(f"{row.name}: follows {row.follows}, which is not in the table")


def lost_while_writing(what: str, error: LinkDown) -> DeviceError:
    """Return what a lost link means for a write: the outcome is unknown when its first byte may have gone out."""
    return ReplyTimeout(f"{what}: outcome unknown: {error}") if current().begun else error


class TableLink(Protocol[R]):
    """What reads and writes rows of a table over a ``link``; ``address`` is that of the device, for messages."""

    address: str

    @property
    def link(self) -> LineLink | ModbusUnit:
        """The link, which carries nothing else."""

    def batches(self, rows: Iterable[R]) -> Iterable[list[R]]:
        """Divide rows into batches of one exchange each."""

    async def read(self, rows: list[R]) -> list[Value | None]:
        """Read one batch; None for what the device answers but has no reading of.

        Raises Garbled or Refused for an answer that is of no use, LinkDown or ReplyTimeout when the device is lost.
        """

    async def write(self, row: R, value: float) -> bool | None:
        """Send one setting or command, once; return whether it was acknowledged, None where nothing ever is.

        Raises Refused when the device says no, LinkDown or Withdrawn when nothing was sent, ReplyTimeout when the link
        was lost behind the first byte.
        """
