"""``GRP:ALL:GO``: every output of the site off by one put.

It sends to each output what a put of OFF to that output sends, so all rules of puts hold: nothing is sent while the
server is not armed or to a device that is disabled, and OFF overtakes what waits for its channel. Once it has begun it
goes on, also when its client has gone, and however long a slow line takes. It is no safety system.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from devices.model import Level
from ioc.automation.control import Control
from ioc.automation.sequence import failures
from ioc.clock import Clock
from ioc.puts import PutPath
from ioc.records import Cancelled, PutContext, PutRefused, Record, Value

GO: Final = "ALL.GO"
MSG: Final = "ALL.MSG"
USER: Final = "labioc:GRP:ALL"
"""User in the log and in IOC:PUTS of what this sends; host and address stay those of the client."""

OFF, IDLE = 0, 1
"""States of ALL.GO."""

_LOOK: Final = 0.5
"""Seconds between two looks at what still ramps."""


class AllOff(Control):
    """The source of ``GRP:ALL:GO`` and ``GRP:ALL:MSG``; ``outputs`` are the switches (bo) to be put to 0."""

    def __init__(
        self,
        own: Mapping[str, Record],
        outputs: Sequence[Record],
        records: Mapping[str, Record],
        puts: PutPath,
        clock: Clock,
    ) -> None:
        super().__init__("ALL", own, puts, clock)
        self._outputs = outputs
        self._records = records
        self._running = 0
        self._turn = 0
        self._own["GO"].source = self
        self._show("GO", IDLE)
        self._show("MSG", "not used since the server started")

    async def put(self, record: Record, value: Value, context: PutContext) -> None:
        """Switch every output off; complete when each one reads back as off. Raises PutRefused naming the others."""
        if value != OFF:
            return
        try:
            await self._puts.put_group(record.name, "OFF", context, None, partial(self._perform, context), urgent=True)
        except PutRefused as refusal:
            self._show("MSG", f"{refusal} [{self._asked(context)}]", Level.MAJOR)
            raise

    async def _perform(self, context: PutContext) -> None:
        """Put each output to OFF at the same time. Raises PutRefused when one is not known to be off."""
        asked = self._asked(context)
        mine = replace(context, user=USER, callback=False, cancelled=Cancelled())
        outputs = sorted(self._outputs, key=self._known_off)  # what is on goes first on each line
        on = [record for record in outputs if not self._known_off(record)]
        self._running += 1
        self._turn += 1
        self._show("GO", OFF)
        self._show("MSG", f"switching {len(outputs)} outputs off [{asked}]")
        try:
            found = await asyncio.gather(*(self._switch_off(record, mine) for record in outputs))
        finally:
            self._running -= 1
            if not self._running:
                self._show("GO", IDLE)
        reasons = {record.name: reason for record, reason in zip(outputs, found, strict=True) if reason is not None}
        if reasons:
            text = f"{len(reasons)} of {len(outputs)} outputs not known to be off: {failures(reasons)}"
            self._show("MSG", f"{text} [{asked}]", Level.MAJOR)
            raise PutRefused(text)
        self._follow(on, self._clock.time(), f"all {len(outputs)} outputs are switched off", asked, self._turn)

    def _follow(self, outputs: Sequence[Record], since: float, text: str, asked: str, turn: int) -> None:
        """Show how many of the outputs that were on still ramp down, until each has been read steady since."""
        if turn != self._turn:
            return
        ramping = sum(self._ramps_down(record, since) for record in outputs)
        message = f"{text}, {ramping} still ramping down" if ramping else f"{text}, none is ramping"
        self._say(f"{message} [{asked}]")
        if ramping:
            self._clock.call_later(_LOOK, partial(self._follow, outputs, since, text, asked, turn))

    def _ramps_down(self, record: Record, since: float) -> bool:
        """Whether an output is off and ramps, or has not been seen steady after a time; not all devices tell."""
        moving = self._records.get(f"{record.name.removesuffix(':ON')}:MOVING")
        if moving is None or record.val:
            return False
        return bool(moving.val) or moving.stamp < since or moving.sevr >= Level.INVALID

    async def _switch_off(self, record: Record, context: PutContext) -> str | None:
        """Return why an output is not known to be off, None when it reads back as off."""
        try:
            await self._puts.put(record, 0, context, patient=True)
        except PutRefused as refusal:
            return str(refusal)
        return None

    def _known_off(self, record: Record) -> bool:
        """Whether an output is off as far as is known; it is switched off all the same, only later."""
        read_back = self._records.get(f"{record.name}:RBV")
        return read_back is not None and not read_back.udf and read_back.sevr < Level.INVALID and not read_back.val
