"""A device that is lost, comes back or is disabled: what its PVs show, and when it is tried again."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from devices.errors import Garbled, LinkDown, ReplyTimeout
from devices.model import Cause, Level, Reading
from tests.ioc.fakes import alarm, settle
from tests.ioc.scan.scan_rig import Rig, counting


async def test_GIVEN_a_latched_alarm_WHEN_the_link_is_lost_THEN_it_keeps_value_and_severity() -> None:
    async with Rig().running() as rig:
        latched = Reading(1, rig.clock.time(), Level.MAJOR, Cause.STATE)  # since the last scan that was posted
        rig.driver.latched = lambda: {"CH00.IMON": latched}  # type: ignore[attr-defined]
        rig.driver.trouble = ReplyTimeout("silent")
        await rig.clock.advance(1.0)
        assert alarm(rig["CH00:VMON"]) == ("TIMEOUT", 3)
        assert alarm(rig["CH00:IMON"]) == ("STATE", 2)
        assert rig["CH00:IMON"].val == 1


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (LinkDown("connection reset"), "COMM"),
        (ReplyTimeout("no answer within 1 s"), "TIMEOUT"),
        (Garbled("bytes"), "READ"),
        (ZeroDivisionError("a mistake of the driver"), "COMM"),
    ],
)
async def test_GIVEN_a_device_WHEN_lost_THEN_its_PVs_are_INVALID_and_keep_value_and_time(
    trouble: Exception, status: str
) -> None:
    async with Rig().running() as rig:
        stamp = rig["CH00:VMON"].seconds
        rig.driver.trouble = trouble
        await rig.clock.advance(1.0)
        own = [name for name in rig.records if name.startswith(("CH", "BD"))]
        assert {alarm(rig[name]) for name in own} == {(status, 3)}
        assert (rig["CH00:VMON"].val, rig["CH00:VMON"].seconds) == (100.0, stamp)
        assert rig["COMM"].val == 0
        assert alarm(rig["COMM"]) == ("STATE", 2)
        assert str(trouble) in rig["COMM:MSG"].val  # type: ignore[operator]
        assert rig["COMM:RECONN"].val == 1
        assert not rig.scanner.ready
        rig.driver.trouble = None
        await rig.clock.advance(1.0)
        assert {alarm(rig[name]) for name in own} == {("NO_ALARM", 0)}
        assert rig["COMM"].val == 1
        assert rig.scanner.ready


async def test_GIVEN_a_device_with_a_peculiarity_WHEN_it_is_found_again_THEN_the_last_message_names_that() -> None:
    async with Rig().running() as rig:
        rig.driver.trouble = LinkDown("refused")
        await rig.clock.advance(1.0)
        assert "refused" in str(rig["COMM:MSG"].val)
        rig.driver.stats.last_error = "no answer"
        rig.driver.trouble, rig.driver.stats.notice = None, "model X is not known"
        await rig.clock.advance(2.0)
        assert "model X is not known" in str(rig["COMM:MSG"].val)


async def test_GIVEN_a_lost_device_WHEN_it_stays_away_THEN_attempts_back_off_and_age_counts() -> None:
    async with Rig().running() as rig:
        rig.driver.trouble = LinkDown("refused")
        await rig.clock.advance(1.0)
        attempts: list[float] = []
        for _ in range(400):
            before = rig.driver.connects
            await rig.clock.advance(0.05)
            attempts += [rig.clock.now] * (rig.driver.connects - before)
        pauses = [later - earlier for earlier, later in itertools.pairwise(attempts)]
        assert pauses[0] == pytest.approx(0.5, abs=0.06)
        assert max(pauses) <= 1.06
        assert len(attempts) == pytest.approx(20, abs=1)
        assert rig["COMM:AGE"].val == pytest.approx(20.5, abs=1.1)
        assert alarm(rig["COMM:AGE"]) == ("HIHI", 2)


@pytest.mark.parametrize(("trouble", "pause"), [(LinkDown("refused"), 0.25), (ReplyTimeout("silent"), 0.05)])
async def test_GIVEN_a_device_WHEN_lost_THEN_it_is_tried_again_after_a_pause_or_the_wait_for_an_answer(
    trouble: Exception, pause: float
) -> None:
    async with Rig().running() as rig:
        await rig.clock.advance(3.1)
        rig.driver.trouble, before = trouble, rig.driver.connects
        await rig.clock.advance(0.9 + pause - 0.01)
        assert (rig["COMM"].val, rig.driver.connects) == (0, before)
        await rig.clock.advance(0.02)
        assert rig.driver.connects == before + 1


async def test_GIVEN_a_silent_device_WHEN_four_seconds_pass_THEN_age_is_MINOR() -> None:
    async with Rig().running() as rig:
        rig.driver.trouble = ReplyTimeout("silent")
        await rig.clock.advance(4.0)
        assert alarm(rig["COMM:AGE"]) == ("HIGH", 1)


async def test_GIVEN_a_lost_device_WHEN_the_trouble_changes_THEN_the_alarm_follows_without_flapping() -> None:
    async with Rig().running() as rig:
        rig.driver.trouble = ReplyTimeout("silent")
        await rig.clock.advance(1.0)
        with counting(rig["CH00:VMON"]) as events, counting(rig["COMM:MSG"]) as texts:
            await rig.clock.advance(5.0)
            assert events == texts == []
            rig.driver.trouble = LinkDown("refused")
            await rig.clock.advance(2.0)
            assert len(events) == 1
        assert alarm(rig["CH00:VMON"]) == ("COMM", 3)


async def test_GIVEN_no_device_at_start_WHEN_it_appears_THEN_it_is_read() -> None:
    rig = Rig()
    rig.driver.trouble = LinkDown("connection refused")
    async with rig.running():
        await rig.clock.advance(3.0)
        assert alarm(rig["CH00:VMON"]) == ("COMM", 3)
        assert rig["CH00:VMON"].udf
        assert rig["COMM:RECONN"].val == 0
        rig.driver.trouble = None
        await rig.clock.advance(1.0)
        assert rig["CH00:VMON"].val == 100.0


async def test_GIVEN_a_write_that_loses_the_device_WHEN_it_fails_THEN_the_PVs_are_INVALID_at_once() -> None:
    async with Rig().running() as rig:
        rig.driver.write_trouble = ReplyTimeout("outcome unknown")
        with pytest.raises(ReplyTimeout):
            await rig.scanner.write("CH00.VSET", 1.0)
        assert not rig.scanner.ready
        await settle()
        assert alarm(rig["CH00:VMON"]) == ("TIMEOUT", 3)
        await rig.clock.advance(0.3)
        assert alarm(rig["CH00:VMON"]) == ("NO_ALARM", 0)


async def test_GIVEN_a_write_on_its_way_WHEN_the_device_is_lost_THEN_what_it_reads_back_is_INVALID_too() -> None:
    async with Rig().running() as rig:
        rig.driver.gate = asyncio.Event()
        task = asyncio.create_task(rig.scanner.write("CH00.VSET", 200.0))
        await settle()
        rig.driver.trouble = ReplyTimeout("silent")
        await rig.clock.advance(1.0)
        assert alarm(rig["CH00:VSET"]) == ("TIMEOUT", 3)
        rig.driver.gate.set()
        await task
        await settle()
        assert not rig.scanner.ready
        assert (rig["CH00:VSET"].val, *alarm(rig["CH00:VSET"])) == (200.0, "TIMEOUT", 3)


async def test_GIVEN_DISABLE_WHEN_set_THEN_the_link_is_closed_and_no_byte_is_sent_until_cleared() -> None:
    async with Rig().running() as rig:
        await rig.scanner.disable(True)
        assert not rig.driver.open
        assert alarm(rig["CH00:VMON"]) == ("DISABLE", 3)
        assert (rig["DISABLE"].val, alarm(rig["DISABLE"])) == (1, ("STATE", 1))
        assert rig["COMM"].val == 0
        batches, connects = len(rig.driver.batches), rig.driver.connects
        await rig.clock.advance(60.0)
        assert (len(rig.driver.batches), rig.driver.connects) == (batches, connects)
        assert alarm(rig["COMM:AGE"]) == ("NO_ALARM", 0)
        await rig.scanner.disable(False)
        await settle()
        assert alarm(rig["CH00:VMON"]) == ("NO_ALARM", 0)
        assert (rig["DISABLE"].val, alarm(rig["DISABLE"])) == (0, ("NO_ALARM", 0))


async def test_GIVEN_a_lost_device_WHEN_disabled_and_enabled_THEN_it_is_tried_at_once() -> None:
    async with Rig().running() as rig:
        rig.driver.trouble = LinkDown("off")
        await rig.clock.advance(5.0)
        await rig.scanner.disable(True)
        assert alarm(rig["CH00:VMON"]) == ("DISABLE", 3)
        rig.driver.trouble = None
        await rig.scanner.disable(False)
        await settle()
        assert alarm(rig["CH00:VMON"]) == ("NO_ALARM", 0)


async def test_GIVEN_a_write_on_its_way_WHEN_disabled_THEN_it_is_finished_first() -> None:
    async with Rig().running() as rig:
        rig.driver.gate = asyncio.Event()
        write = asyncio.create_task(rig.scanner.write("CH00.VSET", 5.0))
        await settle()
        disabling = asyncio.create_task(rig.scanner.disable(True))
        await settle()
        assert rig.driver.open
        assert not disabling.done()
        rig.driver.gate.set()
        await disabling
        assert (await write)["CH00.VSET"].value == 5.0
        assert not rig.driver.open
        assert alarm(rig["CH00:VSET"]) == ("DISABLE", 3)


async def test_GIVEN_a_device_WHEN_it_comes_back_THEN_its_fast_signals_are_read_first() -> None:
    async with Rig().running() as rig:
        rig.driver.trouble = ReplyTimeout("no answer")
        await rig.clock.advance(2.0)
        assert alarm(rig["CH00:VMON"]) == ("TIMEOUT", 3)
        rig.driver.trouble = None
        rig.driver.delay = 0.4
        rig.driver.batches.clear()
        await rig.clock.advance(2.0)
        (first, fast), (second, rest) = rig.driver.batches[:2]
        assert fast == ["CH00.IMON", "CH00.VMON"]
        assert rest == ["BD.NAME", "CH00.ON", "CH00.VSET", "CH00.VSET.RBV", "CH01.VSET"]
        assert second - first == pytest.approx(0.4)
        assert all(alarm(record) == ("NO_ALARM", 0) for record in (rig["CH00:VMON"], rig["CH00:VSET"], rig["BD:NAME"]))
