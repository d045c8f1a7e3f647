"""Writes to a Eurotherm 3200: checked, counted, sent once, read back.

What is read back decides, also when the answer was lost: the family acknowledges writes to registers that it does not
have, and may clip values (2000 Series Communications Handbook HA026230). A value that the instrument has already is not
written, which spares its memory.
"""

from __future__ import annotations

import asyncio
import logging

from devices.clock import DriverClock
from devices.errors import DeviceError, Garbled, LinkDown, NotReady, Refused, ReplyTimeout
from devices.eurotherm_catalogue import QUANTITIES, SETTINGS, VOLATILE, Setting, registers_of
from devices.eurotherm_meaning import TARGETS, Furnace, differs
from devices.eurotherm_memory import FurnaceMemory
from devices.eurotherm_registers import REGISTERS, REMOTE_FIRMWARE, Inputs, Register, Status
from devices.eurotherm_remote import RemoteKeeper
from devices.eurotherm_unit import EurothermUnit
from devices.hv_demand import check_limits, choice_asked, number_asked
from devices.modbus_frames import MEANINGS, ModbusRefusal
from devices.model import DeviceSettings, Kind, Value

log = logging.getLogger("labioc.eurotherm")

CONFIGURATION = 2  # value of IM
DISPLAY_PERMISSIONS = 0x4000  # first address where the family keeps the permissions of its display
TIMER_COMMANDS = {"TMR.RUN.CMD": (1, (1, 3)), "TMR.HOLD.CMD": (2, (2,)), "TMR.RESET.CMD": (0, (0,))}
"""What is written to T.STAT, and what it may say then: a timer of no length is at its end at once."""

_AFFECTED = {
    **dict.fromkeys(TARGETS, ("TG.SP", "SP1", "SP2", "SP.SEL", "Rm.SP")),
    "REMOTE": ("TG.SP", "Rm.SP", "StAt", "StAt.INV"),
    "RSP": ("TG.SP", "StAt", "StAt.INV"),
    "MODE": ("StAt", "StAt.INV", "MAN.OP", "WRK.OP"),
    "RATEUNIT": ("SP.RAT",),
    "TMR.RES": ("DWELL",),
}
"""Registers that may change with a setting, beside its own."""


