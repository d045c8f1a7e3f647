"""Driver of a simple device: everything that its table does not say is the same as for every other device."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Generic

from devices.clock import DriverClock
from devices.errors import DeviceError, Garbled, LinkDown, Refused, ReplyTimeout, TakenOtherwise, Withdrawn
from devices.model import Cause, DeviceSettings, Level, Limits, LinkStats, Reading, Signal, Value, Way, state_reading
from devices.rules.settings import (
    Asked,
    BadAnswers,
    Demand,
    apply,
    check_limits,
    check_writable,
    choice_asked,
    instead,
    moved,
    number_asked,
    tightened,
)
from devices.simple.table import HIGHEST, LOWEST, READ_BACK, R, TableLink


class SimpleDriver(Generic[R]):
    """One device of a table, as ``devices.model.Driver`` describes it.

    The first row that can be read is asked for when connecting: a device that does not answer it is not there.
    """

    def __init__(
        self, settings: DeviceSettings, rows: Sequence[R], link: TableLink[R], clock: DriverClock | None = None
    ) -> None:
        self.settings: Final = settings
        self._clock = clock or DriverClock()
        self._link = link
        self._rows = {row.name: row for row in rows}
        self._signals = {signal.name: signal for row in rows for signal in row.signals()}
        self._found: dict[str, Reading] = {}
        self._demands = {row.name: Demand() for row in rows if row.settable and row.readable}
        self._answers = BadAnswers()
        self._connected_at = 0.0

    @property
    def stats(self) -> LinkStats:
        """Counters of the link."""
        return self._link.link.stats

    def signals(self) -> Mapping[str, Signal]:
        """Every signal of the table."""
        return self._signals

    async def connect(self) -> None:
        """Open the link and ask for the first row. Raises LinkDown, ReplyTimeout or Garbled."""
        self._found.clear()
        self._answers.reset()
        for demand in self._demands.values():
            demand.link_lost()
        await self._link.link.connect()
        try:
            await self._fetch(row for row in list(self._rows.values())[:1] if row.readable)
        except DeviceError:
            await self._link.link.close()
            raise
        self._connected_at = self._clock.time()

    async def close(self) -> None:
        """Close the link; safe to call at any time and more than once."""
        await self._link.link.close()

    async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
        """Read a batch of signals; one whose answer could not be read is left out once, INVALID from then on.

        Raises LinkDown or ReplyTimeout when the device is lost, Garbled when it only sends what cannot be read.
        """
        if not self._link.link.connected:
            raise LinkDown(f"{self._link.address}: not connected")
        await self._fetch(self._rows[name] for name in dict.fromkeys(map(self._row_of, names)) if name in self._rows)
        return self._readings(dict.fromkeys([*names, *moved(self._demands)]))

    def _row_of(self, name: str) -> str:
        return name.removesuffix(READ_BACK) if name not in self._rows else name

    async def _fetch(self, rows: Iterable[R]) -> None:
        for batch in self._link.batches(row for row in rows if row.readable):
            try:
                values = await self._link.read(batch)
            except (Garbled, Refused) as error:
                self._answers.bad(*(row.name for row in batch))
                self._answers.exchanged(False, str(error))
                continue
            self._answers.exchanged(True, "")
            now = self._clock.time()
            for row, value in zip(batch, values, strict=True):
                self._take(row, value, now)

    def _take(self, row: R, value: Value | None, now: float) -> None:
        self._answers.good(row.name)
        if value is None:
            self._found[row.name] = Reading(None, now, Level.INVALID, Cause.READ)
            return
        self._found[row.name] = Reading(value, now)
        if row.name in self._demands and isinstance(value, int | float):
            self.stats.late += self._demands[row.name].observe(value, row.resolution)

    def _readings(self, names: Iterable[str]) -> dict[str, Reading]:
        now = self._clock.time()
        found = {name: self._reading(name, now) for name in names}
        return {name: reading for name, reading in found.items() if reading is not None}

    def _reading(self, name: str, now: float) -> Reading | None:
        """Return the reading of a signal, None when there is nothing to say of it."""
        base, dot, end = name.rpartition(".")
        if name in self._rows:
            found, demand = self._found.get(name), self._demands.get(name)
            if demand is None:
                return self._judged(name, found, now)
            return demand.reading(now if found is None else found.time)
        if dot + end in (HIGHEST, LOWEST):
            limits = self.limits(base)
            if limits is None:
                return None
            return Reading(limits.high if dot + end == HIGHEST else limits.low, self._connected_at)
        back = self._found.get(base)
        if back is not None and back.value is not None and self._demands[base].lasting:
            back = state_reading(back.value, back.time, Level.MINOR)
        return self._judged(base, back, now)

    def _judged(self, row: str, reading: Reading | None, now: float) -> Reading | None:
        missed = self._answers.missed(row)
        return instead(missed, now) if missed else reading

    def way(self, name: str, value: Value) -> Way:
        """Return how a write goes: one at a time on a wire."""
        return Way(self.settings.address.partition("?")[0], name)

    async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
        """Check, send once, read back, decide: ``devices.rules.settings`` says what each outcome means."""
        row = self._rows.get(name)
        if row is None or not row.settable:
            raise Refused(f"{name} cannot be set")
        check_writable(self.settings)
        if not row.readable:
            return await self._command(row, value)
        asked = self._asked(row, value)
        try:
            await self._apply(row, asked)
        except TakenOtherwise as error:
            error.readings = self._readings((name, name + READ_BACK))
            raise
        return self._readings((name, name + READ_BACK))

    async def _apply(self, row: R, asked: Asked) -> None:
        """Write a setting; a refusal may be a garbled acknowledgement, so that what the device has then decides."""
        refusal: Refused | None = None

        async def send() -> bool | None:
            nonlocal refusal
            try:
                return await self._link.write(row, asked.value)
            except Withdrawn:
                raise
            except Refused as error:
                refusal = error
                return None

        look = partial(self._look, row)
        try:
            await apply(asked, self._demands[row.name], look, send, look)
        except TakenOtherwise:
            raise
        except Refused as error:
            raise refusal or error from None

    def _asked(self, row: R, value: Value) -> Asked:
        if row.labels:
            return Asked(row.name, choice_asked(row.name, value, row.labels), labels=row.labels)
        number, limits = number_asked(row.name, value), self.limits(row.name)
        if limits is not None:
            check_limits(row.name, number, row.unit, limits)
            self._check_carried(row, number, limits)
        return Asked(row.name, number, row.unit, row.resolution)

    @staticmethod
    def _check_carried(row: R, number: float, limits: Limits) -> None:
        """Refuse what the wire would round to a number beyond a limit, other than by a rounding of floats."""
        carried, slack = row.carried(number), 1e-9 * max(abs(limits.low), abs(limits.high))
        if not limits.low - slack <= carried <= limits.high + slack:
            check_limits(row.name, carried, row.unit, limits)

    async def _look(self, row: R) -> float | None:
        (batch,) = self._link.batches([row])
        (value,) = await self._link.read(batch)
        self._take(row, value, self._clock.time())
        return value if isinstance(value, int | float) else None

    async def _command(self, row: R, value: Value) -> Mapping[str, Reading]:
        if value and await self._link.write(row, 1) is False:
            raise ReplyTimeout(f"{row.name}: no readable answer, the outcome is unknown")
        return {row.name: Reading(0, self._clock.time())}

    def limits(self, name: str) -> Limits | None:
        """Return the tighter of the table's limits and the site's; None for what is no numeric setting."""
        row = self._rows.get(name)
        if row is None or row.limits is None:
            return None
        return tightened(Limits(*row.limits), [self.settings.limits], name)

    def precision(self, name: str) -> int | None:
        """Return the decimals of a number."""
        row = self._rows.get(name.removesuffix(READ_BACK).removesuffix(HIGHEST).removesuffix(LOWEST))
        return row.decimals if row is not None and row.numeric and not row.whole else None
