"""Exception replies of a Eurotherm 3200: a single one is one bad answer, nothing but refusals is a lost controller."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from devices.errors import Garbled
from devices.eurotherm.unit import ASK_AGAIN
from devices.links.modbus_frames import READ, Request, twin_of
from devices.model import Cause, Level
from tests.devices.eurotherm.bench import FAST, PERIODIC, READABLE, Bench

PATIENCE = 36  # seconds: everything is read, and word and float are compared again


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.driver.close()


def once(at: int, code: int) -> Callable[[Request], int]:
    """Refuse one read, counted from now on."""
    count = 0

    def refusal(request: Request) -> int:
        nonlocal count
        count += request.function == READ
        return code if count == at else 0

    return refusal


def invalid(found: object) -> set[str]:
    return {name for name, reading in dict(found).items() if reading.level is Level.INVALID}  # type: ignore[call-overload]


@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("code", [2, 4, 6])
async def test_GIVEN_one_refused_read_WHEN_connecting_THEN_all_is_as_without_it(code: int, floats: bool):
    perfect = Bench()
    perfect.link.slave.float_area = floats
    expected = {name: reading.value for name, reading in (await perfect.start() | await perfect.run(4.0)).items()}
    exchanges = len(perfect.link.requests)
    await perfect.driver.close()
    for at in range(1, exchanges + 1):
        bench = Bench()
        bench.link.slave.float_area = floats
        bench.link.refusal = once(at, code)
        found = await bench.come_back(patience=2) | await bench.run(4.0)
        found |= await bench.driver.read(READABLE)
        assert {name: reading.value for name, reading in found.items()} == expected, at
        assert bench.driver.stats.errors <= 1
        await bench.driver.close()


@pytest.mark.parametrize("code", [2, 4, 6])
async def test_GIVEN_one_refused_read_WHEN_scanning_THEN_nothing_is_lost_or_INVALID(code: int):
    """Wherever it falls, the check of the decimals included; the setpoint stays remote and is repeated."""
    for at in range(1, 60, 2):
        bench = Bench()
        await bench.start()
        await bench.driver.write("TSET", 100.0)
        await bench.driver.write("REMOTE", 1)
        bench.link.refusal = once(at, code)
        found = await bench.run(PATIENCE)
        assert bench.driver.stats.errors == 1, at
        assert (found["REMOTE.RBV"].value, found["TSET.RBV"].value) == (1, 100.0)
        assert bench.driver._writer.keeper.holding
        assert invalid(await bench.driver.read(FAST)) == set()
        await bench.driver.close()


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 8])
async def test_GIVEN_refusals_to_everything_WHEN_scanned_twice_THEN_the_controller_is_lost(code: int, bench: Bench):
    await bench.start()
    bench.link.refusal = lambda _: code
    begun = len(bench.link.requests)
    assert await bench.scan() == {}  # no answer, so nothing that would count as one
    assert len(bench.link.requests) == begun + 2  # nor are the slow ones asked
    begun = len(bench.link.requests)
    with pytest.raises(Garbled, match=f"code {code:02d}"):
        await bench.scan()
    assert len(bench.link.requests) == begun + 1  # one question is enough the second time
    await bench.driver.close()
    with pytest.raises(Garbled, match="not a controller" if code < 4 else "only refusals"):
        await bench.driver.connect()
    bench.link.refusal = lambda _: 0
    found = await bench.start()
    assert found["TEMP"].value == pytest.approx(25.0)


async def test_GIVEN_the_measured_values_alone_refused_WHEN_scanned_THEN_they_are_INVALID_and_come_back(bench: Bench):
    await bench.start()
    bench.link.refusal = lambda request: 6 if request.address == twin_of(1) else 0
    assert "TEMP" not in await bench.scan()
    found = await bench.scan()
    assert (found["TEMP"].value, found["TEMP"].level, found["TEMP"].cause) == (None, Level.INVALID, Cause.READ)
    assert found["STAT.MAINS"].level is Level.OK
    bench.link.refusal = lambda _: 0
    assert (await bench.scan())["TEMP"].value == pytest.approx(25.0)


async def test_GIVEN_registers_refused_for_a_while_WHEN_they_are_there_again_THEN_they_are_read(bench: Bench):
    absent = {30, twin_of(30), 531, twin_of(35)}

    def covers(request: Request) -> int:
        return 2 if not absent.isdisjoint(range(request.address, request.address + request.count)) else 0

    bench.link.refusal = covers
    found = await bench.start()
    assert {"OUT.HI.RBV", "RATE.RBV"} <= invalid(found)
    bench.link.refusal = lambda _: 0
    found = await bench.run(ASK_AGAIN + 30.0)
    assert invalid(found) & set(PERIODIC) == set()
    assert found["OUT.HI.RBV"].value == 100.0


async def test_GIVEN_floats_refused_at_connect_WHEN_they_answer_later_THEN_they_are_used(bench: Bench):
    bench.link.refusal = lambda request: 2 if request.address >= 0x8000 else 0
    found = await bench.start()
    assert found["TEMP"].value == 25.0
    assert found["PB.RBV"].level is Level.INVALID
    bench.link.refusal = lambda _: 0
    found = await bench.run(PATIENCE + 10.0)
    assert found["PB.RBV"].level is Level.OK


async def test_GIVEN_words_only_WHEN_the_decimals_cannot_be_read_THEN_no_temperature_is_shown(bench: Bench):
    bench.link.slave.float_area = False
    await bench.start()
    bench.link.refusal = lambda request: 4 if request.address == 525 else 0
    bench.model.memory["DEC.P"] = 0  # 25 C are the word 25 now, which was 2.5 C before
    found = [await bench.scan() for _ in range(2)]
    assert "TEMP" not in found[0]
    assert found[1]["TEMP"].level is Level.INVALID
    bench.link.refusal = lambda _: 0
    assert (await bench.scan())["TEMP"].value == 25.0
