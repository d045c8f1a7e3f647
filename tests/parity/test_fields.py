"""Every field of every record type: type, count, access and value in the DBR types, as the C softIoc has them."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path

import pytest

from tests import dbr
from tests.libca import ECA_NORMAL, Channel, Context, Reply
from tests.parity.dbd import fields
from tests.parity.differences import tolerated_field

_TYPES_DB = Path(__file__).with_name("types.db").read_text(encoding="ascii")
_RECORDS = re.findall(r'^record\((\w+), "\$\(P\)([A-Z]_\w+)"\)', _TYPES_DB, re.MULTILINE)
# One field of each kind, read in every DBR type: text, menu, double, short, link, pseudo field, char.
_CHOICE = ("DESC", "SCAN", "SEVR", "STAT", "HIHI", "HHSV", "EGU", "PREC", "ZNAM", "ZRST", "FLNK", "RTYP", "DISP")

_Facts = dict[str, tuple[object, ...]]


def _answer(reply: Reply) -> tuple[object, ...]:
    """What a reply says, without its time stamp; as text, because NaN differs from itself."""
    if reply.status != ECA_NORMAL:
        return (f"ECA {reply.status}",)
    raw = reply.canonical
    facts = dbr.decode(reply.dbr_type, reply.count, raw)
    shown = {name: value for name, value in vars(facts).items() if value not in (None, ()) and name != "stamp"}
    return (reply.count, str(shown), raw)


def _compare(expected: _Facts, got: _Facts) -> None:
    different: list[str] = []
    for key, wanted in expected.items():
        found = got.get(key, ("missing",))
        if wanted == found or tolerated_field(key):
            continue
        upto = None if wanted[:2] == found[:2] else 2
        different.append(f"{key}: softioc {wanted[:upto]}, here {found[:upto]}")
    assert not different, f"{len(different)} of {len(expected)} differ:\n" + "\n".join(different)


def _properties(channel: Channel) -> _Facts:
    return {
        "type": (channel.field_type,),
        "count": (channel.element_count,),
        "access": (channel.may_read, channel.may_write),
    }


def _connected(context: Context, names: dict[str, str]) -> dict[str, Channel]:
    """The channels that the server has; a field that it lacks shows up as missing facts."""
    channels = dict(zip(names, context.channels(list(names.values())), strict=True))
    with contextlib.suppress(TimeoutError):
        context.wait_for(lambda: all(channel.connected for channel in channels.values()), 3, lambda: "some are missing")
    return {name: channel for name, channel in channels.items() if channel.connected}


def _facts(context: Context, rtyp: str, record: str) -> _Facts:
    """Everything about the fields of one record, by ``RTYP.FIELD aspect``."""
    names = [*dict.fromkeys(["VAL", *fields(rtyp)]), "RTYP"]
    channels = _connected(context, {name: f"FIELDS:{record}.{name}" for name in names})
    facts: _Facts = {}
    requests: list[tuple[str, tuple[Channel, int, int]]] = []
    for name, channel in channels.items():
        native = channel.field_type
        for aspect, value in _properties(channel).items():
            facts[f"{rtyp}.{name} {aspect}"] = value
        if name == "VAL" or name in _CHOICE:
            types: tuple[int, ...] = dbr.READABLE
        else:
            types = (dbr.STRING, native, dbr.DOUBLE, dbr.STS + native, dbr.CTRL + native, dbr.STSACK_STRING)
        for dbr_type in types:
            requests += [(f"{rtyp}.{name} DBR {dbr_type}", (channel, dbr_type, count)) for count in (0, 1)]
    answers = context.get_many([request for _, request in requests])
    for (key, request), answer in zip(requests, answers, strict=True):
        facts[f"{key} count {request[2]}"] = _answer(answer)
    return facts


@pytest.mark.parametrize("candidate", ["labioc"], indirect=True, scope="session")
@pytest.mark.parametrize(("rtyp", "record"), _RECORDS, ids=[record for _, record in _RECORDS])
def test_GIVEN_equal_records_WHEN_every_field_is_read_THEN_both_servers_answer_the_same(
    clients: tuple[Context, Context], rtyp: str, record: str
) -> None:
    expected, got = (_facts(context, rtyp, record) for context in clients)
    _compare(expected, got)


_SMALL = (0.0, 1.0, -1.0, 5.4, 5.5, 6.5, -5.5, 127.0, 128.0, 200.0, 255.0, 256.0)
_MIDDLE = (32767.0, 32768.0, -32769.0, 65535.0, 65536.0)
_LARGE = (2147483647.0, 2147483648.0, -2147483649.0, 4294967296.0, 1e10, -1e10, 1e39, -1e39, 1e300)
_OTHERS = (math.nan, math.inf, -math.inf, 1e-300, -0.0)
_NUMBERS = (*_SMALL, *_MIDDLE, *_LARGE, *_OTHERS)
_TEXTS = ("0", "1", "12.7", "-3", "0x1f", " 5 ", "70000", "abc", "nan", "1e3")

_RANGES = {
    dbr.SHORT: (-(2.0**15), 2.0**15 - 1),
    dbr.ENUM: (0.0, 2.0**16 - 1),
    dbr.CHAR: (0.0, 255.0),
    dbr.LONG: (-(2.0**31), 2.0**31 - 1),
}
_HIGHEST_STATE = {"F_BI": 1, "F_MBBI": 4, "F_MBBO": 2}


def _fits(value: object, native: int) -> bool:
    """Whether C defines what becomes of a value in a native type: it wraps around, or does as it likes, if not."""
    if native in (dbr.STRING, dbr.DOUBLE):
        return True
    try:
        number = float(str(value))
    except ValueError:
        return native != dbr.ENUM
    if native == dbr.FLOAT:
        return not abs(number) > 1e38 or math.isinf(number)
    low, high = _RANGES[native]
    return low <= number <= high


def _puttable(record: str, value: object, put_type: int) -> bool:
    """Whether a value fits the type of the put and the value of the record (labioc refuses states without name)."""
    if not _fits(value, put_type):
        return False
    if record in _HIGHEST_STATE:
        return isinstance(value, str) or (isinstance(value, float) and 0 <= value <= _HIGHEST_STATE[record])
    if record not in ("F_LI", "F_LO"):
        return True
    return _fits(value, dbr.LONG) and not (put_type == dbr.FLOAT and value == 2147483647.0)  # rounds up


def _values(context: Context, name: str, put_type: int) -> _Facts:
    channel = context.channel(f"VALUES{put_type}:{name}")
    record = f"{name} as DBR {put_type}"
    facts: _Facts = {}
    for value in _TEXTS if put_type == dbr.STRING else _NUMBERS:
        if not _puttable(name, value, put_type):
            continue
        sent = value if put_type in (dbr.STRING, dbr.FLOAT, dbr.DOUBLE) else int(value)
        facts[f"{record} put {value}"] = (channel.put_callback(sent, put_type),)
        # What is read is what the record made of it: a put that was refused left an older value.
        kept = channel.get(dbr.STRING if name in ("F_SI", "F_SO") else dbr.DOUBLE).value
        types = [dbr_type for dbr_type in dbr.READABLE if _fits(kept, dbr.element(dbr_type))]
        answers = context.get_many([(channel, dbr_type, 1) for dbr_type in types])
        for dbr_type, answer in zip(types, answers, strict=True):
            facts[f"{record} {value} DBR {dbr_type}"] = _answer(answer)
    return facts


@pytest.mark.parametrize("record", ["F_AI", "B_AI", "F_AO", "F_LI", "F_LO", "F_BI", "F_MBBI", "F_MBBO", "F_SI", "F_SO"])
@pytest.mark.parametrize("put_type", range(7))
@pytest.mark.parametrize("candidate", ["labioc"], indirect=True, scope="session")
def test_GIVEN_a_value_put_in_any_type_WHEN_it_is_read_in_every_type_THEN_both_servers_convert_alike(
    clients: tuple[Context, Context], record: str, put_type: int
) -> None:
    expected, got = (_values(context, record, put_type) for context in clients)
    _compare(expected, got)
