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
from devices.eurotherm.registers import CONFIGURATION, REGISTERS, SEGMENTS, Status
from devices.eurotherm.remote import RemoteKeeper
from devices.eurotherm.safe import MOVED, SafeMaker
from devices.model import Limits, Value
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

PROGRAMMER = 10  # value of TM.CFG
_HANDING_OVER = {
    ("SPSEL", 0.0), ("SPSEL", 1.0), ("REMOTE", 0.0), ("MODE", 0.0), ("OPMODE", 0.0), ("TUNE", 1.0),
    ("TMR.RUN.CMD", 1.0),
}  # fmt: skip
"""Choices that hand the furnace to a target that the instrument has already, from the front panel for example."""

_TARGETS_OF = ("L-R", "LOC.t", "Rm.SP", "SP.SEL", "SP1", "SP2", "TM.CFG", "T.STAT", "StAt", "StAt.INV")
_ON_MANUAL = ("WRK.OP", "F.OP", "MAN.OP")
"""The output on entering manual, by F.MOD: the one in force, the forced one, the last one (handbook HA028651)."""


class Handover:
    """Refuses what would lift the furnace over the limits that the site has for TSET and MOUT."""

    def __init__(self, furnace: Furnace, registers: RegisterWriter) -> None:
        self._furnace, self._unit, self._registers = furnace, furnace.unit, registers
        self._site = furnace.settings.limits.get("TSET")
        self._output = furnace.settings.limits.get("MOUT")

    async def check(self, name: str, number: float) -> None:
        """Read the targets that a choice puts in force, and raise OutOfLimits when one is outside the site's limits."""
        if (name, number) == ("MODE", 1.0):
            await self._check_manual(name)
        if self._site is None or (name, number) not in _HANDING_OVER:
            return
        await self._registers.learn(name, *_TARGETS_OF)
        limits = Limits(*self._site, "site", "site")
        for what, target in (await self._targets(name, number)).items():
            if target is None:
                raise NotReady(f"{name}: {what} has not been read yet")
            check_limits(f"{name}: {what} is", target, "C", limits)

    async def _targets(self, name: str, number: float) -> dict[str, float | None]:
        unit, run = self._unit, name == "TMR.RUN.CMD"
        targets: dict[str, float | None] = {}
        if unit.value("TM.CFG") == PROGRAMMER and (run or unit.value("T.STAT")):
            segments = [f"SEG{segment}.TSP" for segment in range(1, SEGMENTS + 1)]
            await self._registers.learn(name, *segments)
            targets = {one: unit.value(one) for one in segments if one not in unit.missing}
            if run:
                return targets
        if self._furnace.remote and name not in ("REMOTE", "SPSEL"):
            return targets | {"the remote setpoint": self._furnace.setting("TSET")}
        second = number if name == "SPSEL" else unit.value("SP.SEL")
        local = "SP2" if second else "SP1"
        return targets | {local: unit.value(local)}

    async def _check_manual(self, name: str) -> None:
        """Raise OutOfLimits when entering manual would put out more or less than the site allows."""
        if self._output is None:
            return
        await self._registers.learn(name, "F.MOD", *_ON_MANUAL)
        mode = int(self._unit.value("F.MOD") or 0)
        output = self._unit.value(_ON_MANUAL[mode]) if mode in range(len(_ON_MANUAL)) else None
        if output is None:
            raise NotReady(f"{name}: the output on entering manual has not been read yet")
        check_limits(f"{name}: {_ON_MANUAL[mode]} is", output, "%", Limits(*self._output, "site", "site"))

    async def check_total(self, name: str, setpoint: float | None = None, trim: float | None = None) -> None:
        """Raise OutOfLimits when remote setpoint and trim together are outside the limits of the target.

        What is not given is what the instrument has now; a trim counts while the setpoint is remote only.
        """
        await self._registers.learn(name, "L-R", "LOC.t", "Rm.SP")
        if setpoint is None and not self._unit.value("L-R"):
            return
        setpoint = (self._unit.value("Rm.SP") or 0.0) if setpoint is None else setpoint
        trim = (self._unit.value("LOC.t") or 0.0) if trim is None else trim
        limits = self._furnace.limits(SETTINGS["TSET"])
        if limits is not None:
            check_limits(f"{name}: setpoint and trim together", setpoint + trim, "C", limits)


