"""What is done to the records of both servers: puts of every kind, with the transcripts compared.

Each function is one scenario; its name is the prefix of the records it works on.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tests import dbr
from tests.parity.player import Player

Scenario = Callable[[Player], None]

SCENARIOS: dict[str, Scenario] = {}

_FLOATS = ("F_AI", "B_AI", "H_AI", "F_AO", "B_AO")
# States that have a name; what base makes of others is left out, see the list of differences.
_STATES = {
    "F_BI": ("OFF", "ON"),
    "B_BI": (),
    "C_BI": ("LOST", "OK"),
    "F_BO": ("OFF", "ON"),
    "B_BO": (),
    "F_MBBI": ("OFF", "ON", "RAMP UP", "RAMP DOWN", "LIMITING"),
    "B_MBBI": (),
    "F_MBBO": ("OFF", "STANDBY", "ON"),
    "B_MBBO": (),
}

# Through every alarm zone up and down, each threshold also approached within the hysteresis of 2.
ZONES = (50, 79.5, 80, 85, 79, 78.1, 77.9, 99.9, 100, 120, 99, 98, 97.5, 79, 77, 50)
LOW_ZONES = (20.5, 20, 15, 21, 22, 22.5, 10, 5, 11, 12, 12.5, 19, 50)


def scenario(function: Scenario) -> Scenario:
    """Enter a scenario into the table."""
    SCENARIOS[function.__name__] = function
    return function


def _each(records: tuple[str, ...], play: Callable[[Player, str], None], name: str) -> None:
    for record in records:

        def one(player: Player, record: str = record) -> None:
            play(player, record)

        one.__name__ = f"{name}_{record.lower()}"
        scenario(one)


def _zones(player: Player, record: str) -> None:
    player.state(record)
    player.watch(record)
    player.drive(record, *map(float, ZONES + LOW_ZONES))
    player.fields(record, ("VAL", "HIHI", "LALM", "ALST", "MLST"))


def _integer_zones(player: Player, record: str) -> None:
    player.state(record)
    player.watch(record)
    player.drive(record, *(round(value) for value in ZONES + LOW_ZONES), dbr_type=dbr.LONG)
    player.drive(record, 79.6, 80.4, -20.5, dbr_type=dbr.DOUBLE)


def _special(player: Player, record: str) -> None:
    player.watch(record, "V", "A", "VLAP")
    player.drive(record, 50.0, math.nan, math.nan, 50.0, math.inf, 50.0, -math.inf, math.nan, 90.0)
    player.drive(record, 1e300, -1e300, 0.0, -0.0, 1e-300)


def _texts(player: Player, record: str) -> None:
    player.watch(record, "V")
    # What only begins like a number is left out, see the list of differences.
    player.drive(record, "12", " 7 ", "0x10", "-3", "+4", "abc", "--1", "99999999999")
    if record in _FLOATS:
        player.drive(record, "12.5", "1e3", "-1.5e-3", "nan", "inf", "-inf")


def _deadbands(player: Player, record: str) -> None:
    player.watch(record, "V", "L", "VA")
    for value in (50, 50.5, 51, 51.5, 51.6, 53.0, 53.2, 50.1, 48.6, 48.5, 48.4, 48.4, 45):
        player.put(record, float(value))
    player.put(f"{record}.MDEL", 0.0)
    player.drive(record, 45.0, 45.001, 45.001)
    player.put(f"{record}.MDEL", -1.0)
    player.drive(record, 45.001, 45.001)
    player.put(f"{record}.ADEL", -1.0)
    player.drive(record, 45.001, 45.001)


def _live_limits(player: Player, record: str) -> None:
    player.watch(record, "V", "A", "P", "VLAP")
    player.drive(record, 50.0)
    player.drive(f"{record}.HIGH", 40.0, 60.0)
    player.drive(f"{record}.HIHI", 45.0, 100.0)
    player.drive(f"{record}.LOW", 55.0, 20.0)
    player.drive(f"{record}.LOLO", 60.0, 10.0)
    player.drive(record, 85.0)
    player.drive(f"{record}.HSV", "MAJOR", "NO_ALARM", "INVALID", 1)
    player.drive(f"{record}.HHSV", 0, 3)
    player.drive(f"{record}.HYST", 10.0)
    player.drive(record, 75.0, 69.0)
    if record in _FLOATS:
        player.drive(f"{record}.HIGH", math.nan)
        player.drive(record, 90.0, 50.0)


def _properties(player: Player, record: str) -> None:
    control = dbr.CTRL + player.channel(record).field_type
    player.watch(record, "V", "P", "VLAP", dbr_type=control)
    player.put(record, 42.0)
    player.put(f"{record}.EGU", "kV", "", "a unit of 16 cha", "longer than 16 characters")
    player.put(f"{record}.HOPR", 77.0)
    player.put(f"{record}.LOPR", -77.0)
    player.put(f"{record}.HIHI", 33.0, 33.0)
    player.put(f"{record}.HYST", 1.0)
    player.put(f"{record}.MDEL", 1.0)
    player.put(f"{record}.DESC", "New words")
    player.get(record, control)


def _precision(player: Player, record: str) -> None:
    player.watch(record, "P", dbr_type=dbr.CTRL + dbr.DOUBLE)
    player.put(record, 3.14159265358979)
    for digits in (0, 1, 5, 15, 17, -1, 100):
        player.put(f"{record}.PREC", digits)
        for name in (record, f"{record}.HIHI", f"{record}.HYST"):
            player.get(name, dbr.STRING, 1)
    player.put(f"{record}.PREC", 4)
    player.put(record, 1e12, 123456789.123, 1e-9, -1e20, 12345678901234567890.0)
    for value in (1e12, 1e-9, 123456.78901, -0.00004, 0.00005, 1e17, 99999999.99999, 2.5, math.inf, math.nan):
        player.put(record, value)
        player.get(record, dbr.STRING, 1)


def _states(player: Player, record: str) -> None:
    player.state(record)
    player.watch(record, "V", "L", "A", "VA", "VLAP")
    states = len(_STATES[record]) or 2
    player.drive(record, *range(states), 1, 1, 0, dbr_type=dbr.LONG)
    player.drive(record, *range(states), dbr_type=dbr.ENUM)
    player.drive(record, 1.0, 0.9, dbr_type=dbr.DOUBLE)


def _state_names(player: Player, record: str) -> None:
    player.watch(record, "V", dbr_type=dbr.STRING)
    for index, name in reversed([*enumerate(_STATES[record])]):
        player.drive(record, name, str(index), f" {index}")
    player.get(record, dbr.CTRL + dbr.ENUM)
    player.get(record, dbr.DOUBLE)


def _binary_severities(player: Player, record: str) -> None:
    player.watch(record, "V", "A", "P")
    player.drive(record, 1, 0)
    player.drive(f"{record}.ZSV", "MAJOR", "NO_ALARM")
    player.drive(record, 1)
    player.drive(f"{record}.OSV", "NO_ALARM", "INVALID", 0)
    player.drive(f"{record}.COSV", "MAJOR")
    player.drive(record, 0, 0, 1, 1, 0)
    player.drive(f"{record}.ZNAM", "STOPPED", "", "a name that is longer than the 26 characters it may have")
    player.drive(f"{record}.ONAM", "GOING")
    player.get(record, dbr.CTRL + dbr.ENUM)
    player.get(record, dbr.STRING)
    player.drive(record, "GOING")


def _state_severities(player: Player, record: str) -> None:
    player.watch(record, "V", "A", "P")
    player.drive(record, 1, 2)
    player.drive(f"{record}.TWSV", "NO_ALARM", "MINOR")
    player.drive(f"{record}.UNSV", "MINOR", "INVALID")
    player.drive(record, 2, 1)
    player.drive(f"{record}.COSV", "MAJOR")
    player.drive(record, 0, 0, 1)
    player.drive(f"{record}.FVST", "NEW ONE")
    player.drive(f"{record}.ONST", "RENAMED", "")
    player.get(record, dbr.CTRL + dbr.ENUM)
    player.drive(record, "NEW ONE")


def _strings(player: Player, record: str) -> None:
    player.state(record)
    player.watch(record, dbr_type=dbr.TIME + dbr.STRING)
    player.drive(record, "one", "one", "two", "", "x" * 39, "y" * 45)
    player.drive(record, 12.5, dbr_type=dbr.DOUBLE)
    player.drive(record, 7, dbr_type=dbr.LONG)
    player.drive(record, "caf\xe9", "tab\there")
    player.put(f"{record}.MPST", "Always")
    player.put(record, "same", "same")
    player.put(f"{record}.MPST", "On Change")
    player.put(f"{record}.APST", "Always")
    player.put(record, "same", "same")


def _long_strings(player: Player, record: str) -> None:
    player.state(record, "LEN", "OLEN", "SIZV")
    player.watch(record, "V", "L")
    player.watch(f"{record}.VAL$", "V", "VLAP")
    text = "A long string, longer than the 40 characters of a DBR_STRING, for humans"
    player.drive(record, "short", "short", "")
    player.drive(f"{record}.VAL$", text.encode(), text.encode() + b"\0", b"x" * 300, b"", dbr_type=dbr.CHAR)
    player.get(record, dbr.STRING)
    player.get(record, dbr.CHAR)
    for count in (0, 1, 10, 40):
        player.get(f"{record}.VAL$", dbr.CHAR, count)
    player.state(record, "LEN", "OLEN", "SIZV")


def _arrays(player: Player, record: str) -> None:
    player.state(record, "NORD", "NELM", "FTVL")
    player.watch(record)
    player.put(record, [1.5, 2.5, 3.5])
    player.state(record, "NORD")
    for count in (0, 1, 2, 3, 8):
        player.get(record, dbr.DOUBLE, count)
        player.get(record, dbr.TIME + dbr.LONG, count)
    player.put(record, [1.5, 2.5, 3.5], [float(i) for i in range(8)], [9.0])
    player.state(record, "NORD")
    player.get(record, dbr.STRING)
    player.put(record, [1, 2, 3, 4], dbr_type=dbr.LONG)
    player.put(record, ["1.5", "2"], dbr_type=dbr.STRING)
    player.state(record, "NORD")
    player.get(record, dbr.CTRL + dbr.DOUBLE)


def _text_arrays(player: Player, record: str) -> None:
    player.watch(record, "V", "L")
    player.put(record, b"hello", b"hello\0", b"x" * 100)
    player.state(record, "NORD")
    player.get(record, dbr.STRING)
    player.get(record, dbr.CHAR)
    player.put(record, "66", dbr_type=dbr.STRING)
    player.put(record, [1, 100, 127], dbr_type=dbr.LONG)
    player.get(record, dbr.LONG)
    player.get(record, dbr.CHAR, 3)
    player.state(record, "NORD")


def _acknowledge(player: Player, record: str) -> None:
    player.watch(record, "A", "VLAP")
    player.watch(f"{record}.ACKS", "V", "VLAP")
    player.drive(record, 1)
    player.drive(record, 2, 1, dbr_type=dbr.LONG)
    for severity in (0, 1, 2, 3):
        player.drive(record, severity, dbr_type=dbr.PUT_ACKS)
    player.drive(record, 2, 0, dbr_type=dbr.LONG)
    player.drive(record, 0, dbr_type=dbr.PUT_ACKT)
    player.drive(record, 2, 0, 2, dbr_type=dbr.LONG)
    player.drive(record, 2, 3, dbr_type=dbr.PUT_ACKS)
    player.drive(record, 1, dbr_type=dbr.PUT_ACKT)
    player.get(record, dbr.STSACK_STRING)


def _numeric_acknowledge(player: Player, record: str) -> None:
    player.watch(record, "A")
    player.drive(record, 120.0, 85.0)
    player.drive(record, 1, dbr_type=dbr.PUT_ACKS)
    player.drive(record, 2, dbr_type=dbr.PUT_ACKS)
    player.drive(record, 50.0, 120.0, 50.0)
    player.drive(record, 0, dbr_type=dbr.PUT_ACKT)
    player.drive(record, 85.0, 50.0, 85.0)
    player.drive(f"{record}.ACKS", 3, 0)
    player.drive(f"{record}.ACKT", 1)
    player.get(record, dbr.STSACK_STRING)


def _undefined(player: Player, record: str) -> None:
    player.watch(record, "V", "A", "VLAP")
    player.state(record)
    player.drive(f"{record}.PROC", 1)
    player.drive(f"{record}.UDFS", "MINOR")
    player.drive(f"{record}.PROC", 1)
    player.drive(record, 1)
    player.drive(f"{record}.UDF", 1)
    player.drive(f"{record}.PROC", 1, 0)
    player.drive(f"{record}.UDF", 0)


def _put_disabled(player: Player, record: str) -> None:
    player.watch(record, "V")
    player.drive(record, 1)
    player.put(f"{record}.DISP", 1)
    player.drive(record, 0)
    player.put(f"{record}.DESC", "Not now")
    player.put(f"{record}.PROC", 1)
    player.put(f"{record}.DISP", 0)
    player.drive(record, 0)


def _disable(player: Player, record: str) -> None:
    player.watch(record, "V", "A")
    player.drive(record, 1)
    player.drive(f"{record}.DISS", "MAJOR")
    player.drive(f"{record}.DISA", 1)
    player.drive(record, 0)
    player.drive(f"{record}.PROC", 1)
    player.drive(f"{record}.DISV", 0)
    player.drive(record, 1)
    player.drive(f"{record}.DISV", 1)
    player.drive(f"{record}.PROC", 1)
    player.drive(f"{record}.DISA", 0)
    player.drive(f"{record}.PROC", 1)


_NUMERIC = ("F_AI", "F_AO", "F_LI", "F_LO")
_ANALOG = ("F_AI", "F_AO")
_BINARY = ("F_BI", "F_BO", "C_BI")
_MULTI = ("F_MBBI", "F_MBBO")
_ALL = ("F_AI", "B_AO", "F_BI", "B_BO", "F_MBBI", "B_MBBO", "F_LI", "B_LO")

_each(("F_AI", "F_AO", "B_AI", "B_AO", "H_AI"), _zones, "zones")
_each(("F_LI", "F_LO", "B_LI"), _integer_zones, "zones")
_each(_FLOATS, _special, "special")
_each((*_NUMERIC, "B_AI", "B_LO"), _texts, "texts")
_each((*_NUMERIC, "B_AI"), _deadbands, "deadbands")
_each((*_NUMERIC, "B_AI"), _live_limits, "limits")
_each(_NUMERIC, _properties, "properties")
_each((*_ANALOG, "B_AI"), _precision, "precision")
_each(tuple(_STATES), _states, "states")
_each((*_BINARY, *_MULTI), _state_names, "names")
_each((*_BINARY, "B_BI"), _binary_severities, "severities")
_each((*_MULTI, "B_MBBI"), _state_severities, "severities")
_each(("F_SI", "B_SI", "F_SO", "B_SO"), _strings, "strings")
_each(("F_LSI", "B_LSI"), _long_strings, "text")
_each(("F_WF",), _arrays, "array")
_each(("C_WF",), _text_arrays, "array")
_each(("F_MBBI", "F_MBBO"), _acknowledge, "ack")
_each(_NUMERIC, _numeric_acknowledge, "ack")
_each(_ALL, _undefined, "udf")
_each(_ALL, _put_disabled, "disp")
_each(_ALL, _disable, "disable")
