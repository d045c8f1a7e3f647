"""Driver of a Eurotherm 3200 furnace controller (3216, 3208, 3204): batches of signals in, readings out.

Connecting and reading send nothing but reads; writing is in devices.eurotherm.writer. A fast scan is two requests: the
five values of the display as floats, and the status words with the load currents and the mains flag. What is read less
often comes in portions of about one request, so that no scan becomes long.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from devices.clock import DriverClock
from devices.errors import DeviceError, Garbled, LinkDown, Refused
from devices.eurotherm.catalogue import QUANTITIES, SETTING_OF, SETTINGS, Rate, registers_of, shown_decimals, signals
from devices.eurotherm.furnace import INCOMPLETE, RANGE, Furnace
from devices.eurotherm.memory import Computer, FurnaceMemory
from devices.eurotherm.raw import USAGE, RawWriter, eurotherm_request
from devices.eurotherm.readings import readings_of
from devices.eurotherm.registers import REGISTERS, Register, Scale, register_at
from devices.eurotherm.unit import ABSENT_CODES, EurothermUnit
from devices.eurotherm.writer import SAFE_SIGNALS, TIMER_COMMANDS, EurothermWriter
from devices.links.modbus import ModbusUnit, open_unit
from devices.links.modbus_frames import ModbusRefusal
from devices.model import DeviceSettings, Kind, Limits, RawRequest, Reading, Signal, Value, Way
from devices.rules.settings import LOST_AFTER_SCANS, moved

CHECK_EVERY = 30.0  # seconds; the decimals can be changed at the front panel at any time
_FAST = frozenset(r for row in QUANTITIES.values() if row.rate is Rate.FAST for r in registers_of(row.name))
_IDENTITY = frozenset(("VERSION", "TYPE", "ADDR"))  # read before other constants: another instrument is noticed
_TEMPERATURES = ("TDIFF", "PWR.TBEFORE", "PWR.TMIN", "PWR.TAFTER")
_COMMAND_WORDS = {("Ac.ALL", 1): "ACK.CMD"} | {("T.STAT", word): name for name, (word, _) in TIMER_COMMANDS.items()}


class EurothermDriver:
    """One controller, as ``devices.model.Driver`` describes it.

    Options of the site file: ``unit`` (address on the line), ``decimals`` (for instruments that do not tell),
    ``state_dir``, ``writes_per_hour``, ``safe_temperature``, ``settle``, ``deviation``, ``slope_limit``,
    ``allow_no_ramp``, ``allow_configuration``. Raises ValueError when the address is not one of a serial port.
    """

    raw_usage: Final = USAGE
    """The words that ``raw_request`` takes."""

    def __init__(
        self,
        settings: DeviceSettings,
        clock: DriverClock | None = None,
        link: ModbusUnit | None = None,
        computer: Computer | None = None,
    ) -> None:
        self.settings: Final = settings
        self._clock = clock or DriverClock()
        number = int(settings.options.get("unit", 1))
        self._link = link or open_unit(settings.address, number, settings.timeout)
        self.stats: Final = self._link.stats
        self._unit = EurothermUnit(settings.name, self._link, self._clock, settings.options.get("decimals"))
        self._memory = FurnaceMemory(settings, computer)
        self._furnace = Furnace(self._unit, settings, self._memory, self._clock)
        self._writer = EurothermWriter(self._furnace)
        self.raw: Final = RawWriter(self._furnace, self._writer).access
        self._owed: set[str] = set()  # signals whose answer was missed
        self._checked = 0.0
        self._reminded = False
        self._reported: float | None = None  # decimals as the instrument reported them when they were last checked

    def signals(self) -> Mapping[str, Signal]:
        """Every signal of this controller in the detail of the site file."""
        return signals(self.settings)

    async def connect(self) -> None:
        """Open the link, see that it is a controller and whether it has floats; sends nothing but reads.

        Raises LinkDown, ReplyTimeout, or Garbled when it does not answer like a controller of the family.
        """
        await self._memory.load()
        try:
            await self._link.connect()
            await self._unit.identify()
        except DeviceError as error:
            await self._link.close()
            raise self._noted(error) from error
        self._reminded, self._reported = False, math.nan

    async def close(self) -> None:
        """Close the link and save what is to be kept; safe to call at any time and more than once."""
        self._furnace.release_held()
        self._memory.power.paused()
        await self._writer.keeper.release("the connection was closed")
        await self._link.close()
        self._unit.cells.clear()
        self._furnace.link_lost()
        self._owed.clear()
        await self._memory.flush()

    def _noted(self, error: DeviceError) -> DeviceError:
        """Report a lost link to the power record; an instrument that refuses what every one has is not understood."""
        if isinstance(error, ModbusRefusal):
            absent = error.code in ABSENT_CODES
            error = Garbled(f"{'not a controller of the family' if absent else 'only refusals'}: {error}")
        reasons = {LinkDown: "the serial port was gone", Garbled: "the answers could not be read"}
        self._furnace.release_held()
        self._memory.power.lost(reasons.get(type(error), "the controller did not answer"))
        return error

    def portions(self, names: Sequence[str]) -> list[list[str]]:
        """Divide signals by the blocks in which their registers are read; see devices.model.Portioned."""
        unit, furnace = self._unit, self._furnace
        known = _FAST | unit.missing
        slow = {name: [one for one in furnace.registers(name) if one not in known] for name in names}
        blocks = unit.planner.blocks(dict.fromkeys(r for registers in slow.values() for r in registers))
        portions = [(set(block.names), list[str]()) for block in blocks]
        for name, registers in slow.items():
            mine = [portion for portion in portions if not portion[0].isdisjoint(registers)] or portions[:1]
            if not mine:
                return [list(names)]
            for more in mine[1:]:  # a signal of several blocks joins them
                mine[0][0].update(more[0])
                mine[0][1].extend(more[1])
                portions.remove(more)
            mine[0][1].append(name)
        portions.sort(key=lambda portion: portion[0].isdisjoint(_IDENTITY))
        return [signals for _, signals in portions]

    async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
        """Read a batch of signals, and again what was missed in the batches before.

        A signal whose answer could not be read is left out the first time and INVALID from the second in a row. Nothing
        is returned when nothing but refusals came. Raises LinkDown or ReplyTimeout when the controller is lost, Garbled
        when it only sends rubbish or refusals.
        """
        if not self._link.connected:
            raise self._noted(LinkDown(f"{self.settings.address}: not connected"))
        wanted = dict.fromkeys((*names, *self._owed))
        try:
            answered = await self._poll(dict.fromkeys(r for name in wanted for r in self._furnace.registers(name)))
        except DeviceError as error:
            raise self._noted(error) from error
        answers, needs = self._unit.answers, self._furnace.registers
        self._owed = {name for name in wanted if not answered or (answers.counts and answers.missed(*needs(name)))}
        return readings_of(self._furnace, [*wanted, *moved(self._furnace.demands)]) if answered else {}

    async def _poll(self, wanted: dict[str, None]) -> bool:
        """Read registers, the fast ones first; returns False when those were asked for and none of them answered."""
        unit, fresh = self._unit, set[str]()
        if unit.cells:
            wanted |= dict.fromkeys(self._furnace.unreported())
        names = [name for name in wanted if name not in unit.missing]
        if names and not unit.planner.floats and not await unit.read_decimals():
            scaled = {name for name in names if REGISTERS[name].scale in (Scale.PV, Scale.RATE)}
            unit.answers.bad(*scaled)  # a word is worth nothing when its point may have moved
            names = [name for name in names if name not in scaled]
        fast = unit.planner.blocks(name for name in names if name in _FAST)
        for block in fast:
            fresh |= await unit.read_block(block)
            if not fresh and unit.answers.fruitless:
                break
        if fast and not fresh:
            unit.answers.exchanged(False, self.stats.last_error, LOST_AFTER_SCANS if unit.cells else 1)
            return False
        for block in unit.planner.blocks(name for name in names if name not in _FAST):
            fresh |= await unit.read_block(block)
        if fast:
            unit.answers.exchanged(True, "")
            fresh |= await unit.ask_missing()
            await self._check()
        self._furnace.polled(fresh)
        if not self._reminded and unit.value("L-R") is not None:
            self._reminded = True
            self._writer.keeper.remind()
        return True

    async def _check(self) -> None:
        """Compare word and float again, now and then, or when the instrument says that its decimals have changed."""
        reported, now = self._unit.value("DEC.P"), self._clock.monotonic()
        due = reported != self._reported or now - self._checked > CHECK_EVERY
        if due and await self._unit.check():
            self._reported, self._checked = reported, now

    def way(self, name: str, value: Value) -> Way:
        """One write at a time on the line, whatever its instrument; making safe does not wait."""
        return Way(self.settings.address.partition("?")[0], "", urgent=name == "SAFE.CMD" and bool(value))

    async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
        """Apply one setting or command and read it back; see devices.eurotherm.writer for what it promises."""
        try:
            changed = await self._writer.write(name, value)
        except DeviceError as error:
            shown = SAFE_SIGNALS if name == "SAFE.CMD" else {name, f"{name}.RBV"}
            error.readings = readings_of(self._furnace, shown & QUANTITIES.keys())
            if not isinstance(error, Refused):
                self._noted(error)
            raise
        return readings_of(self._furnace, changed | {"WRITES", "WRITES.MAX", "WRITES.MSG"})

    async def forbid_writes(self, why: str) -> None:
        """Send nothing that changes the controller any more, not even the remote setpoint once more.

        The controller then goes back to its local setpoint within 5 s. See devices.model.WriteGuard.
        """
        self._unit.forbidden = why
        await self._writer.keeper.forbid(why)

    def permit_writes(self) -> None:
        """Take puts again; a remote setpoint is repeated again once it has been put."""
        self._unit.forbidden = ""
        self._writer.keeper.remind()

    def limits(self, name: str) -> Limits | None:
        """Return the tightest of instrument and site; None when a setting has none or they are not known."""
        return self._furnace.limits(SETTINGS[name]) if name in SETTINGS else None

    def precision(self, name: str) -> int | None:
        """Return the decimals that the front panel shows for a signal; None when it does not tell."""
        row, decimals = QUANTITIES.get(name), self._unit.decimals
        if row is None or row.kind is not Kind.FLOAT or decimals is None:
            return None
        base = SETTINGS.get(name.rpartition(".")[0])
        register = "PV.IN" if name in _TEMPERATURES else row.register or (base.register if base is not None else "")
        scale = REGISTERS[register].scale if register else None
        return shown_decimals(scale, decimals, row.digits) if scale in (Scale.PV, Scale.RATE) else None

    def display_range(self, name: str) -> tuple[float, float] | None:
        """Return the range of the instrument for what it measures, and the limits in force for what is set."""
        base = name.removesuffix(".RBV")
        if base in SETTINGS and base != name:
            limits = self.limits(base)
            return None if limits is None else (limits.low, limits.high)
        if name in ("TEMP", "TWORK"):
            low, high = map(self._unit.value, RANGE)
            return None if low is None or high is None else (low, high)
        return (0.0, 100.0) if name == "OUT" else None

    def latched(self) -> Mapping[str, Reading]:
        """Return the signals whose alarm is kept here, whatever the link does; see devices.model.Latching."""
        latches = {"PWR.COUNT": self._memory.power.latched, "SAFE.STATE": self._furnace.safe.state == INCOMPLETE}
        return readings_of(self._furnace, [name for name, latched in latches.items() if latched])

    # Registers by number

    def raw_request(self, words: Sequence[str], value: str | None) -> RawRequest:
        """Understand a raw access in words; see devices.model.RawAccess."""
        return eurotherm_request(self.raw, self.way("", 0), words, value)

    def word(self, register: int) -> int | None:
        """Return a register's word, 0 to 65535, from the last scan; None when there is no reading.

        Raises Refused when this register is not scanned.
        """
        row = register_at(register)
        if not any(row.name in registers_of(signal) for signal in self.signals()):
            raise Refused(f"register {register} is not among those that are scanned")
        return None if row.name == "PV.IN" and self._furnace.temperature is None else self._unit.word(row)

    def setting_at(self, register: int, word: int) -> tuple[str, Value]:
        """Return the signal to set, and its value, for a word meant for a register.

        Raises Refused when nothing can be set there, or not in this detail, and when its decimals are not known.
        """
        row = register_at(register)
        command = _COMMAND_WORDS.get((row.name, word))
        name, value = (command, 1) if command else self._setting_of(row, word)
        if name not in self.signals():
            raise Refused(f'register {register} can be set with detail = "full" only')
        return name, value

    def _setting_of(self, row: Register, word: int) -> tuple[str, Value]:
        setting = SETTING_OF.get(row.name)
        if setting is None:
            raise Refused(f"register {row.address} cannot be set here")
        if setting.labels:
            if word not in setting.codes:
                raise Refused(f"register {row.address}: {word} is none of {', '.join(map(str, setting.codes))}")
            return setting.name, setting.codes.index(word)
        number = self._unit.number(row, word)
        if number is None:
            raise Refused(f"register {row.address}: the place of its decimal point is not known")
        return setting.name, number if setting.kind is Kind.FLOAT else int(number)