class EurothermWriter:
    """Writes to one instrument, one after the other."""

    def __init__(
        self,
        unit: EurothermUnit,
        furnace: Furnace,
        memory: FurnaceMemory,
        settings: DeviceSettings,
        clock: DriverClock,
    ) -> None:
        self.keeper = RemoteKeeper(settings.name, unit, clock)
        self._unit = unit
        self._furnace = furnace
        self._memory = memory
        self._settings = settings
        self._clock = clock
        self._lock = asyncio.Lock()

    async def write(self, name: str, value: Value) -> set[str]:
        """Apply a setting or command; return the signals that have something new to say.

        Raises Refused, OutOfLimits or NotReady when nothing was changed or the read-back disagrees, ReplyTimeout or
        LinkDown when the outcome is not known.
        """
        row = QUANTITIES.get(name)
        if row is None or not row.settable:
            raise Refused(f"{name} cannot be set")
        if name == "PWR.ACK.CMD":
            if choice_asked(name, value, row.labels):
                self._memory.acknowledge()
            return {name} | {other for other in QUANTITIES if other.startswith("PWR.")}
        if self._settings.readonly:
            raise Refused("writes to this device are switched off by the configuration")
        async with self._lock:
            if name.endswith(".CMD"):
                return await self._command(name) if choice_asked(name, value, row.labels) else {name}
            setting = SETTINGS[name]
            number = float(choice_asked(name, value, row.labels)) if row.labels else self._checked(setting, value)
            return await self._set(setting, number)

    # Settings

    def _checked(self, setting: Setting, value: Value) -> float:
        number = number_asked(setting.name, value)
        limits = self._furnace.limits(setting)
        if limits is None:
            raise NotReady(f"{setting.name}: it and its limits have not been read yet")
        check_limits(setting.name, number, setting.unit, limits)
        return number

    async def _set(self, setting: Setting, number: float, sparing: bool = True) -> set[str]:
        name, remote = setting.name, bool(self._unit.value("L-R"))
        self._allow(setting, number)
        if name == "REMOTE":
            await self._set_remote(bool(number))
        elif name == "RSP" or (name == "TSET" and remote):
            await self._write_remote(number if name == "RSP" else number - self._trim(), remote)
        else:
            code = float(QUANTITIES[name].codes[int(number)]) if setting.labels else number
            await self._apply(name, setting.register, code, sparing)
        await self._unit.read(_AFFECTED.get(name, ()))
        also = TARGETS if name in (*TARGETS, "REMOTE") else ("RATE",) if name == "RATEUNIT" else ()
        self._furnace.accept(*also)
        self._furnace.accept(name)
        if name == "TSET":
            self._furnace.take(name, number)
        return _signals_of({setting.register, "Rm.SP", *_AFFECTED.get(name, ())}) | {name, f"{name}.RBV"}

    def _allow(self, setting: Setting, number: float) -> None:
        """Raise Refused for what would have no effect, or a dangerous one."""
        if setting.register in self._unit.missing:
            raise Refused(f"{setting.name}: this instrument does not have it")
        if setting.name == "MOUT" and Status.MANUAL not in self._furnace.status:
            raise Refused("MOUT: the loop is in automatic; set MODE to MANUAL first")
        if setting.name == "OPMODE" and number == CONFIGURATION and not self._settings.options.get(
            "allow_configuration", False
        ):  # fmt: skip
            raise Refused("OPMODE: configuration mode stops the control; the site file does not allow it")

    async def _apply(self, what: str, name: str, value: float, sparing: bool = True) -> None:
        """Write one register and read it back."""
        register = REGISTERS[name]
        try:
            before = await self._read(what, register)
        except ReplyTimeout as error:
            raise LinkDown(f"{what}: nothing was sent, since it cannot be read") from error
        if before is None:
            raise Refused(f"{what}: this instrument has no value there")
        if not differs(name, value, before):
            return
        self._count(what, register.address, name in VOLATILE, sparing)
        answered = await self._send(what, register, value)
        found = await self._read(what, register)
        if found is None or abs(found - value) > self._tolerance(register, value):
            answer = "the controller answered OK but" if answered else "no answer, and the controller"
            raise Refused(f"{what} {value:.10g}: {answer} reads back {'nothing' if found is None else f'{found:.10g}'}")

    def _tolerance(self, register: Register, value: float) -> float:
        setting = next((setting for setting in SETTINGS.values() if setting.register == register.name), None)
        if setting is None or setting.kind is not Kind.FLOAT:
            return 0.0
        return 0.5001 * self._furnace.resolution(setting) + 1e-6 * abs(value)

    def _count(self, what: str, address: int, volatile: bool, sparing: bool = True) -> None:
        """Count a write to the non-volatile memory; raises Refused when there were too many lately."""
        if volatile:
            return
        now = self._clock.monotonic()
        if sparing:
            self._memory.wear.check(address, what, now)
        self._memory.note_write(address, now)

    # The remote setpoint

    def _trim(self) -> float:
        return self._unit.value("LOC.t") or 0.0

    def _check_remote(self) -> None:
        """Raise Refused when register 26 may be something else: on indicators it is a calibration offset."""
        version, targets = self._unit.value("VERSION"), [self._unit.value(name) for name in ("TG.SP", "SP1", "SP2")]
        if version is None or version < REMOTE_FIRMWARE:
            raise Refused("this firmware has no volatile remote setpoint (1.10 is the first)")
        if self._unit.value("L-R") is None or targets[0] is None or targets[0] not in targets[1:]:
            raise Refused("this instrument does not look like a controller with a remote setpoint")

    async def _set_remote(self, on: bool) -> None:
        """Change the source of the setpoint, to remote with the present target, so that nothing jumps."""
        if not on:
            await self.keeper.release()
            await self._apply("REMOTE", "L-R", 0.0)
            return
        self._check_remote()
        target = await self._read("REMOTE", REGISTERS["TG.SP"])
        if target is None:
            raise NotReady("REMOTE: the target has not been read yet")
        await self._write_remote(target - self._trim(), False)
        await self._apply("REMOTE", "L-R", 1.0)
        self.keeper.hold(target - self._trim())

    async def _write_remote(self, value: float, repeat: bool) -> None:
        self._check_remote()
        await self._apply("RSP", "Rm.SP", value)
        if repeat:
            self.keeper.hold(value)

    # Commands

    async def _command(self, name: str) -> set[str]:
        if name in TIMER_COMMANDS:
            return await self._timer(name)
        return await (self._acknowledge() if name == "ACK.CMD" else self._go_safe())

    async def _timer(self, name: str) -> set[str]:
        word, accepted = TIMER_COMMANDS[name]
        register = REGISTERS["T.STAT"]
        if not self._unit.value("TM.CFG"):
            raise Refused("the timer is not in use (TMR:TYPE is NONE)")
        answered = await self._send("timer", register, float(word))
        found = await self._read("timer", register)
        if found not in accepted:
            label = "unknown" if found is None else register.labels[int(found)]
            answer = "the controller answered OK but" if answered else "no answer, and the timer"
            raise Refused(f"timer: {answer} is in {label}")
        await self._unit.read(("T.ELAP", "T.REMN"))
        return {name, "TMR.STATE", "TMR.ELAPSED", "TMR.LEFT"}

    async def _acknowledge(self) -> set[str]:
        """Acknowledge every alarm in the controller, and with them the mains failure."""
        answered = await self._send("acknowledge", REGISTERS["Ac.ALL"], 1.0)
        await self._unit.read(("StAt", "StAt.INV", "Di.IP"))
        still = Status.NEW_ALARM in self._furnace.status or int(self._unit.value("Di.IP") or 0) & Inputs.MAINS_FAILED
        if still and not answered:
            raise Refused("acknowledge: no answer, and the controller still shows the alarm")
        return {"ACK.CMD"} | _signals_of({"StAt", "Di.IP"})

    async def _go_safe(self) -> set[str]:
        """Set the target to the safe temperature; tell when that does not make the furnace go there."""
        safe = self._settings.options.get("safe_temperature")
        if safe is None:
            raise Refused("SAFE: there is no safe_temperature in the site file")
        setting = SETTINGS["TSET"]
        changed = await self._set(setting, self._checked(setting, float(safe)), sparing=False)
        done = f"the target is {safe:.10g} C now, but"
        if Status.MANUAL in self._furnace.status:
            raise Refused(f"SAFE: {done} the loop is in manual with an output of {self._unit.value('WRK.OP')} %")
        if self._unit.value("TM.CFG") and self._unit.value("T.STAT") in (1, 2):
            raise Refused(f"SAFE: {done} the timer or programmer is running; reset it with TMR:RESET:CMD")
        return {"SAFE.CMD"} | changed

    # Any register

    async def raw(self, address: int, value: float | None, as_float: bool) -> float:
        """Read, or write and read back, any register; see EurothermDriver.raw."""
        async with self._lock:
            if value is not None:
                await self._write_raw(address, value, as_float)
            try:
                return await self._unit.read_raw(address, as_float)
            except ValueError as error:
                raise Refused(str(error)) from error

    async def _write_raw(self, address: int, value: float, as_float: bool) -> None:
        what = f"register {address}"
        if self._settings.readonly:
            raise Refused("writes to this device are switched off by the configuration")
        register = raw_allowed(address, value, bool(self._settings.options.get("allow_configuration", False)))
        if register is not None and register.name == "Rm.SP":
            self._check_remote()
        setting = next((s for s in SETTINGS.values() if register is not None and s.register == register.name), None)
        if setting is not None and setting.kind is Kind.FLOAT and register is not None:
            number = value if as_float else self._unit.number(register, int(value))
            limits = self._furnace.limits(setting)
            if number is not None and limits is not None:
                check_limits(what, number, setting.unit, limits)
        try:
            if await self._unit.read_raw(address, as_float) == value:
                return
            self._count(what, address, register is not None and register.name in VOLATILE)
            await self._unit.write_raw(address, value, as_float)
        except ValueError as error:
            raise Refused(f"{what}: {error}; nothing was sent") from error

    # Wire

    async def _send(self, what: str, register: Register, value: float) -> bool:
        """Write a register, once; return whether it was acknowledged, False when only reading back can tell."""
        try:
            await self._unit.write(register, value)
        except (Garbled, ReplyTimeout) as error:
            log.warning("%s: %s: %s; reading back", self._settings.name, what, error)
            return False
        except LinkDown as error:
            log.warning("%s: %s: %s; reconnecting to read back", self._settings.name, what, error)
            await self._reopen(what, error)
            return False
        except ModbusRefusal as error:
            reason = MEANINGS.get(error.code, "exception")
            raise Refused(f"{what}: controller refused: {reason} (code {error.code:02d})") from error
        return True

    async def _reopen(self, what: str, lost: LinkDown) -> None:
        try:
            await self._unit.link.connect()
        except DeviceError as error:
            raise ReplyTimeout(f"{what}: outcome unknown, {lost}") from error

    async def _read(self, what: str, register: Register) -> float | None:
        """Read one register now. Raises ReplyTimeout when it cannot be learnt."""
        name = register.name
        for _ in range(2):
            try:
                if name in await self._unit.read((name,)):
                    return self._unit.value(name)
            except DeviceError as error:
                raise ReplyTimeout(f"{what}: outcome unknown, cannot be read: {error}") from error
            if name in self._unit.missing:
                return None
        raise ReplyTimeout(f"{what}: outcome unknown, the answers cannot be read")


def raw_allowed(address: int, value: float, configuration: bool) -> Register | None:
    """Return the register at an address that may be written; None when it is not a known one. Raises Refused."""
    register = next((row for row in REGISTERS.values() if row.address == address), None)
    if not 0 <= address < DISPLAY_PERMISSIONS:
        raise Refused(
            f"register {address}: never written, from {DISPLAY_PERMISSIONS} on lie permissions of the display"
        )
    if register is not None and register.name == "IM" and value not in (0, 1, CONFIGURATION):
        raise Refused("register 199: other values than 0, 1 and 2 reach calibration and memory functions")
    entering = register is not None and register.name == "IM" and value == CONFIGURATION
    if (register is None or not register.writable or entering) and not configuration:
        kind = "not a known one" if register is None else "for configuration" if register.writable or entering else (
            "read only or for configuration"
        )  # fmt: skip
        raise Refused(f"register {address}: {kind}; the site file does not allow to write it (allow_configuration)")
    return register


def _signals_of(registers: set[str]) -> set[str]:
    return {name for name in QUANTITIES if not registers.isdisjoint(registers_of(name))}