class EurothermWriter:
    """Writes to one instrument; in which order writes come is settled before they get here."""

    def __init__(self, furnace: Furnace) -> None:
        self.keeper = RemoteKeeper(furnace)
        self._furnace, self._unit, self._settings = furnace, furnace.unit, furnace.settings
        self.registers = RegisterWriter(furnace)
        self.handover = Handover(furnace, self.registers)

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
        await self.registers.learn_limits(setting.name, setting)
        limits = self._furnace.limits(setting)
        if limits is None:
            raise NotReady(f"{setting.name}: it and its limits have not been read yet")
        check_limits(setting.name, number, setting.unit, limits)
        return number

    async def _set(self, setting: Setting, number: float) -> set[str]:
        name = setting.name
        self._allow(setting, number)
        await self.handover.check(name, number)
        if name in ("TSET", "RSP", "RSPTRIM"):
            await self.registers.learn(name, "L-R", "LOC.t")  # both can be changed at the front panel at any time
        remote = bool(self._unit.value("L-R"))
        if name == "REMOTE":
            await self._set_remote(bool(number))
        elif name == "RSP" or (name == "TSET" and remote):
            await self._write_remote(name, number, remote)
        else:
            if name == "RSPTRIM":
                await self.handover.check_total(name, trim=number)
            code = float(setting.codes[int(number)]) if setting.labels else number
            await self.registers.apply(name, setting.register, code, goal=number)
        fresh = await self._follow_up(name)
        self._furnace.accept(*_MOVED.get(name, ()), name)
        if name == "TSET" and not permit.current().ended:  # what has overtaken it has set another one
            self._furnace.demands[name].accept(number)
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
            await self.registers.apply("REMOTE", "L-R", 0.0, goal=0.0)
            await self.keeper.release()
            return
        await self.registers.check_remote("REMOTE")
        await self.registers.learn("REMOTE", "L-R", "LOC.t", "TG.SP", "Rm.SP", *_STATUS)
        if self._unit.value("L-R") and self.keeper.holding:
            return
        target = self._furnace.setting("TSET")
        if target is None:
            raise NotReady("REMOTE: the target has not been read yet")
        value = target - self._trim()
        await self.handover.check_total("REMOTE", value)
        await self.registers.apply("REMOTE", "Rm.SP", value)
        await self.registers.apply("REMOTE", "L-R", 1.0, goal=1.0)
        self.keeper.hold(value)

    async def _write_remote(self, name: str, number: float, repeat: bool) -> None:
        await self.registers.check_remote(name)
        value = number if name == "RSP" else number - self._trim()
        await self.handover.check_total(name, value)
        await self.registers.apply(name, "Rm.SP", value, goal=number)
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
        await self.registers.learn("timer", "TM.CFG")
        if not self._unit.value("TM.CFG"):
            raise Refused("the timer is not in use (TMR:TYPE is NONE)")
        if name == "TMR.RUN.CMD":
            await self.handover.check(name, 1.0)
        answered = await self.registers.send("timer", register, float(word))
        found = await self.registers.read("timer", register)
        if found not in accepted:
            known = found is not None and found in range(len(register.labels))
            label = register.labels[int(found or 0)] if known else f"an unknown state ({found})"
            answer = "the controller answered OK but" if answered else "no answer, and the timer"
            raise Refused(f"timer: {answer} is in {label}")
        return {name, "TMR.STATE"} | _signals_of(await self._follow_up(name))

    async def _acknowledge(self) -> set[str]:
        """Acknowledge every alarm in the controller, and with them the mains failure."""
        answered = await self.registers.send("acknowledge", REGISTERS["Ac.ALL"], 1.0)
        fresh = await self._follow_up("ACK.CMD")
        still = Status.NEW_ALARM in self._furnace.status or self._furnace.mains_failed
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
        await SafeMaker(self._furnace, self.registers, self.keeper).go(float(safe))
        return {"SAFE.CMD", *SAFE_SIGNALS}


def _signals_of(registers: set[str]) -> set[str]:
    return {name for name in QUANTITIES if not registers.isdisjoint(registers_of(name))}
