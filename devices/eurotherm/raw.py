"""Any register of a Eurotherm 3200 by its number or mnemonic: what may be written, and how it is read and written."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence

from devices import permit
from devices.errors import Garbled, LinkDown, NotReady, Refused, ReplyTimeout
from devices.eurotherm.catalogue import SETTING_OF
from devices.eurotherm.furnace import Furnace
from devices.eurotherm.registers import CONFIGURATION, REGISTERS, Access, Form, Register, Scale, register_at
from devices.eurotherm.writer import EurothermWriter
from devices.links.modbus_frames import LAST_WORD, float_from, seconds_from, signed, twin_of
from devices.model import Kind, RawRequest, Way
from devices.rules.raw_words import number_in, whole_number
from devices.rules.settings import check_limits, check_writable

log = logging.getLogger("labioc.eurotherm")

_LOSES_THE_DEVICE = frozenset({"ADDR", "BAUD", "PRTY"})  # it answers elsewhere, or otherwise, from then on
_SWEEPING = frozenset({"RC.RCL", "RC.SAV"})  # a recipe changes many settings at once, past every limit
_ROUNDING = 0.5  # an instrument without decimals may round a float to whole degrees
_NAMES = {name.lower(): row.address for name, row in REGISTERS.items()}
WORDS = range(-0x8000, 0x10000)

USAGE = (
    "REGISTER [float] [= VALUE]; REGISTER is a number or a mnemonic like SP1; without float, a word as it stands there"
)


class RawWriter:
    """Registers of one instrument by number."""

    def __init__(self, furnace: Furnace, writer: EurothermWriter) -> None:
        self._furnace, self._unit, self._settings = furnace, furnace.unit, furnace.settings
        self._registers, self._handover, self._keeper = writer.registers, writer.handover, writer.keeper

    async def access(self, address: int, value: float | None = None, as_float: bool = False) -> float:
        """Read any register, or write it and read it back: as a signed word, or as a float in the IEEE area.

        Registers for configuration, unknown ones (calibration is among them) and configuration mode are refused
        unless the site file has ``allow_configuration``; limits of settings, ``readonly`` and the care for the
        memory hold as for any put. Raises Refused and its kin, ReplyTimeout, LinkDown, Garbled.
        """
        what = f"register {address}"
        async with self._keeper.paused():
            try:
                if value is not None:
                    await self._write(what, address, value, as_float)
                return await self._read(address, as_float)
            except ValueError as error:
                raise Refused(f"{what}: {error}; nothing was sent") from error
            except (Garbled, ReplyTimeout) as error:
                if value is None:
                    raise
                expected = register_at(address).name in (*_LOSES_THE_DEVICE, "IM")
                sent = "sent, and the controller does not answer any more" if expected else "outcome unknown"
                raise ReplyTimeout(f"{what}: {sent}, cannot be read back: {error}") from error

    async def _read(self, address: int, as_float: bool) -> float:
        """Read any address as a signed word, or its twin as a number, times in seconds.

        Raises Garbled, ModbusRefusal, and ValueError when there is no such form.
        """
        read = self._unit.link.read_registers
        if not as_float:
            return signed((await read(address, 1))[0])
        form, words = _twin_form(address), await read(twin_of(address), 2)
        return seconds_from(*words) if form is Form.TIME else float_from(*words)

    async def _send(self, address: int, value: float, as_float: bool) -> None:
        """Write any address, as a word of -32768 to 65535, or its twin as a number, times in seconds.

        Raises Garbled, ModbusRefusal, and ValueError when the value does not fit or there is no such form.
        """
        link = self._unit.link
        if as_float and _twin_form(address) is Form.TIME:
            await link.write_seconds(address, value)
        elif as_float:
            await link.write_float(address, value)
        else:
            await link.write_register(address, raw_word(value))

    async def _write(self, what: str, address: int, value: float, as_float: bool) -> None:
        check_writable(self._settings)
        self._unit.check_permitted(what)
        register = raw_allowed(address, value, bool(self._settings.options.get("allow_configuration", False)))
        number = await self._checked(what, register, value, as_float) if register.name else None
        remote = register.name == "Rm.SP"
        if remote:
            await self._registers.check_remote(what)
        try:
            before = await self._read(address, as_float)
        except (Garbled, ReplyTimeout) as error:
            raise LinkDown(f"{what}: nothing was sent, since it cannot be read: {error}") from error
        if not remote and before == (value if as_float else signed(raw_word(value))):
            permit.changing()
            return
        self._registers.count(what, register)
        try:
            await self._send(address, value, as_float)
        except (Garbled, ReplyTimeout) as error:
            log.warning("%s: %s: %s; reading back", self._settings.name, what, error)
        if remote and number is not None and self._keeper.holding:
            self._keeper.hold(number)

    async def _checked(self, what: str, register: Register, value: float, as_float: bool) -> float | None:
        """Return what a raw value means, None when only the instrument knows. Raises Refused when it may not be."""
        if not as_float:
            number = self._unit.number(register, raw_word(value))
        else:
            number = value * (self._unit.own_factor(register) if register.scale is Scale.RATE else 1.0)
        if register.name == "T.STAT" and number == 1.0:
            await self._handover.check("TMR.RUN.CMD", number)
        setting = SETTING_OF.get(register.name)
        if setting is not None and setting.labels and number is not None:
            await self._handover.check(setting.name, number)
        if number is None and register.scale in (Scale.PV, Scale.RATE):
            raise NotReady(f"{what}: where its decimal point is has not been read yet")
        if setting is not None and setting.kind is Kind.FLOAT and number is not None:
            await self._registers.learn_limits(what, setting)
            limits = self._furnace.limits(setting)
            if limits is None:
                raise NotReady(f"{what}: the limits of {setting.name} have not been read yet")
            check_limits(what, number, setting.unit, limits)
        if register.name == "Rm.SP":
            await self._handover.check_total(what, number)
        elif register.name == "LOC.t":
            await self._handover.check_total(what, trim=number)
        return number


def raw_allowed(address: int, value: float, configuration: bool) -> Register:
    """Return the register at an address that may be written. Raises Refused."""
    register = register_at(address)
    if not 0 <= address <= LAST_WORD:
        raise Refused(f"register {address}: never written, from {LAST_WORD + 1} on lie permissions of the display")
    if register.name == "IM" and value not in (0, 1, CONFIGURATION):
        raise Refused("register 199: other values than 0, 1 and 2 reach calibration and memory functions")
    if configuration:
        return register
    entering = register.name == "IM" and value == CONFIGURATION
    if not register.name:
        kind = "not a known one"
    elif register.name in _LOSES_THE_DEVICE:
        kind = "the line would lose the controller"
    elif register.name in _SWEEPING:
        kind = "it changes many settings at once"
    elif entering or not register.writable:
        kind = "for configuration" if entering else "read only or for configuration"
    else:
        return register
    raise Refused(f"register {address}: {kind}; the site file does not allow to write it (allow_configuration)")


def raw_word(value: float) -> int:
    """Return the word for a number of -32768 to 65535; raises ValueError for anything else."""
    if not math.isfinite(value) or value != int(value):
        raise ValueError(f"{value} is not a whole number")
    if int(value) not in WORDS:
        raise ValueError(f"{value:.10g} does not fit a word")
    return int(value) & 0xFFFF


def _twin_form(address: int) -> Form:
    """Return what the twin of an address holds, a float where it is not known; raises ValueError when it is neither."""
    form = register_at(address).form
    if form not in (Form.FLOAT, Form.TIME):
        raise ValueError("it has no float form")
    return form


# In words


def eurotherm_request(
    access: Callable[[int, float | None, bool], Awaitable[float]], way: Way, words: Sequence[str], value: str | None
) -> RawRequest:
    """Understand a raw access; ``access`` performs it, a write goes the ``way`` of the instrument.

    Raises Refused when the words make no sense.
    """
    if not 1 <= len(words) <= 2 or (len(words) == 2 and words[1].lower() != "float"):
        raise Refused(f"expected {USAGE}")
    as_float = len(words) == 2
    address = _NAMES.get(words[0].lower())
    if address is None:
        if not words[0][:1].isdigit():
            raise Refused(f"{words[0]} is neither the number of a register nor a mnemonic of the handbook")
        address = whole_number("register", words[0], 0, 0xFFFF)
    what = f"register {address}" + (" as a float" if as_float else "")
    number: float | None = None
    if value is not None:
        number = number_in(what, value) if as_float else whole_number("word", value, WORDS[0], WORDS[-1])

    async def perform() -> list[str]:
        found = await access(address, number, as_float)
        if number is not None and not _same(address, found, number, as_float):
            raise Refused(f"{what} {value}: sent, but the controller reads back {found:.7g}")
        return [_line(what, address, found, as_float)]

    return RawRequest(what, value, perform, way)


def _same(address: int, found: float, wanted: float, as_float: bool) -> bool:
    if register_at(address).access is Access.COMMAND:
        return True  # what a command leaves behind is not what was written
    if as_float:
        return math.isclose(found, wanted, rel_tol=1e-6, abs_tol=_ROUNDING)
    return int(found) & 0xFFFF == int(wanted) & 0xFFFF


def _line(what: str, address: int, found: float, as_float: bool) -> str:
    register, word = register_at(address), int(found) & 0xFFFF
    name = f" ({register.name}, {register.help})" if register.name else ""
    return f"{what}{name} = " + (f"{found:.7g}" if as_float else f"{int(found)} (0x{word:04X})")
