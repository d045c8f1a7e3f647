"""Driver of a Eurotherm 3200 furnace controller (3216, 3208, 3204): batches of signals in, readings out.

Connecting and reading send nothing but reads; writing is in devices.eurotherm.writer. A fast scan is two requests: the
five values of the display as floats, and the status words with the load currents and the mains flag. What is read less
often is spread over the scans in between, so that no scan becomes long.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from devices.clock import DriverClock
from devices.errors import DeviceError, Garbled, LinkDown, Refused
from devices.eurotherm.catalogue import QUANTITIES, SETTINGS, SIGNALS, Rate, registers_of
from devices.eurotherm.family import DEFAULT_UNIT
from devices.eurotherm.meaning import Furnace
from devices.eurotherm.memory import FurnaceMemory
from devices.eurotherm.raw_words import USAGE, eurotherm_request
from devices.eurotherm.registers import BY_ADDRESS, REGISTERS
from devices.eurotherm.unit import EurothermUnit, Link
from devices.eurotherm.writer import TIMER_COMMANDS, EurothermWriter
from devices.links.modbus import open_unit
from devices.model import DeviceSettings, Limits, LinkStats, RawRequest, Reading, Signal, Value, Way

DECIMALS_EVERY = 30.0  # seconds; they can be changed at the front panel at any time
EXTRA = 3.0  # requests for slow registers per second and scan, so that all are read within their 10 s

_FAST = frozenset(r for row in QUANTITIES.values() if row.rate is Rate.FAST for r in registers_of(row.name))
_BY_REGISTER = {setting.register: setting for setting in SETTINGS.values()}
_TIMER_WORDS = {word: name for name, (word, _) in TIMER_COMMANDS.items()}


class EurothermDriver:
    """One controller, as ``devices.model.Driver`` describes it.

    Options of the site file: ``unit`` (address on the line), ``decimals`` (for instruments that do not tell),
    ``state_dir``, ``writes_per_hour``, ``safe_temperature``, ``settle``, ``deviation``, ``slope_limit``,
    ``allow_no_ramp``, ``allow_configuration``. Raises ValueError when the address is not one of a serial port.
    """

    raw_usage: Final = USAGE
    """The words that ``raw_request`` takes."""

    def __init__(self, settings: DeviceSettings, clock: DriverClock | None = None, link: Link | None = None) -> None:
        self.settings: Final = settings
        self._clock = clock or DriverClock()
        number = int(settings.options.get("unit", DEFAULT_UNIT))
        self._link: Link = link or open_unit(settings.address, number, settings.timeout)
        self._unit = EurothermUnit(settings.name, self._link, settings.options.get("decimals"), self._clock.time)
        self._memory = FurnaceMemory(settings)
        self._furnace = Furnace(self._unit, settings, self._memory, self._clock)
        self._writer = EurothermWriter(self._unit, self._furnace, self._memory, settings, self._clock)
        self._backlog: dict[str, None] = {}
        self._owed: dict[str, None] = {}
        self._complete = False
        self._checked = 0.0

    @property
    def stats(self) -> LinkStats:
        """Counters of the link."""
        return self._link.stats

    def signals(self) -> Mapping[str, Signal]:
        """Every signal that this controller can have."""
        return SIGNALS

    async def connect(self) -> None:
        """Open the link, learn version, float area and decimals; sends nothing but reads.

        Raises LinkDown, ReplyTimeout, or Garbled when it does not answer like a controller of the family.
        """
        await self._memory.load()
        try:
            await self._link.connect()
            await self._unit.identify()
        except DeviceError as error:
            await self._link.close()
            raise self._noted(error) from error
        self._checked = self._clock.monotonic()
        self._complete = False

    async def close(self) -> None:
        """Close the link and save what is to be kept; safe to call at any time and more than once."""
        self._memory.power.paused()
        await self._writer.keeper.release("the connection was closed")
        await self._link.close()
        self._unit.cells.clear()
        self._furnace.link_lost()
        self._backlog.clear()
        self._owed.clear()
        await self._memory.flush()

    def _noted(self, error: DeviceError) -> DeviceError:
        """Tell the power record of a lost link; an instrument that refuses what every one has is not understood."""
        if isinstance(error, Refused):
            error = Garbled(f"not a controller of the family: {error}")
        reasons = {LinkDown: "the serial port was gone", Garbled: "the answers could not be read"}
        self._memory.power.lost(reasons.get(type(error), "the controller did not answer"))
        return error

    async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
        """Read a batch of signals; the slower ones may come with one of the next batches.

        A signal whose answer could not be read is left out the first time and INVALID from the second in a row.
        Raises LinkDown or ReplyTimeout when the controller is lost, Garbled when it only sends rubbish.
        """
        if not self._link.connected:
            raise self._noted(LinkDown(f"{self.settings.address}: not connected"))
        try:
            await self._poll(dict.fromkeys(r for name in names for r in self._furnace.registers(name)))
        except DeviceError as error:
            raise self._noted(error) from error
        self._owed |= dict.fromkeys(names)
        done = [name for name in self._owed if self._backlog.keys().isdisjoint(self._furnace.registers(name))]
        for name in done:
            del self._owed[name]
        return self._furnace.readings(done)

    async def _poll(self, wanted: dict[str, None]) -> None:
        """Read the fast registers among these, and as many of the others as there is time for."""
        unit = self._unit
        if not unit.planner.floats and not _FAST.isdisjoint(wanted):
            await unit.read(("DEC.P",))  # without floats a value is worth nothing when the point has moved
            await unit.find_decimals()
        wanted = {**self._backlog, **wanted}
        fresh = await unit.read([name for name in wanted if name in _FAST])
        blocks = unit.planner.blocks([name for name in wanted if name not in _FAST and name not in unit.missing])
        now = len(blocks) if not self._complete else max(round(EXTRA), round(EXTRA * self.settings.period))
        if len(blocks) > now:
            waiting = list(self._backlog)
            blocks.sort(key=lambda block: min((waiting.index(n) for n in block.names if n in waiting), default=999))
        for block in blocks[:now]:
            fresh |= await unit.read_block(block)
        self._backlog = dict.fromkeys(name for block in blocks[now:] for name in block.names)
        await self._check_decimals(bool(blocks))
        self._furnace.polled(fresh)
        if not self._complete:
            self._complete = True
            self._writer.keeper.remind()

    async def _check_decimals(self, busy: bool) -> None:
        """Compare word and float again, now and then, or when the instrument says that they have changed."""
        told, now = self._unit.value("DEC.P"), self._clock.monotonic()
        changed = told is not None and told != self._unit.decimals
        if changed or (not busy and now - self._checked > DECIMALS_EVERY):
            self._checked = now
            await self._unit.find_decimals()

    def way(self, name: str, value: Value) -> Way:
        """One write at a time on the line, whatever its instrument; making safe does not wait."""
        return Way(self.settings.address.partition("?")[0], "", urgent=name == "SAFE.CMD" and bool(value))

    async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
        """Apply one setting or command and read it back; see devices.eurotherm.writer for what it promises."""
        try:
            changed = await self._writer.write(name, value)
        except DeviceError as error:
            error.readings = self._furnace.readings({name, f"{name}.RBV"} & QUANTITIES.keys())
            if not isinstance(error, Refused):
                self._noted(error)
            raise
        return self._furnace.readings(changed | {"WRITES", "WRITES.MAX", "WRITES.MSG"})

    async def forbid_writes(self, why: str) -> None:
        """Send nothing that changes the controller any more, not even the remote setpoint once more.

        The controller then goes back to its local setpoint within 5 s. See devices.model.WriteGuard.
        """
        await self._writer.forbid(why)

    def permit_writes(self) -> None:
        """Take puts again; a remote setpoint is repeated again once it has been put."""
        self._writer.permit()

    def limits(self, name: str) -> Limits | None:
        """Return the tightest of instrument and site; None when a setting has none or they are not known."""
        return self._furnace.limits(SETTINGS[name]) if name in SETTINGS else None

    def precision(self, name: str) -> int | None:
        """Return the decimals that the front panel shows for a signal; None when it does not tell."""
        return self._furnace.precision(name) if name in QUANTITIES else None

    # Registers by number

    async def raw(self, register: int, value: float | None = None, as_float: bool = False) -> float:
        """Read any register, or write it and read it back: as a signed word, or as a float in the IEEE area.

        Registers for configuration, unknown ones (calibration is among them) and configuration mode are refused
        unless the site file has ``allow_configuration``; limits of settings, ``readonly`` and the care for the
        memory hold as for any put. Raises Refused and its kin, ReplyTimeout, LinkDown, Garbled.
        """
        return await self._writer.raw(register, value, as_float)

    def raw_request(self, words: Sequence[str], value: str | None) -> RawRequest:
        """Understand a raw access in words; see devices.model.RawAccess."""
        return eurotherm_request(self.raw, self.way("", 0), words, value)

    def word(self, register: int) -> int | None:
        """Return a register's word, 0 to 65535, from the last scan; None when there is no reading.

        Raises Refused when this register is not scanned.
        """
        if register not in _SCANNED:
            raise Refused(f"register {register} is not among those that are scanned")
        if register == REGISTERS["PV.IN"].address and self._furnace.temperature is None:
            return None
        return self._unit.word(register)

    def setting_at(self, register: int, word: int) -> tuple[str, Value]:
        """Return the signal to set, and its value, for a word meant for a register.

        Raises Refused when nothing can be set there, NotReady when its decimals are not known.
        """
        row = BY_ADDRESS.get(register)
        if row is not None and row.name == "Ac.ALL" and word == 1:
            return "ACK.CMD", 1
        if row is not None and row.name == "T.STAT" and word in _TIMER_WORDS:
            return _TIMER_WORDS[word], 1
        setting = None if row is None else _BY_REGISTER.get(row.name)
        if row is None or setting is None:
            raise Refused(f"register {register} cannot be set here")
        codes = QUANTITIES[setting.name].codes
        if setting.labels:
            if word not in codes:
                raise Refused(f"register {register}: {word} is none of {', '.join(map(str, codes))}")
            return setting.name, codes.index(word)
        number = self._unit.number(row, word)
        if number is None:
            raise Refused(f"register {register}: where its decimal point is cannot be told")
        return setting.name, number if setting.kind.value == "float" else int(number)


_SCANNED = frozenset(REGISTERS[r].address for name in QUANTITIES for r in registers_of(name))
