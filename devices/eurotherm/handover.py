"""Choices that hand the furnace to a target that the instrument has already, from the front panel for example."""

from __future__ import annotations

from devices.errors import NotReady
from devices.eurotherm.apply import RegisterWriter
from devices.eurotherm.furnace import Furnace
from devices.eurotherm.registers import SEGMENTS
from devices.eurotherm.unit import EurothermUnit
from devices.model import DeviceSettings, Limits
from devices.rules.settings import check_limits

PROGRAMMER = 10  # value of TM.CFG
_CHOICES = {
    ("SPSEL", 0.0), ("SPSEL", 1.0), ("REMOTE", 0.0), ("MODE", 0.0), ("OPMODE", 0.0), ("TUNE", 1.0),
    ("TMR.RUN.CMD", 1.0),
}  # fmt: skip
_READ = ("L-R", "LOC.t", "Rm.SP", "SP.SEL", "SP1", "SP2", "TM.CFG", "StAt", "StAt.INV")


class Handover:
    """Refuses what would lift the furnace over the limits that the site has for TSET."""

    def __init__(
        self, unit: EurothermUnit, furnace: Furnace, registers: RegisterWriter, settings: DeviceSettings
    ) -> None:
        self._unit = unit
        self._furnace = furnace
        self._registers = registers
        self._site = settings.limits.get("TSET")

    async def check(self, name: str, number: float) -> None:
        """Read the targets that a choice puts in force, and raise OutOfLimits when one is outside the site's limits."""
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
        if run and unit.value("TM.CFG") == PROGRAMMER:
            segments = [f"SEG{segment}.TSP" for segment in range(1, SEGMENTS + 1)]
            await self._registers.learn(name, *segments)
            return {one: unit.value(one) for one in segments if one not in unit.missing}
        if self._furnace.remote and name not in ("REMOTE", "SPSEL"):
            return {"the remote setpoint": self._furnace.setting("TSET")}
        second = number if name == "SPSEL" else unit.value("SP.SEL")
        local = "SP2" if second else "SP1"
        return {local: unit.value(local)}
