"""Access past the PVs in words: what is understood, what is sent, what is refused before a byte has left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import LinkDown, OutOfLimits, Refused, ReplyTimeout
from devices.model import RawAccess, RawRequest, Value, Way
from devices.rules.raw_words import number_in, whole_number
from tests.devices.caen import bench as caen_bench
from tests.devices.eurotherm import bench as eurotherm_bench
from tests.devices.iseg import bench as iseg_bench

TEXT = st.text(max_size=12)


async def ask(driver: RawAccess, *words: str, value: str | None = None) -> list[str]:
    return list(await driver.raw_request(words, value).perform())


# ---- numbers


@given(TEXT)
def test_a_word_is_a_number_or_a_refusal(word: str) -> None:
    for read in (lambda: number_in("it", word), lambda: whole_number("thing", word, -10, 10)):
        with suppress(OutOfLimits):
            assert read() == (int(word, 16) if "x" in word.lower() else float(word))


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "1_0", "", "0x", "1e999", "0x1p3"])
def test_what_is_no_finite_number_is_refused(word: str) -> None:
    with pytest.raises(OutOfLimits, match="not a number"):
        number_in("VSET", word)


def test_a_number_is_whole_when_it_is_written_so() -> None:
    assert [number_in("it", word) for word in ("7", "-3", "0x1F", "1.5", "2e3")] == [7, -3, 31, 1.5, 2000.0]
    assert isinstance(number_in("it", "7"), int)
    assert isinstance(number_in("it", "2e3"), float)


# ---- CAEN


@pytest.fixture
async def supply() -> caen_bench.Bench:
    made = caen_bench.bench()
    await made.start()
    return made


@pytest.mark.parametrize(
    ("words", "sent", "shown"),
    [
        (("bdname",), "$CMD:MON,PAR:BDNAME", "BDNAME = DT5533E"),
        (("VSET", "2"), "$CMD:MON,CH:2,PAR:VSET", "VSET of channel 2 = 0000.0"),
        (("VSET", "4"), "$CMD:MON,CH:4,PAR:VSET", "VSET of channel 4 = 0000.0;0000.0;0000.0;0000.0"),
        (("$BD:00,CMD:MON,CH:2,PAR:VSET",), "$CMD:MON,CH:2,PAR:VSET", "VSET of channel 2 = 0000.0"),
        (("$CMD:MON,PAR:BDNAME",), "$CMD:MON,PAR:BDNAME", "BDNAME = DT5533E"),
    ],
)
async def test_a_parameter_is_read(supply: caen_bench.Bench, words: tuple[str, ...], sent: str, shown: str) -> None:
    since = len(supply.link.log)
    assert await ask(supply.driver, *words) == [shown]
    assert supply.sent(since) == [sent]


@pytest.mark.parametrize(
    ("words", "value", "sent", "shown"),
    [
        (("VSET", "0"), "1500.04", "$CMD:SET,CH:0,PAR:VSET,VAL:1500.0", "VSET of channel 0 = 1500.0 V"),
        (("rup", "3"), "0x10", "$CMD:SET,CH:3,PAR:RUP,VAL:16", "RUP of channel 3 = 16.0 V/s"),
        (("PDWN", "1"), "ramp", "$CMD:SET,CH:1,PAR:PDWN,VAL:RAMP", "PDWN of channel 1 = RAMP"),
        (("ON", "1"), "", "$CMD:SET,CH:1,PAR:ON", "CH01:ON 1: done"),
        (("OFF", "1"), "", "$CMD:SET,CH:1,PAR:OFF", "CH01:ON 0: done"),
        (("ZCDTC", "0"), "ON", "$CMD:SET,CH:0,PAR:ZCDTC,VAL:ON", "CH00:ZCDTC:CMD 1: done"),
        (("BDCLR",), "", "$CMD:SET,PAR:BDCLR", "BD:CLR:CMD 1: done"),
    ],
)
async def test_what_has_a_pv_is_written_the_way_of_that_pv(
    supply: caen_bench.Bench, words: tuple[str, ...], value: str, sent: str, shown: str
) -> None:
    request = supply.driver.raw_request(words, value)
    place = f"CH{int(words[1]):02d}" if len(words) == 2 else "BD"
    assert (request.way.place, request.way.urgent) == (place, words[0] == "OFF")
    assert supply.sets() == []
    assert await request.perform() == [shown]
    assert supply.sets() == [sent]


@pytest.mark.parametrize(
    ("text", "value", "sent"),
    [
        ("$BD:00,CMD:SET,CH:0,PAR:VSET,VAL:500", "500", "$CMD:SET,CH:0,PAR:VSET,VAL:500.0"),
        ("$cmd:set,ch:1,par:pdwn,val:kill;", "kill", "$CMD:SET,CH:1,PAR:PDWN,VAL:KILL"),
        ("$CMD:SET,CH:1,PAR:OFF", "", "$CMD:SET,CH:1,PAR:OFF"),
    ],
)
async def test_a_command_of_the_wire_goes_the_way_of_the_words_that_say_the_same(
    supply: caen_bench.Bench, text: str, value: str, sent: str
) -> None:
    request = supply.driver.raw_request([text], None)
    assert request.value == value
    assert supply.sets() == []
    await request.perform()
    assert supply.sets() == [sent]


@pytest.mark.parametrize(
    ("words", "value", "reason"),
    [
        ((), None, "expected PARAMETER"),
        (("$BD:00,CMD:SET,CH:0,PAR:VSET,VAL:9999",), None, "above 4000 V"),
        (("$BD:07,CMD:SET,CH:0,PAR:VSET,VAL:1",), None, "this is board 0"),
        (("$CMD:SET,CH:0,PAR:VMON,VAL:1",), None, "cannot be set"),
        (("$CMD:MON,CH:0,PAR:VSET,VAL:1",), None, "MON takes no VAL"),
        (("$CMD:SET,CH:0,PAR:VSET",), None, "is not a number"),
        (("$CMD:GO,PAR:VSET",), None, "expected .BD:nn,CMD:MON"),
        (("$CMD:MON,PAR:VSET\r\n$CMD:SET",), None, "expected .BD:nn,CMD:MON"),
        (("VSET", "0", "1"), None, "expected PARAMETER"),
        (("V,SET",), None, "expected PARAMETER"),
        (("VSET", "x"), None, "is not a channel"),
        (("VSET", "-1"), None, "is not a channel"),
        (("VSET",), "5", "VSET of which channel"),
        (("BDCLR", "0"), "", "belongs to no channel"),
        (("VSET", "0"), "", "is not a number"),
        (("VSET", "0"), "nan", "is not a number"),
        (("VSET", "0"), "9999", "above 4000 V"),
        (("VSET", "7"), "5", "cannot be set"),
        (("PDWN", "0"), "slowly", "none of RAMP, KILL"),
        (("ON", "0"), "1", "takes no value"),
        (("VMON", "0"), "1", "cannot be set"),
        (("VMAX", "0"), "1", "cannot be set"),
        (("BDNAME",), "mine", "cannot be set"),
        (("FOO", "4"), "1", "has only 4 channels"),
        (("FOO", "0"), "1\r\n$CMD:SET", "cannot be sent"),
    ],
)
async def test_no_byte_leaves_for_what_makes_no_sense(
    supply: caen_bench.Bench, words: tuple[str, ...], value: str | None, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        await ask(supply.driver, *words, value=value)
    assert supply.sets() == []


async def test_a_parameter_that_is_not_known_is_set_once_and_read_back(supply: caen_bench.Bench) -> None:
    stored: list[str] = ["1"]

    def answer(request: bytes) -> str | None:
        if b"PAR:FOO" not in request:
            return None
        if b"CMD:SET" in request:
            stored[0] = request.decode().rpartition("VAL:")[2]
            return "#CMD:OK"
        return f"#CMD:OK,VAL:{stored[0]};"

    supply.link.intercept = answer
    assert await ask(supply.driver, "FOO", "0", value="7.50") == ["FOO of channel 0 = 7.50"]
    assert supply.sets() == ["$CMD:SET,CH:0,PAR:FOO,VAL:7.50"]
    supply.link.intercept = lambda request: "#CMD:OK,VAL:3;" if b"MON,PAR:FOO" in request else answer(request)
    with pytest.raises(Refused, match="FOO 9: acknowledged, and the supply reads back 3"):
        await ask(supply.driver, "FOO", value="9")


async def test_a_set_whose_answer_is_lost_is_decided_by_reading_back(supply: caen_bench.Bench) -> None:
    supply.link.intercept = lambda request: ReplyTimeout("no answer") if b"CMD:SET" in request else "#CMD:OK,VAL:5;"
    assert await ask(supply.driver, "FOO", value="5") == ["FOO = 5"]
    with pytest.raises(Refused, match="no answer, and the supply reads back 5"):
        await ask(supply.driver, "FOO", value="6")
    supply.link.intercept = lambda request: ReplyTimeout("none") if b"CMD:SET" in request else "#PAR:ERR"
    with pytest.raises(Refused, match="no answer; it cannot be read back"):
        await ask(supply.driver, "FOO", value="6")
    supply.link.intercept = lambda request: "#CMD:OK" if b"CMD:SET" in request else "#PAR:ERR"
    assert await ask(supply.driver, "FOO", value="6") == ["FOO: acknowledged; it cannot be read back (PAR)"]


async def test_the_words_of_the_unit_are_explained(supply: caen_bench.Bench) -> None:
    with pytest.raises(Refused, match=r"FOO: device refused: PAR \(parameter not known to this firmware\)"):
        await ask(supply.driver, "FOO")
    supply.link.intercept = lambda request: "#LOC:ERR" if b"CMD:SET" in request else None
    with pytest.raises(Refused, match="front panel is in LOCAL"):
        await ask(supply.driver, "FOO", value="1")


async def test_a_supply_that_is_read_only_or_away_is_not_written() -> None:
    fixed = caen_bench.bench(readonly=True)
    await fixed.start()
    for words, value in ((("VSET", "0"), "5"), (("FOO",), "5"), (("OFF", "0"), "")):
        with pytest.raises(Refused, match="readonly = true"):
            await ask(fixed.driver, *words, value=value)
    assert fixed.sets() == []
    away = caen_bench.bench()
    for words, value in ((("FOO",), "5"), (("BDNAME",), None)):
        with pytest.raises(LinkDown):
            await ask(away.driver, *words, value=value)


# ---- Iseg


async def test_an_item_is_read_and_set_by_name_or_number() -> None:
    async with iseg_bench.bench() as made:
        assert await ask(made.driver, "delayedtriptime", "3", value="0x64") == [
            "DelayedTripTime channel 3 = 100 (0x64) ms"
        ]
        assert await ask(made.driver, "DelayedTripTime", "3") == ["DelayedTripTime channel 3 = 100 (0x64) ms"]
        assert await ask(made.driver, "0x1100") == ["VoltageRampSpeed = 10 %/s"]
        assert made.driver.raw_request(("DelayedTripTime", "3"), "1").way.place == "CH03"
        assert made.driver.raw_request(("VoltageRampSpeed",), "1").way.place == "MOD"
        assert len(made.written()) == 1


@pytest.mark.parametrize(
    ("words", "value", "reason"),
    [
        ((), None, "expected ITEM"),
        (("VoltageSet", "0", "0"), None, "expected ITEM"),
        (("Nonsense",), None, "no item of a module"),
        (("0x1401",), "1", "no item of a module"),
        (("0xZZ",), None, "is not a number of an item"),
        (("VoltageMeasure", "x"), None, "is not a channel"),
        (("VoltageMeasure",), None, "which channel"),
        (("VoltageSet", "3"), "10", "set through CHnn:VSET"),
        (("DelayedTripTime", "3"), "long", "is not a number"),
        (("DelayedTripTime", "3"), "5000", "outside 1 to 4095"),
        (("DelayedTripTime", "3"), "nan", "is not a number"),
    ],
)
async def test_nothing_is_sent_to_a_module_that_makes_no_sense(
    words: tuple[str, ...], value: str | None, reason: str
) -> None:
    async with iseg_bench.bench() as made:
        with pytest.raises(Refused, match=reason):
            await ask(made.driver, *words, value=value)
        assert made.written() == []


# ---- Eurotherm


@pytest.fixture
async def furnace(tmp_path: Path) -> AsyncIterator[eurotherm_bench.Bench]:
    made = eurotherm_bench.Bench(tmp_path, limits={"SP1": (0.0, 900.0)})
    await made.start()
    yield made
    await made.driver.close()


async def test_a_register_is_read_and_written_as_word_and_as_float(furnace: eurotherm_bench.Bench) -> None:
    assert await ask(furnace.driver, "1") == ["register 1 (PV.IN, Process value) = 250 (0x00FA)"]
    assert await ask(furnace.driver, "pv.in", "float") == ["register 1 as a float (PV.IN, Process value) = 25"]
    assert await ask(furnace.driver, "SP1", value="0x3E8") == ["register 24 (SP1, Setpoint 1) = 1000 (0x03E8)"]
    assert await ask(furnace.driver, "24", "float", value="123.4") == [
        "register 24 as a float (SP1, Setpoint 1) = 123.4"
    ]
    assert len(furnace.link.writes) == 2


@pytest.mark.parametrize(
    ("words", "value", "reason"),
    [
        ((), None, "expected REGISTER"),
        (("24", "double"), None, "expected REGISTER"),
        (("SPX",), None, "neither the number of a register nor a mnemonic"),
        (("-1",), None, "neither the number"),
        (("70000",), None, "is not a register"),
        (("24",), "70000", "is not a word"),
        (("24",), "1.5", "is not a word"),
        (("24",), "", "is not a word"),
        (("24", "float"), "inf", "is not a number"),
        (("24",), "9500", "above 900"),
        (("199",), "2", "allow_configuration"),
        (("199",), "7", "calibration"),
        (("0x4001",), "1", "permissions"),
    ],
)
async def test_nothing_is_written_to_a_controller_that_makes_no_sense(
    furnace: eurotherm_bench.Bench, words: tuple[str, ...], value: str | None, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        await ask(furnace.driver, *words, value=value)
    assert furnace.link.writes == []


def requests(access: Callable[..., object]) -> Callable[[list[str], str | None], RawRequest]:
    from devices.eurotherm.raw import eurotherm_request

    return lambda words, value: eurotherm_request(access, Way("line"), words, value)  # type: ignore[arg-type]


async def test_a_controller_that_keeps_something_else_is_reported() -> None:
    async def clipping(register: int, value: float | None, as_float: bool) -> float:
        return 40.0

    for words, value in ((["24"], "50"), (["24", "float"], "41.5")):
        with pytest.raises(Refused, match="reads back 40"):
            await requests(clipping)(words, value).perform()
    assert await requests(clipping)(["24", "float"], "40.2").perform() == [
        "register 24 as a float (SP1, Setpoint 1) = 40"
    ]
    assert await requests(clipping)(["Ac.ALL"], "1").perform()  # a command leaves nothing to compare


async def test_a_word_is_the_same_with_and_without_its_sign() -> None:
    async def signed(register: int, value: float | None, as_float: bool) -> float:
        return -1.0

    (line,) = await requests(signed)(["5"], "65535").perform()
    assert line.endswith("= -1 (0xFFFF)")


# ---- all


@given(st.lists(TEXT, max_size=4), st.none() | TEXT)
def test_any_words_are_understood_or_refused(words: list[str], value: str | None) -> None:
    from devices.iseg.raw import iseg_request

    async def never(*_: Value | None) -> dict[int | None, Value]:
        raise AssertionError

    supply = caen_bench.bench().driver
    for understand in (
        supply.raw_request,
        requests(never),
        lambda w, v: iseg_request(never, lambda *_: Way("bus"), w, v),
    ):
        with suppress(Refused):
            assert understand(words, value).value == value
