"""SAFE:CMD: brings a furnace to its safe temperature, step by step, whatever it is doing.

The local setpoint comes first, since every other step hands the furnace to it. A step that fails does not stop the
others; each is read back, and at the end the instrument itself is asked whether it is safe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from devices.errors import DeviceError, Refused, Withdrawn
from devices.eurotherm.apply import RegisterWriter
from devices.eurotherm.furnace import DONE, GOING, INCOMPLETE, Furnace, SafeReport
from devices.eurotherm.registers import REGISTERS, Status
from devices.eurotherm.remote import RemoteKeeper
from devices.permit import current

TOLERANCE = 0.05  # percent of output that are none
_LOOK = "read what the furnace is doing"
_READ = ("OP.LO", "L-R", "SP.SEL", "SP1", "SP2", "TG.SP", "WKG.SP", "PV.IN", "WRK.OP", "MAN.OP", "A-M", "TM.CFG",
         "T.STAT", "A.TUNE", "StAt", "StAt.INV")  # fmt: skip
MOVED = ("TSET", "SP1", "SP2", "REMOTE", "MODE", "MOUT", "TUNE")
"""Settings whose demand goes along with SAFE:CMD, whatever becomes of it."""


class SafeMaker:
    """Makes a furnace safe, once; ``report`` tells how far that has come."""

    def __init__(self, furnace: Furnace, registers: RegisterWriter, keeper: RemoteKeeper) -> None:
        self._furnace, self._unit = furnace, furnace.unit
        self._registers, self._keeper = registers, keeper
        self._report = SafeReport(GOING)

    async def go(self, safe: float) -> None:
        """Make the furnace go to ``safe`` C. Raises Refused when it is not safe at the end, and tells why."""
        furnace, report = self._furnace, self._report
        before, furnace.safe = furnace.safe, report
        try:
            await self._steps(safe)
            self._judge(safe)
        except BaseException:
            if current().begun:
                report.unsafe.append("it was not carried out to its end")
            else:
                report.instead = before  # nothing was begun
            raise
        finally:
            furnace.accept(*MOVED)
            report.state = INCOMPLETE if report.unsafe else DONE
            if report.unsafe and report.instead is None and furnace.safe.state == DONE:
                furnace.safe = report  # one that was put later was safe before this one found that it is not
        if report.unsafe:
            raise Refused(f"SAFE: {report.message}")

    async def _steps(self, safe: float) -> None:
        value = self._unit.value
        await self._try(_LOOK, self._learn)
        local = "SP2" if value("SP.SEL") else "SP1"
        await self._try(f"local setpoint {safe:.10g} C", lambda: self._write(local, safe))
        at = value(local)
        if at is None or (at > safe and at > (value("WKG.SP") or 0.0)):
            # Leaving remote, program or manual would heat: without a setpoint that is safe, no output at all.
            await self._try("manual without output", self._cut)
            return
        if self._is_set("L-R"):
            await self._try("setpoint local", self._leave_remote)
        if value("A.TUNE"):
            await self._try("autotune stopped", lambda: self._write("A.TUNE", 0.0))
        if value("TM.CFG") and self._is_set("T.STAT"):
            await self._try("program or timer reset", lambda: self._write("T.STAT", 0.0))
        if self._is_set("A-M"):
            await self._try("manual left", lambda: self._leave_manual(safe))
        await self._try(_LOOK, self._learn)

    def _is_set(self, name: str) -> bool:
        """Whether a register is not 0, or may not be because it could not be read."""
        return name not in self._unit.missing and self._unit.value(name) != 0.0

    async def _try(self, what: str, step: Callable[[], Awaitable[str | None]]) -> None:
        """Do one step; what goes wrong is reported, and the others go on."""
        try:
            done = await step()
        except Withdrawn:
            raise
        except DeviceError as error:
            self._report.unsafe.append(f"{what}: {str(error).removeprefix('SAFE: ')}")
        else:
            if what != _LOOK:
                self._report.done.append(done or what)

    async def _learn(self) -> None:
        await self._registers.learn("SAFE", *_READ)

    async def _write(self, name: str, value: float) -> None:
        await self._registers.apply("SAFE", name, value, sparing=False)

    async def _leave_remote(self) -> None:
        """Leave remote; without a repetition the controller does so by itself within 5 s, should it refuse."""
        await self._keeper.release()
        await self._write("L-R", 0.0)

    async def _leave_manual(self, safe: float) -> str | None:
        """Leave manual, unless the loop would then put out more than it does now."""
        before, temp = self._unit.value("WRK.OP") or 0.0, self._furnace.temperature
        if temp is None or temp < safe:
            await self._cut()
            return "in manual without output, since in automatic it would heat"
        await self._write("A-M", 0.0)
        await self._registers.learn("SAFE", "WRK.OP", "StAt", "StAt.INV")
        output = self._unit.value("WRK.OP") or 0.0
        if output <= before + TOLERANCE:
            return None
        await self._cut()
        raise Refused(
            f"the output in automatic was {output:.10g} %, {before:.10g} % before: in manual without output now"
        )

    async def _cut(self) -> None:
        """Go to manual, or stay there, without output."""
        if self._unit.value("A-M") != 1.0:
            await self._write("A-M", 1.0)
        await self._write("MAN.OP", max(0.0, self._unit.value("OP.LO") or 0.0))
        await self._registers.learn("SAFE", "WRK.OP", "StAt", "StAt.INV")

    def _judge(self, safe: float) -> None:
        """Report what the instrument itself says about everything that keeps a furnace from cooling down."""
        value, unsafe = self._unit.value, self._report.unsafe
        output = value("WRK.OP") or 0.0
        if value("A-M") or Status.MANUAL in self._furnace.status:
            if output > TOLERANCE:
                unsafe.append(f"the loop is in manual with an output of {output:.10g} %")
            return
        if value("L-R"):
            unsafe.append("the setpoint is still remote")
        if value("TM.CFG") and value("T.STAT"):
            unsafe.append(f"the program or timer is in {REGISTERS['T.STAT'].labels[int(value('T.STAT') or 0)]}")
        target = value("TG.SP")
        if target is None or target > safe + TOLERANCE:
            unsafe.append(f"the target is {'unknown' if target is None else f'{target:.10g} C'}")
