"""Any parameter of a CAEN supply by its name on the wire, for experts at a console; a write is guarded as a put is.

What has a PV is written the way of that PV, with its limits and its reading back. What has none is sent once, as it was
given, and read back.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from devices.caen.catalogue import BOARD, BOARD_SETTINGS, CHANNEL, CONSTANTS, SETTINGS, Setting
from devices.caen.protocol import ErrorReply
from devices.caen.unit import CaenUnit
from devices.caen.writer import CaenWriter
from devices.errors import LinkDown, OutOfLimits, Refused
from devices.model import RawRequest, Value
from devices.rules.channels import channel_prefix
from devices.rules.raw_words import number_in, whole_number
from devices.rules.settings import check_writable

if TYPE_CHECKING:
    from devices.caen.driver import CaenDriver

USAGE = "PARAMETER [CHANNEL] [= VALUE], or a whole command as on the wire; commands take no value: BDCLR ="

_WIRE = re.compile(
    r"\$(?:BD:(?P<board>\d{1,3}),)?CMD:(?P<command>MON|SET)(?:,CH:(?P<channel>\d{1,3}))?,PAR:(?P<parameter>\w+)"
    r"(?:,VAL:(?P<value>[^;]*);?)?",
    re.IGNORECASE,
)
"""A command as the manuals write it, in either dialect: ``$BD:00,CMD:SET,CH:0,PAR:VSET,VAL:500``."""

_PARAMETER = re.compile(r"[A-Z][A-Z0-9]{0,15}")
_BY_WIRE = {setting.wire: setting for setting in SETTINGS.values()}
_OF_BOARD = {setting.wire for setting in BOARD_SETTINGS}
_COMMANDS = {"ON": ("ON", 1), "OFF": ("ON", 0), "ZCDTC": ("ZCDTC.CMD", 1), "BDCLR": ("BD.CLR.CMD", 1)}
"""Commands of the wire, with the signal that gives them."""

_READ_ONLY = {row.wire for row in (*CHANNEL.values(), *BOARD.values())} | CONSTANTS


class CaenRaw:
    """Raw access to the parameters of one supply."""

    def __init__(self, driver: CaenDriver, unit: CaenUnit, writer: CaenWriter) -> None:
        self._driver = driver
        self._unit = unit
        self._writer = writer

    def request(self, words: Sequence[str], value: str | None) -> RawRequest:
        """Understand a raw access. Raises Refused when the words make no sense."""
        if len(words) == 1 and words[0].startswith("$") and value is None:
            words, value = self._of_wire(words[0])
        if not 1 <= len(words) <= 2 or not _PARAMETER.fullmatch(words[0].upper()):
            raise Refused(f"expected {USAGE}")
        parameter = words[0].upper()
        channel = whole_number("channel", words[1], 0, 99) if len(words) == 2 else None
        what = parameter if channel is None else f"{parameter} of channel {channel}"
        if value is None:
            return RawRequest(what, None, partial(self._read, what, parameter, channel), self._driver.way("", 0))
        given = value
        if parameter == self._unit.layout.switch:  # ON and OFF by another name
            if value.upper() not in ("ON", "OFF"):
                raise OutOfLimits(f"{parameter}: {value!a} is none of ON, OFF")
            parameter, given = value.upper(), ""
        perform = self._writing(what, parameter, channel, given)
        suffix, number = _COMMANDS.get(parameter, ("", 0))
        way = self._driver.way(suffix if channel is None else channel_prefix(channel) + suffix, number)
        return RawRequest(what, value, perform, way)

    def _of_wire(self, text: str) -> tuple[list[str], str | None]:
        """Return the words that say the same as a command of the wire: it goes their way, with all its guards."""
        match = _WIRE.fullmatch(text)
        if match is None:
            raise Refused(f"{text}: expected $BD:nn,CMD:MON|SET,CH:n,PAR:NAME,VAL:value; BD, CH and VAL may be missing")
        board, value, setting = match["board"], match["value"], match["command"].upper() == "SET"
        if board is not None and int(board) != self._unit.board:
            raise Refused(f"{text}: this is board {self._unit.board}")
        if value is not None and not setting:
            raise Refused(f"{text}: MON takes no VAL")
        words = [match["parameter"], *filter(None, [match["channel"]])]
        return words, (value or "") if setting else None

    def _writing(
        self, what: str, parameter: str, channel: int | None, value: str
    ) -> Callable[[], Awaitable[list[str]]]:
        setting = _BY_WIRE.get(parameter)
        if parameter in _COMMANDS:
            if value and (parameter, value.upper()) != ("ZCDTC", "ON"):
                raise Refused(f"{parameter} is a command and takes no value")
            suffix, number = _COMMANDS[parameter]
            return partial(self._give, _signal(parameter, suffix, channel, not suffix.startswith("BD.")), number)
        if setting is not None:
            signal = _signal(parameter, setting.name, channel, parameter not in _OF_BOARD)
            return partial(self._set, what, signal, setting, channel, _asked(setting, value))
        if parameter in _READ_ONLY:
            raise Refused(f"{parameter} cannot be set")
        return partial(self._send, what, parameter, channel, value or None)

    async def _read(self, what: str, parameter: str, channel: int | None) -> list[str]:
        try:
            reply = await self._unit.monitor(parameter, channel)
        except ErrorReply as error:
            raise Refused(f"{what}: {error.explained}") from error
        return [f"{what} = {reply.word()}"]

    async def _give(self, signal: str, number: int) -> list[str]:
        await self._driver.put(signal, number)
        return [f"{signal.replace('.', ':')} {number}: done"]

    async def _set(self, what: str, signal: str, setting: Setting, channel: int | None, value: Value) -> list[str]:
        await self._driver.put(signal, value)
        found = self._unit.value(setting.wire, channel)
        shown = setting.words[found] if setting.words and isinstance(found, int) else found
        return [f"{what} = {shown}" + (f" {setting.unit}" if setting.unit else "")]

    async def _send(self, what: str, parameter: str, channel: int | None, text: str | None) -> list[str]:
        """Set a parameter of which nothing is known but its name."""
        check_writable(self._driver.settings)
        if channel is not None and channel >= self._unit.channels.count:
            # The number of channels itself stands for all of them: too much for a parameter that is not known.
            raise Refused(f"{what}: the supply has only {self._unit.channels.count} channels")
        if not self._unit.link.connected:
            raise LinkDown(f"{what}: not connected, nothing was sent")
        answered = await self._writer.send(parameter, parameter, channel, text)
        answer = "acknowledged" if answered else "no answer"
        try:
            found = (await self._unit.monitor(parameter, channel)).word()
        except ErrorReply as error:
            lines = [f"{what}: {answer}; it cannot be read back ({error.word})"]
            if not answered:
                raise Refused(lines[0]) from error
            return lines
        if text is not None and not _same(found, text):
            raise Refused(f"{what} {text}: {answer}, and the supply reads back {found}")
        return [f"{what} = {found}"]


def _signal(parameter: str, suffix: str, channel: int | None, of_channel: bool) -> str:
    if of_channel != (channel is not None):
        raise Refused(f"{parameter} of which channel?" if of_channel else f"{parameter} belongs to no channel")
    return suffix if channel is None else channel_prefix(channel) + suffix


def _asked(setting: Setting, value: str) -> Value:
    if setting.numeric:
        return number_in(setting.wire, value)
    if value.upper() not in setting.words:
        raise OutOfLimits(f"{setting.wire}: {value!a} is none of {', '.join(setting.words)}")
    return setting.words.index(value.upper())


def _same(found: str, text: str) -> bool:
    try:
        return float(found) == float(text)
    except ValueError:
        return found == text
