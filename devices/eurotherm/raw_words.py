"""Raw access to a Eurotherm controller in words: a register by its number or mnemonic, as a word or as a float."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

from devices.errors import Refused
from devices.eurotherm.registers import BY_ADDRESS, REGISTERS, Access
from devices.model import RawRequest, Way
from devices.rules.raw_words import number_in, whole_number

USAGE = (
    "REGISTER [float] [= VALUE]; REGISTER is a number or a mnemonic like SP1; without float, a word as it stands there"
)

RawRegister = Callable[[int, float | None, bool], Awaitable[float]]

_NAMES = {name.lower(): row.address for name, row in REGISTERS.items()}
_WORD = (-32768, 65535)
_ROUNDING = 0.5  # an instrument without decimals may round a float to whole degrees


def eurotherm_request(access: RawRegister, way: Way, words: Sequence[str], value: str | None) -> RawRequest:
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
        number = number_in(what, value) if as_float else whole_number("word", value, *_WORD)

    async def perform() -> list[str]:
        found = await access(address, number, as_float)
        if number is not None and not _same(address, found, number, as_float):
            raise Refused(f"{what} {value}: sent, but the controller reads back {found:.7g}")
        return [_line(what, address, found, as_float)]

    return RawRequest(what, value, perform, way)


def _same(address: int, found: float, wanted: float, as_float: bool) -> bool:
    register = BY_ADDRESS.get(address)
    if register is not None and register.access is Access.COMMAND:
        return True  # what a command leaves behind is not what was written
    if as_float:
        return math.isclose(found, wanted, rel_tol=1e-6, abs_tol=_ROUNDING)
    return int(found) & 0xFFFF == int(wanted) & 0xFFFF


def _line(what: str, address: int, found: float, as_float: bool) -> str:
    register = BY_ADDRESS.get(address)
    name = "" if register is None else f" ({register.name}, {register.help})"
    word = int(found) & 0xFFFF
    return f"{what}{name} = " + (f"{found:.7g}" if as_float else f"{int(found)} (0x{word:04X})")
