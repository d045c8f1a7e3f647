"""Puts to a Eurotherm 3200: what a setting or command means in registers, and whether it may be sent.

How one register is written and read back is in devices.eurotherm.apply.
"""

from __future__ import annotations

import logging

from devices import permit
from devices.errors import DeviceError, NotReady, Refused, ReplyTimeout
from devices.eurotherm.apply import RegisterWriter
from devices.eurotherm.catalogue import QUANTITIES, SETTINGS, Setting, registers_of
from devices.eurotherm.furnace import TARGETS, Furnace
from devices.eurotherm.handover import Handover
from devices.eurotherm.raw import CONFIGURATION, RawWriter
from devices.eurotherm.registers import REGISTERS, Inputs, Status
from devices.eurotherm.remote import RemoteKeeper
from devices.eurotherm.safe import MOVED, SafeMaker
from devices.model import Value
from devices.rules.settings import check_limits, check_writable, choice_asked, number_asked

log = logging.getLogger("labioc.eurotherm")

SAFE_SIGNALS = frozenset(
    ("SAFE.STATE", "SAFE.MSG", *MOVED, *(f"{name}.RBV" for name in MOVED), "STAT", "STAT.MANUAL", "OUT", "TWORK")
)
"""What is shown after SAFE:CMD, whatever became of it."""

TIMER_COMMANDS = {"TMR.RUN.CMD": (1, (1, 3)), "TMR.HOLD.CMD": (2, (2,)), "TMR.RESET.CMD": (0, (0,))}
"""What is written to T.STAT, and what it may say then: a timer of no length is at its end at once."""

_STATUS = ("StAt", "StAt.INV")
_AFFECTED = {
    **dict.fromkeys(TARGETS, ("TG.SP", "SP1", "SP2", "SP.SEL", "Rm.SP", *_STATUS)),
    "REMOTE": ("TG.SP", "Rm.SP", *_STATUS),
    "RSP": ("TG.SP", *_STATUS),
    "RSPTRIM": ("TG.SP", "Rm.SP"),
    "MODE": (*_STATUS, "MAN.OP", "WRK.OP"),
    "RATEUNIT": ("SP.RAT",),
    "TMR.RES": ("DWELL",),
    **dict.fromkeys(TIMER_COMMANDS, ("T.ELAP", "T.REMN")),
    "ACK.CMD": (*_STATUS, "Di.IP"),
}
"""Registers that may change with a setting, beside its own."""

_MOVED = {
    **dict.fromkeys((*TARGETS, "REMOTE"), TARGETS),
    **dict.fromkeys(("RSP", "RSPTRIM"), ("TSET",)),
    "RATEUNIT": ("RATE",),
}
"""Settings whose demand goes along with another setting."""


