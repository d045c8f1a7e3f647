"""Choices that hand the furnace to a target that the instrument has already, from the front panel for example."""

from __future__ import annotations

from devices.errors import NotReady
from devices.eurotherm.apply import RegisterWriter
from devices.eurotherm.catalogue import SETTINGS
from devices.eurotherm.furnace import Furnace
from devices.eurotherm.registers import SEGMENTS
from devices.model import Limits
from devices.rules.settings import check_limits

PROGRAMMER = 10  # value of TM.CFG
_CHOICES = {
    ("SPSEL", 0.0), ("SPSEL", 1.0), ("REMOTE", 0.0), ("MODE", 0.0), ("OPMODE", 0.0), ("TUNE", 1.0),
    ("TMR.RUN.CMD", 1.0),
}  # fmt: skip
_READ = ("L-R", "LOC.t", "Rm.SP", "SP.SEL", "SP1", "SP2", "TM.CFG", "T.STAT", "StAt", "StAt.INV")
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
        if self._site is None or (name, number) not in _CHOICES:
            return
        await self._registers.learn(name, *_READ)
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
