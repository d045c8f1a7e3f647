"""Puts that wait for their wire: one queue for each wire, with an end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace

import pytest

from devices.errors import DeviceError, LinkDown, ReplyTimeout, TakenOtherwise, Withdrawn
from devices.model import Cause, Level, Reading, Value, Way
from devices.permit import changing
from ioc.records import Cancelled, PutContext, PutRefused
from tests.ioc.fakes import FakeDriver, alarm, settle
from tests.ioc.put_rig import Rig


async def test_GIVEN_puts_that_wait_WHEN_the_server_is_disarmed_THEN_they_are_refused_at_once() -> None:
    async with Rig().running() as rig:
        rig.driver.gate = asyncio.Event()
        puts = [asyncio.create_task(rig.put("CH00:VSET", 500.0 + n)) for n in range(8)]
        await settle()
        disarming = asyncio.create_task(rig.put("IOC:ARMED", 0))
        await settle()
        assert [put.done() for put in puts] == [False] + 7 * [True]
        assert all("not armed" in str(put.exception()) for put in puts[1:])
        assert not disarming.done()  # what is on the wire is awaited
        rig.driver.gate.set()
        await disarming
        assert await puts[0] is None
        assert rig.driver.writes == [("CH00.VSET", 500.0)]


async def test_GIVEN_a_put_that_still_looks_WHEN_withdrawn_THEN_it_is_answered_at_once_and_never_sent() -> None:
    async with Rig().running() as rig:
        rig.driver.looking = asyncio.Event()
        put = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await settle()
        await rig.put("IOC:ARMED", 0)
        assert "not armed" in str(put.exception())
        await rig.put("IOC:ARMED", 1)
        rig.driver.looking.set()
        await settle()
        assert rig.driver.writes == []
        assert rig["CH00:VSET"].val == 100.0
        await rig.put("CH00:VSET", 600.0)
        assert rig.driver.writes == [("CH00.VSET", 600.0)]


async def test_GIVEN_puts_that_wait_WHEN_the_device_is_disabled_THEN_they_are_refused_and_what_is_sent_is_awaited() -> (
    None
):
    async with Rig().running() as rig:
        first, second = await rig.held(("CH00:VSET", 500.0), ("CH01:VSET", 600.0))
        disabling = asyncio.create_task(rig.put("DISABLE", 1))
        await settle()
        assert "disabled for maintenance" in str(second.exception())
        assert (first.done(), disabling.done(), rig.driver.open) == (False, False, True)
        rig.driver.gate.set()
        await asyncio.gather(first, disabling)
        assert (rig.driver.writes, rig.driver.open) == ([("CH00.VSET", 500.0)], False)


async def test_GIVEN_puts_whose_clients_have_gone_WHEN_the_wire_is_free_THEN_none_is_sent() -> None:
    async with Rig().running() as rig:
        rig.driver.gate = asyncio.Event()
        contexts = [PutContext("otto", "desk2", ("127.0.0.1", n), True, Cancelled()) for n in range(8)]
        puts = [asyncio.create_task(rig.put("CH00:VSET", 500.0 + n, one)) for n, one in enumerate(contexts)]
        await settle()
        for context in contexts:
            context.cancelled.set()
        await settle()
        assert [put.done() for put in puts] == [False] + 7 * [True]  # the first has begun and is finished
        rig.driver.gate.set()
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        assert outcomes[0] is None
        assert {str(outcome) for outcome in outcomes[1:]} == {"the client gave up before its turn; nothing was sent"}
        assert rig.driver.writes == [("CH00.VSET", 500.0)]


async def test_GIVEN_a_put_that_waits_for_the_line_WHEN_5_s_are_over_THEN_refused_and_never_sent() -> None:
    async with Rig().running() as rig:
        rig.driver.looking = asyncio.Event()  # a scan holds the line
        put = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await rig.clock.advance(5.1)
        assert "waited 5 s" in str(put.exception())
        rig.driver.looking.set()
        await settle()
        assert rig.driver.writes == []


async def test_GIVEN_puts_that_wait_WHEN_an_output_is_switched_off_THEN_that_goes_first() -> None:
    async with Rig().running() as rig:
        begun, same, other = await rig.held(("CH00:VSET", 500.0), ("CH00:ON", 1), ("CH01:VSET", 7.0))
        off = asyncio.create_task(rig.put("CH00:ON", 0))
        await settle()
        assert rig.driver.writes == [("CH00.VSET", 500.0), ("CH00.ON", 0)]
        assert str(same.exception()) == "LAB:HV1:CH00:ON = OFF overtook it; nothing was sent"
        rig.driver.gate.set()
        await asyncio.gather(begun, off, other)
        assert rig.driver.writes[2:] == [("CH01.VSET", 7.0)]


async def test_GIVEN_a_write_of_several_parts_WHEN_off_overtakes_it_THEN_its_next_part_is_not_sent() -> None:
    async with Rig().running() as rig:
        rig.driver.gate, rig.driver.parts = asyncio.Event(), 2
        on = asyncio.create_task(rig.put("CH00:ON", 1))
        await settle()
        off = asyncio.create_task(rig.put("CH00:ON", 0))
        await settle()
        rig.driver.gate.set()
        outcomes = await asyncio.gather(on, off, return_exceptions=True)
        assert str(outcomes[0]) == "LAB:HV1:CH00:ON = OFF overtook it; a part of it had been sent"
        assert rig.driver.writes == [("CH00.ON", 1), ("CH00.ON", 0), ("CH00.ON", 0)]


async def test_GIVEN_a_put_that_waits_WHEN_the_device_is_lost_and_found_again_THEN_it_is_not_sent() -> None:
    async with Rig().running() as rig:
        first, second = await rig.held(("CH00:VSET", 500.0), ("CH00:VSET", 600.0))
        rig.driver.write_trouble = LinkDown("cable out")
        rig.driver.gate.set()
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        rig.driver.write_trouble = None
        assert str(outcomes[0]) == "cable out"
        assert "not connected" in str(outcomes[1]) or "was lost" in str(outcomes[1])
        await rig.clock.advance(1.0)
        assert rig.driver.writes == [("CH00.VSET", 500.0)]


async def test_GIVEN_a_wire_with_room_WHEN_puts_come_THEN_those_to_one_place_go_one_after_the_other() -> None:
    class Roomy(FakeDriver):
        def way(self, name: str, value: Value) -> Way:
            return replace(super().way(name, value), room=8)

    async with Rig(Roomy).running() as rig:
        rig.driver.gate = asyncio.Event()
        values = (("CH00:VSET", 500.0), ("CH00:VSET", 600.0), ("CH01:VSET", 7.0))
        puts = [asyncio.create_task(rig.put(name, value)) for name, value in values]
        await settle()
        assert rig.driver.writes == [("CH00.VSET", 500.0), ("CH01.VSET", 7.0)]
        rig.driver.gate.set()
        await asyncio.gather(*puts)
        assert rig.driver.writes[2:] == [("CH00.VSET", 600.0)]


async def test_GIVEN_a_write_to_a_whole_device_WHEN_puts_come_THEN_none_to_it_runs_beside_it() -> None:
    class Roomy(FakeDriver):
        def way(self, name: str, value: Value) -> Way:
            way = super().way(name, value)
            return replace(way, place="" if name.startswith("CH01") else way.place, room=8)

    async with Rig(Roomy).running() as rig:
        rig.driver.gate = asyncio.Event()
        values = (("CH00:VSET", 500.0), ("CH01:VSET", 7.0), ("CH00:VSET", 600.0))
        puts = [asyncio.create_task(rig.put(name, value)) for name, value in values]
        await settle()
        sent = [(name.replace(":", "."), value) for name, value in values]
        assert rig.driver.writes == sent[:1]
        rig.driver.gate.set()
        await asyncio.gather(*puts)
        assert rig.driver.writes == sent


async def test_GIVEN_a_put_for_which_nothing_is_to_be_sent_WHEN_withdrawn_THEN_it_is_not_noted_as_applied() -> None:
    async with Rig().running() as rig:
        rig.driver.looking, rig.driver.parts = asyncio.Event(), 0
        put = asyncio.create_task(rig.put("CH00:VSET", 100.0))
        await settle()
        await rig.put("IOC:ARMED", 0)
        assert "not armed" in str(put.exception())
        rig.driver.looking.set()
        await settle()
        assert "CH00:VSET" not in str(rig["IOC:PUTS"].val)


async def test_GIVEN_puts_that_wait_WHEN_the_device_is_lost_THEN_they_are_refused_at_once() -> None:
    async with Rig().running() as rig:
        begun, waiting = await rig.held(("CH00:VSET", 500.0), ("CH01:VSET", 600.0))
        rig.driver.trouble = LinkDown("cable out")
        await rig.clock.advance(1.1)  # the next scan
        assert (begun.done(), waiting.done()) == (False, True)
        assert str(waiting.exception()) == "HV1 was lost meanwhile"
        rig.driver.gate.set()
        await begun
        await rig.clock.advance(5.0)
        assert rig.driver.writes == [("CH00.VSET", 500.0)]


async def test_GIVEN_a_put_that_waits_WHEN_the_one_before_it_gets_no_answer_THEN_it_is_not_sent() -> None:
    async with Rig().running() as rig:
        rig.driver.gate = asyncio.Event()
        first = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        second = asyncio.create_task(rig.put("CH01:VSET", 600.0))
        rig.driver.delay = 3.0
        await rig.clock.advance(1.1)  # a scan is under way, and will not notice before it is over
        rig.driver.write_trouble = ReplyTimeout("no answer")
        rig.driver.gate.set()
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        assert str(outcomes[0]) == "no answer"
        assert str(outcomes[1]).startswith("HV1 is not connected")
        await rig.clock.advance(5.0)
        assert rig.driver.writes == [("CH00.VSET", 500.0)]


async def test_GIVEN_the_scan_WHEN_its_driver_tries_to_change_the_device_THEN_the_link_refuses() -> None:
    class Meddling(FakeDriver):
        refused = ""

        async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
            with suppress(Withdrawn):
                changing()
                self.writes.append(("by the scan", 1))
            return await super().read(names)

    async with Rig(Meddling).running() as rig:
        await rig.clock.advance(3.0)
        assert len(rig.driver.batches) > 2
        assert rig.driver.writes == []
        await rig.put("CH00:VSET", 500.0)
        assert rig.driver.writes == [("CH00.VSET", 500.0)]


async def test_GIVEN_a_write_that_fails_WHEN_it_has_learnt_something_THEN_that_is_shown_before_the_answer() -> None:
    async with Rig().running() as rig:
        trouble = TakenOtherwise("the module took 300 V instead of 400 V")
        now = rig.clock.time()
        trouble.readings = {
            name: Reading(300.0, now, Level.MINOR, Cause.STATE) for name in ("CH00.VSET", "CH00.VSET.RBV")
        }
        rig.driver.write_trouble = trouble
        with pytest.raises(PutRefused, match="took 300 V instead of 400 V"):
            await rig.put("CH00:VSET", 400.0)
        for name in ("CH00:VSET", "CH00:VSET:RBV"):
            assert (rig[name].val, alarm(rig[name])) == (300.0, ("STATE", 1))


async def test_GIVEN_a_write_whose_outcome_was_unknown_WHEN_it_comes_true_THEN_PUT_MSG_and_COMM_MSG_say_so() -> None:
    async with Rig().running() as rig:
        sentence = "CH00:VSET 2000 V, whose outcome was unknown, has come true"
        rig.driver.stats.late.append(sentence)
        await rig.clock.advance(1.1)
        assert str(rig["PUT:MSG"].val).startswith(f"{sentence} [20")
        assert str(rig["COMM:MSG"].val).endswith(sentence)
        assert (rig["PUT:REFUSED"].val, rig.driver.stats.late) == (0, [])


async def test_GIVEN_a_write_of_several_parts_WHEN_disarmed_THEN_its_next_part_is_not_sent() -> None:
    async with Rig().running() as rig:
        rig.driver.gate, rig.driver.parts = asyncio.Event(), 2
        put = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await settle()
        disarming = asyncio.create_task(rig.put("IOC:ARMED", 0))
        await settle()
        rig.driver.gate.set()
        await disarming
        with pytest.raises(PutRefused, match=r"not armed .*; a part of it had been sent"):
            await put
        assert rig.driver.writes == [("CH00.VSET", 500.0)]


async def test_GIVEN_a_device_that_is_lost_WHEN_a_write_of_before_fails_THEN_nothing_becomes_valid() -> None:
    class Learning(FakeDriver):
        async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
            try:
                return await super().write(name, value)
            except DeviceError as error:
                error.readings = {"CH00.VSET": Reading(100.0, self._clock.time())}
                raise

    async with Rig(Learning).running() as rig:
        rig.driver.looking = asyncio.Event()
        put = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await settle()
        rig.driver.trouble = LinkDown("cable out")
        await rig.clock.advance(2.0)
        assert rig["CH00:VSET"].sevr == 3
        rig.driver.looking.set()
        await settle()
        with pytest.raises(PutRefused):
            await put
        assert (rig["CH00:VSET"].sevr, rig.driver.writes) == (3, [])