class EurothermWriter:
    """Writes to one instrument; in which order writes come is settled before they get here."""

    def __init__(self, furnace: Furnace) -> None:
        self.keeper = RemoteKeeper(furnace)
        self._furnace, self._unit, self._settings = furnace, furnace.unit, furnace.settings
        self._registers = RegisterWriter(furnace)
        self._handover = Handover(furnace, self._registers)
        self.raw = RawWriter(furnace, self._registers, self._handover, self.keeper).access

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
                permit.changing()
                self._furnace.memory.acknowledge()
            return {name} | {other for other in QUANTITIES if other.startswith("PWR.")}
        check_writable(self._settings)
        async with self.keeper.paused():
            self._unit.check_permitted(name)
            if name.endswith(".CMD"):
                return await self._command(name) if choice_asked(name, value, row.labels) else {name}
            setting = SETTINGS[name]
            number = float(choice_asked(name, value, row.labels) if row.labels else await self._checked(setting, value))
            return await self._set(setting, number)

    # Settings

    async def _checked(self, setting: Setting, value: Value) -> float:
        number = number_asked(setting.name, value)
        await self._registers.learn_limits(setting.name, setting)
        limits = self._furnace.limits(setting)
        if limits is None:
            raise NotReady(f"{setting.name}: it and its limits have not been read yet")
        check_limits(setting.name, number, setting.unit, limits)
        return number

    async def _set(self, setting: Setting, number: float) -> set[str]:
        name = setting.name
        self._allow(setting, number)
        await self._handover.check(name, number)
        if name in ("TSET", "RSP", "RSPTRIM"):
            await self._registers.learn(name, "L-R", "LOC.t")  # both can be changed at the front panel at any time
        remote = bool(self._unit.value("L-R"))
        if name == "REMOTE":
            await self._set_remote(bool(number))
        elif name == "RSP" or (name == "TSET" and remote):
            await self._write_remote(name, number, remote)
        else:
            if name == "RSPTRIM":
                await self._handover.check_total(name, trim=number)
            code = float(setting.codes[int(number)]) if setting.labels else number
            await self._registers.apply(name, setting.register, code, goal=number)
        fresh = await self._follow_up(name)
        self._furnace.accept(*_MOVED.get(name, ()), name)
        if name == "TSET" and not permit.current().ended:  # what has overtaken it has set another one
            self._furnace.demand(name).accept(number)
        return _signals_of({setting.register, "Rm.SP", *fresh}) | {name, f"{name}.RBV", *_MOVED.get(name, ())}

    async def _follow_up(self, name: str) -> set[str]:
        """Read what may have changed with a setting; return what could be read.

        The setting has been read back, so nothing that goes wrong here makes the put fail.
        """
        try:
            return await self._unit.read(_AFFECTED.get(name, ()))
        except DeviceError as error:
            log.warning("%s: %s is set, but what may have changed with it cannot be read: %s",
                        self._settings.name, name, error)  # fmt: skip
            return set()

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

    # The remote setpoint

    def _trim(self) -> float:
        return self._unit.value("LOC.t") or 0.0

    async def _set_remote(self, on: bool) -> None:
        """Change the source of the setpoint, to remote with the one that is in force, so that nothing jumps."""
        if not on:
            await self._registers.apply("REMOTE", "L-R", 0.0, goal=0.0)
            await self.keeper.release()
            return
        await self._registers.check_remote("REMOTE")
        await self._registers.learn("REMOTE", "L-R", "LOC.t", "TG.SP", "Rm.SP", *_STATUS)
        if self._unit.value("L-R") and self.keeper.holding:
            return
        target = self._furnace.setting("TSET")
        if target is None:
            raise NotReady("REMOTE: the target has not been read yet")
        value = target - self._trim()
        await self._handover.check_total("REMOTE", value)
        await self._registers.apply("REMOTE", "Rm.SP", value)
        await self._registers.apply("REMOTE", "L-R", 1.0, goal=1.0)
        self.keeper.hold(value)

    async def _write_remote(self, name: str, number: float, repeat: bool) -> None:
        await self._registers.check_remote(name)
        value = number if name == "RSP" else number - self._trim()
        await self._handover.check_total(name, value)
        await self._registers.apply(name, "Rm.SP", value, goal=number)
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
        await self._registers.learn("timer", "TM.CFG")
        if not self._unit.value("TM.CFG"):
            raise Refused("the timer is not in use (TMR:TYPE is NONE)")
        if name == "TMR.RUN.CMD":
            await self._handover.check(name, 1.0)
        answered = await self._registers.send("timer", register, float(word))
        found = await self._registers.read("timer", register)
        if found not in accepted:
            known = found is not None and found in range(len(register.labels))
            label = register.labels[int(found or 0)] if known else f"an unknown state ({found})"
            answer = "the controller answered OK but" if answered else "no answer, and the timer"
            raise Refused(f"timer: {answer} is in {label}")
        return {name, "TMR.STATE"} | _signals_of(await self._follow_up(name))

    async def _acknowledge(self) -> set[str]:
        """Acknowledge every alarm in the controller, and with them the mains failure."""
        answered = await self._registers.send("acknowledge", REGISTERS["Ac.ALL"], 1.0)
        fresh = await self._follow_up("ACK.CMD")
        still = Status.NEW_ALARM in self._furnace.status or int(self._unit.value("Di.IP") or 0) & Inputs.MAINS_FAILED
        if not answered and not {"StAt", "Di.IP"} <= fresh:
            raise ReplyTimeout("acknowledge: outcome unknown, no answer")
        if still and not answered:
            raise Refused("acknowledge: no answer, and the controller still shows the alarm")
        self._furnace.safe.acknowledge()
        return {"ACK.CMD", "SAFE.STATE"} | _signals_of(fresh)

    async def _go_safe(self) -> set[str]:
        """Make the furnace safe; see devices.eurotherm.safe."""
        safe = self._settings.options.get("safe_temperature")
        if safe is None:
            raise Refused("SAFE: there is no safe_temperature in the site file")
        await SafeMaker(self._furnace, self._registers, self.keeper).go(float(safe))
        return {"SAFE.CMD", *SAFE_SIGNALS}


def _signals_of(registers: set[str]) -> set[str]:
    return {name for name in QUANTITIES if not registers.isdisjoint(registers_of(name))}
