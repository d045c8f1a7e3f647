"""One register of a Eurotherm 3200 written: counted, sent once, read back.

What is read back decides, also when the answer was lost: the family acknowledges writes to registers that it does not
have, and may clip values (2000 Series Communications Handbook HA026230). A value that the instrument has already is not
written, which spares its memory.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from devices import permit
from devices.errors import DeviceError, Garbled, LinkDown, Refused, ReplyTimeout
from devices.eurotherm.catalogue import SETTING_OF, SETTINGS, UNIT_OF, VOLATILE, Setting
from devices.eurotherm.furnace import Furnace, differs
from devices.eurotherm.registers import REGISTERS, REMOTE_FIRMWARE, Register
from devices.links.modbus_frames import CODE_TEXTS, ModbusRefusal
from devices.model import Kind
from devices.rules import settings
from devices.rules.settings import Asked, Demand

_SETPOINTS = ("TG.SP", "SP1", "SP2")

log = logging.getLogger("labioc.eurotherm")


class RegisterWriter:
    """Writes registers of one instrument; its caller lets one write end before the next begins.

    ``what`` is always what the operator asked for, for the messages.
    """

    def __init__(self, furnace: Furnace) -> None:
        self._furnace, self._unit = furnace, furnace.unit

    async def apply(self, what: str, name: str, value: float, sparing: bool = True, goal: float | None = None) -> None:
        """Write one register and read it back; see devices.rules.settings.apply for how it ends.

        ``goal`` is what is asked of the setting ``what`` by it, of a choice the index of its label; without one the
        register is a step on the way.
        """
        register = REGISTERS[name]
        unit = UNIT_OF.get(register.scale)
        await self.learn(what, name, *(() if unit is None else (unit,)))
        before = self._unit.value(name)
        if before is None:
            raise Refused(f"{what}: this instrument has no value there")
        asked, demand = Asked(what, value, device="controller"), Demand()
        if goal is not None:
            asked, demand = self._furnace.asked(SETTINGS[what], goal), self._furnace.demands[what]
        asked = replace(asked, step=self._step(register, value))

        def shown(found: float | None) -> float | None:
            if found is None or goal is None:
                return found
            codes = SETTINGS[what].codes
            if asked.labels:
                return float(codes.index(int(found))) if found in codes else None
            return found + goal - value  # the trim is not in the register of the remote setpoint

        # The remote setpoint also counts for when it was written, not only for what it is.
        if name != "Rm.SP" and not differs(name, value, before):
            permit.changing()
            demand.accept(asked.value)
            return

        async def look() -> float | None:
            return shown(before)

        async def send() -> bool:
            self.count(what, register, sparing)
            return await self.send(what, register, value)

        async def read_back() -> float | None:
            return shown(await self.read(what, register))

        await settings.apply(asked, demand, look, send, read_back)

    def _step(self, register: Register, value: float) -> float:
        """Return the step of a register: a float holds seven digits, and the front panel shows fewer."""
        setting = SETTING_OF.get(register.name)
        if setting is None or setting.kind is not Kind.FLOAT:
            return 0.0
        return self._furnace.resolution(setting) + 2e-6 * abs(value)

    def count(self, what: str, register: Register, sparing: bool = True) -> None:
        """Count a write to the non-volatile memory; raises Refused when there were too many lately."""
        if register.name in VOLATILE:
            return
        now, memory = self._furnace.clock.monotonic(), self._furnace.memory
        if sparing:
            memory.wear.check(register.address, what, now)
        memory.note_write(register.address, now)

    async def send(self, what: str, register: Register, value: float) -> bool:
        """Write a register, once; return whether it was acknowledged, False when only reading back can tell."""
        try:
            await self._unit.write(register, value)
        except (Garbled, ReplyTimeout) as error:
            log.warning("%s: %s: %s; reading back", self._furnace.settings.name, what, error)
            return False
        except LinkDown as error:
            log.warning("%s: %s: %s; reconnecting to read back", self._furnace.settings.name, what, error)
            try:
                await self._unit.link.connect()
            except DeviceError as still:
                raise ReplyTimeout(f"{what}: outcome unknown, {error}") from still
            return False
        except ModbusRefusal as error:
            reason = CODE_TEXTS.get(error.code, "exception")
            raise Refused(f"{what}: controller refused: {reason} (code {error.code:02d})") from error
        return True

    async def learn(self, what: str, *names: str) -> None:
        """Read what a write depends on, before anything is sent. Raises LinkDown when it cannot be read."""
        try:
            if await self._fresh(*names):
                return
        except DeviceError as error:
            raise LinkDown(f"{what}: nothing was sent, since it cannot be read: {error}") from error
        raise LinkDown(f"{what}: nothing was sent, since it cannot be read")

    async def _fresh(self, *names: str) -> bool:
        """Read registers, those without an answer once more; return whether it is known what each of them holds."""
        wanted = set(names)
        for _ in range(2):
            wanted -= await self._unit.read(wanted)
            wanted -= self._unit.missing
            if not wanted:
                return True
        return False

    async def learn_limits(self, what: str, setting: Setting) -> None:
        """Read what the limits of a setting depend on: a value of some seconds ago may not be true any more."""
        bounds = {bound for bound in (setting.low, setting.high) if isinstance(bound, str) and bound in REGISTERS}
        await self.learn(what, *bounds)

    async def check_remote(self, what: str) -> None:
        """Raise Refused when register 26 may be something else: on indicators it is a calibration offset."""
        if self._unit.value("VERSION") is None:
            await self.learn(what, "VERSION")
        version = self._unit.value("VERSION")
        if version is None or version < REMOTE_FIRMWARE:
            raise Refused("this firmware has no volatile remote setpoint (1.10 is the first)")
        if not self._setpoints_agree():  # perhaps because they were read at different times
            await self.learn(what, *_SETPOINTS)
        if self._unit.value("L-R") is None or not self._setpoints_agree():
            raise Refused("this instrument does not look like a controller with a remote setpoint")

    def _setpoints_agree(self) -> bool:
        """Whether the target is one of the two setpoints, as it is on every controller."""
        target, *setpoints = (self._unit.value(name) for name in _SETPOINTS)
        return target is not None and target in setpoints

    async def read(self, what: str, register: Register) -> float | None:
        """Read one register now. Raises ReplyTimeout when it cannot be learnt."""
        try:
            if await self._fresh(register.name):
                return None if register.name in self._unit.missing else self._unit.value(register.name)
        except DeviceError as error:
            raise ReplyTimeout(f"{what}: outcome unknown, cannot be read: {error}") from error
        raise ReplyTimeout(f"{what}: outcome unknown, the answers cannot be read")
