"""Who may read and write, by the rules of an access security file (asLibRoutines.c and asCa.c of EPICS base).

A field has the level of base: 0 for the value, 1 for every other field. To write the value of a setting for experts
takes level 1 too, so that ``RULE(0,WRITE)`` is for operators and ``RULE(1,WRITE)`` for experts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from ioc.access.acf import NONE, READ, WRITE, Acf, AcfError, Group, load_acf
from ioc.access.calc import LETTERS
from ioc.access.policy import Access, Policy
from ioc.inputs import Input, Inputs
from ioc.records import PutContext, Record

log = logging.getLogger("labioc")

_MOST_REMEMBERED: Final = 10_000
"""Grants that are remembered before all are forgotten: clients may invent names without end."""

_LOOK_SECONDS: Final = 1.0
"""How often the inputs are looked at beside their changes: one that falls silent reports none."""

_RAW: Final = "EXPERT"
"""Group of what is written past the PVs."""


class _Conditions:
    """The values that the rules of one group use, and whether the CALC of each holds.

    As in base a CALC is evaluated when one of its inputs changes and holds when it is 1; while one of them is INVALID
    or not connected it does not hold. A letter without a PV is 0.
    """

    def __init__(self, group: Group, connect: Callable[[str], Input]) -> None:
        self.group = group
        self.results = [0.0] * len(group.rules)
        self.bad = {place for place, _ in group.inputs}
        self._values = [0.0] * len(LETTERS)
        self._inputs = [(place, connect(name)) for place, name in group.inputs]
        self.holding = self._holding()

    def update(self) -> bool:
        """Take the present values; return whether a rule holds now that did not, or the other way round."""
        before, changed = self.holding, set()
        for place, source in self._inputs:
            state = source.state()
            number = None if state.problem else _number(state.value)
            if number is None:
                self.bad.add(place)
            elif place in self.bad or number != self._values[place]:
                self.bad.discard(place)
                self._values[place] = number
                changed.add(place)
        for index, rule in enumerate(self.group.rules):
            if rule.calc is not None and rule.calc.inputs & changed:
                result = rule.calc.evaluate(self._values, self.results[index])
                self.results[index] = 1.0 if 0.99 < result < 1.01 else 0.0
        self.holding = self._holding()
        return self.holding != before

    def _holding(self) -> list[bool]:
        """Return which rules hold, as far as their CALC goes."""
        return [
            rule.calc is None or (result == 1 and not rule.calc.inputs & self.bad)
            for rule, result in zip(self.group.rules, self.results, strict=True)
        ]

    def grant(self, level: int, user: str, host: str) -> int:
        """Return the most that any rule grants to a client for a field of this level."""
        granted = NONE
        for rule, holds in zip(self.group.rules, self.holding, strict=True):
            if (
                holds
                and granted < rule.grant
                and level <= rule.level
                and (rule.users is None or user in rule.users)
                and (rule.hosts is None or host in rule.hosts)
            ):
                granted = rule.grant
        return granted


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


class AcfPolicy(Policy):
    """The rules of a file; ``make_inputs`` makes what reads the PVs that they depend on.

    Raises AcfError for a file that cannot be used.
    """

    def __init__(self, access: Access, make_inputs: Callable[[], Inputs]) -> None:
        super().__init__()
        self._access = access
        self._make_inputs = make_inputs
        self._remembered: dict[tuple[str, int, str, str], int] = {}
        self._update_due = False
        self._reloading = asyncio.Lock()
        self._looking: asyncio.TimerHandle | None = None
        self._use(load_acf(access))
        self.summary = f"who may read and write is ruled by {self.acf.path}"

    def _use(self, acf: Acf) -> None:
        for warning in acf.warnings:
            log.warning("%s", warning)
        self.acf = acf
        self._inputs = self._make_inputs()
        self._groups = {
            group.name: _Conditions(group, lambda name: self._inputs.add(name, self._note_update))
            for group in acf.groups.values()
        }
        self._update()
        self.changed()

    def _note_update(self) -> None:
        """Look at the inputs soon: an input has changed, perhaps in the middle of a put."""
        if not self._update_due:
            self._update_due = True
            asyncio.get_running_loop().call_soon(self._update)

    def _update(self) -> None:
        self._update_due = False
        changed = [group.update() for group in self._groups.values()]
        if any(changed):
            self.changed()

    def changed(self) -> None:
        """Have the rights of all clients judged anew."""
        self._remembered.clear()
        super().changed()

    # ---- judging

    def _grant(self, asg: str, level: int, client: PutContext) -> int:
        host = client.address[0] if self._access.client_ip else client.host.lower()
        key = asg, level, client.user, host
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            conditions = self._groups[self.acf.group(asg).name]
            found = self._remembered[key] = conditions.grant(level, client.user, host)
        return found

    def _denied(self, asg: str, level: int, client: PutContext) -> str | None:
        if self._grant(asg, level, client) == WRITE:
            return None
        who = f"{client.user}@{client.address[0] if self._access.client_ip else client.host}"
        return f"{who} may not write here by the rules of ASG {self.acf.group(asg).name} in {self.acf.path}"

    def may_read(self, record: Record, field: str, client: PutContext) -> bool:
        """Whether this client may read this field."""
        return self._grant(str(record.get("ASG")), int(field != "VAL"), client) >= READ

    def may_put(self, record: Record, field: str, client: PutContext) -> str | None:
        """Return why this client may not write this field, or None when it may; a value marked R takes no put.

        Nor can it be sent once more by PROC, which reads an input.
        """
        if record.access == "R" and (field == "VAL" or (field == "PROC" and record.is_output)):
            return f"{record.name} is a read-only PV"
        level = int(field != "VAL" or record.access == "E")
        return self._denied(str(record.get("ASG")), level, client)

    def may_acknowledge(self, record: Record, client: PutContext) -> str | None:
        """Return why this client may not acknowledge the alarm of a record, or None when it may."""
        return self._denied(str(record.get("ASG")), 0, client)

    def may_read_group(self, field: str, client: PutContext) -> bool:
        """Whether this client may read a PV of a caproto group, which is in DEFAULT, or a field of its record."""
        return self._grant("", int(field not in ("", "VAL")), client) >= READ

    def may_put_group(self, field: str, client: PutContext) -> str | None:
        """Return why this client may not write a PV of a caproto group, or a field of its record; None when it may."""
        return self._denied("", int(field not in ("", "VAL")), client)

    def may_write_raw(self, client: PutContext) -> str | None:
        """Return why this client may not write past the PVs: it takes level 1 of the group EXPERT, or of DEFAULT."""
        return self._denied(_RAW, 1, client)

    # ---- life

    async def start(self) -> None:
        """Begin to follow the inputs of the rules. Raises OSError or ValueError when that is not possible."""
        await self._inputs.start()
        self._look()

    def _look(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._looking = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)
        self._update()

    async def stop(self) -> None:
        """Follow the inputs no more."""
        if self._looking is not None:
            self._looking.cancel()
        await self._inputs.stop()

    async def reload(self) -> str:
        """Read the file anew and return in a sentence what came of it; a bad file leaves the rules as they are."""
        async with self._reloading:
            try:
                acf = await asyncio.to_thread(load_acf, self._access)  # names of hosts may take long
            except AcfError as error:
                log.error("the access rules stay as they were:\n%s", error)
                return f"the access rules stay as they were: {error}"
            old = self._inputs
            self._use(acf)
            await old.stop()
            try:
                await self.start()
            except (OSError, ValueError) as error:
                log.error("PVs of other servers cannot be followed: %s", error)
                return f"access rules read anew from {acf.path}, PVs of other servers cannot be followed: {error}"
            log.info("access rules read anew from %s", acf.path)
            return f"access rules read anew from {acf.path}"
