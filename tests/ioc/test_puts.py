"""The way of a put, from the record to a fake device."""

from __future__ import annotations

import asyncio
import logging

import pytest

from devices.errors import LinkDown, OutOfLimits, ReplyTimeout
from ioc.records import Cancelled, PutContext, PutRefused
from ioc.records.fieldtable import fields_of
from tests.ioc.fakes import FakeDriver, alarm, build, definition, settle
from tests.ioc.put_rig import WHO, Rig, newest_put


async def test_GIVEN_a_setting_WHEN_put_THEN_it_is_written_read_back_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Rig().running() as rig:
        with caplog.at_level(logging.INFO, "labioc.puts"):
            await rig.put("CH00:VSET", 500.0)
        assert rig.driver.writes == [("CH00.VSET", 500.0)]
        assert (rig["CH00:VSET"].val, rig["CH00:VSET:RBV"].val) == (500.0, 500.0)
        line = "olga@desk1 (127.0.0.1) LAB:HV1:CH00:VSET 100 -> 500"
        assert newest_put(rig).endswith(line)
        assert caplog.messages == ["LAB:HV1:CH00:VSET: 100 -> 500 by olga@desk1 (127.0.0.1)"]
        assert rig["PUT:REFUSED"].val == 0


async def test_GIVEN_a_switch_WHEN_put_THEN_the_log_speaks_in_its_states() -> None:
    async with Rig().running() as rig:
        await rig.put("CH00:ON", 0)
        assert newest_put(rig).endswith("LAB:HV1:CH00:ON ON -> OFF")


async def test_GIVEN_a_served_reading_WHEN_processed_or_scanned_anew_THEN_its_device_is_asked_for_it() -> None:
    async with Rig().running() as rig:
        vset, before = rig["CH00:VSET:RBV"], len(rig.driver.batches)
        vset.process()
        await settle()
        assert rig.driver.batches[before:] == [(rig.clock.now, ["CH00.VSET.RBV"])]
        scan = fields_of("ai")["SCAN"]
        vset.put_by(scan, scan.choices.index("1 second"), WHO)
        await rig.clock.advance(3.05)
        asked = [batch for _, batch in rig.driver.batches[before + 1 :] if "CH00.VSET.RBV" in batch]
        assert len(asked) == 3


async def test_GIVEN_a_driver_that_refuses_WHEN_put_THEN_the_reason_reaches_client_and_PUT_MSG(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Rig().running() as rig:
        rig.driver.write_trouble = OutOfLimits("VSET 1600 V is above 1500 V (site limit)")
        assert await rig.refusal("CH00:VSET", 1600.0) == "VSET 1600 V is above 1500 V (site limit)"
        message = str(rig["PUT:MSG"].val)
        expected = "VSET 1600 V is above 1500 V (site limit) [LAB:HV1:CH00:VSET = 1600 by olga@desk1 (127.0.0.1), 20"
        assert message.startswith(expected)
        assert "refused LAB:HV1:CH00:VSET = 1600 by olga@desk1" in caplog.text
        assert rig["IOC:PUTS"].val == ""


async def test_GIVEN_a_driver_bug_WHEN_put_THEN_the_client_gets_an_error_and_the_path_stays_open() -> None:
    async with Rig().running() as rig:
        rig.driver.write_trouble = KeyError("x")
        with pytest.raises(PutRefused, match="internal error: KeyError"):
            await rig.put("CH00:VSET", 1.0)
        rig.driver.write_trouble = None
        await rig.clock.advance(1.0)
        await rig.put("CH00:VSET", 2.0)
        assert rig["CH00:VSET"].val == 2.0


async def test_GIVEN_ARMED_off_WHEN_put_THEN_no_write_reaches_the_device() -> None:
    async with Rig().running() as rig:
        await rig.put("IOC:ARMED", 0)
        assert (rig["IOC:ARMED"].val, alarm(rig["IOC:ARMED"])) == (0, ("STATE", 1))
        assert "not armed (LAB:IOC:ARMED is 0)" in await rig.refusal("CH00:VSET", 1.0)
        assert "not armed" in await rig.refusal("CH00:CLR:CMD", 1)
        assert rig.driver.writes == []
        await rig.put("IOC:ARMED", 1)
        await rig.put("CH00:VSET", 1.0)
        assert rig.driver.writes == [("CH00.VSET", 1.0)]


class GuardedDriver(FakeDriver):
    """A driver that writes by itself, and needs a while to end that."""

    reasons: list[str]
    ended: asyncio.Event

    async def forbid_writes(self, why: str) -> None:
        self.reasons.append(why)
        await self.ended.wait()

    def permit_writes(self) -> None:
        self.reasons.append("")


async def test_GIVEN_a_driver_that_writes_by_itself_WHEN_ARMED_is_put_THEN_it_is_notified_and_waited_for() -> None:
    async with Rig(GuardedDriver).running() as rig:
        assert isinstance(rig.driver, GuardedDriver)
        rig.driver.reasons, rig.driver.ended = [], asyncio.Event()
        disarming = asyncio.create_task(rig.put("IOC:ARMED", 0))
        await settle()
        assert rig.driver.reasons == ["LAB:IOC:ARMED is 0"]
        assert (rig["IOC:ARMED"].val, disarming.done()) == (0, False)
        assert "not armed" in await rig.refusal("CH00:VSET", 1.0)
        rig.driver.ended.set()
        await disarming
        await rig.put("IOC:ARMED", 1)
        assert rig.driver.reasons == ["LAB:IOC:ARMED is 0", ""]


async def test_GIVEN_a_device_that_is_away_WHEN_put_THEN_refused_with_the_cause() -> None:
    async with Rig().running() as rig:
        rig.driver.trouble = LinkDown("connection refused")
        await rig.clock.advance(1.0)
        reason = await rig.refusal("CH00:VSET", 1.0)
        assert reason.startswith("HV1 is not connected")
        assert "connection refused" in reason


async def test_GIVEN_a_disabled_device_WHEN_put_THEN_refused_until_it_is_enabled() -> None:
    async with Rig().running() as rig:
        await rig.put("DISABLE", 1)
        assert not rig.driver.open
        assert await rig.refusal("CH00:VSET", 1.0) == "HV1 is disabled for maintenance"
        await rig.put("DISABLE", 0)
        await settle()
        await rig.put("CH00:VSET", 1.0)
        assert rig.driver.writes == [("CH00.VSET", 1.0)]


async def test_GIVEN_a_setting_that_could_not_be_read_WHEN_put_THEN_refused_but_off_goes_through() -> None:
    rig = Rig()
    del rig.driver.values["CH00.VSET"], rig.driver.values["CH00.ON"]
    async with rig.running():
        assert await rig.refusal("CH00:VSET", 1.0) == "not read yet"
        assert await rig.refusal("CH00:ON", 1) == "not read yet"
        await rig.put("CH00:ON", 0)
        assert rig.driver.writes == [("CH00.ON", 0)]


async def test_GIVEN_puts_over_one_wire_WHEN_made_together_THEN_they_go_one_by_one_in_their_order() -> None:
    async with Rig().running() as rig:
        first, second, other = await rig.held(("CH00:VSET", 500.0), ("CH00:ON", 1), ("CH01:VSET", 7.0))
        assert rig.driver.writes == [("CH00.VSET", 500.0)]
        rig.driver.gate.set()
        await asyncio.gather(first, second, other)
        assert rig.driver.writes[1:] == [("CH00.ON", 1), ("CH01.VSET", 7.0)]


async def test_GIVEN_a_put_that_waited_too_long_WHEN_its_turn_comes_THEN_it_was_never_sent() -> None:
    async with Rig().running() as rig:
        [first] = await rig.held(("CH00:VSET", 500.0))
        second = asyncio.create_task(rig.refusal("CH00:VSET", 600.0))
        await rig.clock.advance(4.9)
        assert not second.done()
        await rig.clock.advance(0.2)
        assert await second == "waited 5 s for its turn; nothing was sent"
        rig.driver.gate.set()
        await first
        await settle()
        assert rig.driver.writes == [("CH00.VSET", 500.0)]


async def test_GIVEN_a_put_that_takes_for_ever_WHEN_its_channel_is_cut_in_an_emergency_THEN_that_is_sent_at_once() -> (
    None
):
    rig = Rig()
    emergency = build([definition("LAB:HV1:CH00:EMCY:CMD", "bo", "HV1 CH00.EMCY.CMD", "O", ZNAM="IDLE", ONAM="ACT")])
    rig.records |= {name.removeprefix("LAB:HV1:"): record for name, record in emergency.items()}
    rig.puts.attach(rig["CH00:EMCY:CMD"])
    async with rig.running():
        [setting] = await rig.held(("CH00:VSET", 500.0))
        cut = asyncio.create_task(rig.put("CH00:EMCY:CMD", 1))
        await settle()
        assert rig.driver.writes == [("CH00.VSET", 500.0), ("CH00.EMCY.CMD", 1)]
        rig.driver.gate.set()
        await asyncio.gather(setting, cut)


@pytest.mark.parametrize(("callback", "sent"), [(True, False), (False, True)])
async def test_GIVEN_a_client_that_went_away_WHEN_its_turn_comes_THEN_only_a_plain_put_is_sent(
    callback: bool, sent: bool
) -> None:
    async with Rig().running() as rig:
        [first] = await rig.held(("CH00:VSET", 500.0))
        context = PutContext("otto", "desk2", ("127.0.0.1", 1), callback, Cancelled())
        second = asyncio.create_task(rig.put("CH00:VSET", 600.0, context))
        await settle()
        context.cancelled.set()
        rig.driver.gate.set()
        await first
        outcome = (await asyncio.gather(second, return_exceptions=True))[0]
        assert (("CH00.VSET", 600.0) in rig.driver.writes) is sent
        assert (outcome is None) is sent
        assert rig["PUT:REFUSED"].val == (0 if sent else 1)


async def test_GIVEN_a_put_in_the_queue_WHEN_cancelled_THEN_it_is_never_sent() -> None:
    async with Rig().running() as rig:
        first, second = await rig.held(("CH00:VSET", 500.0), ("CH00:VSET", 600.0))
        second.cancel()
        rig.driver.gate.set()
        await asyncio.gather(first, second, return_exceptions=True)
        await rig.put("CH00:VSET", 700.0)
        assert rig.driver.writes == [("CH00.VSET", 500.0), ("CH00.VSET", 700.0)]


async def test_GIVEN_a_put_that_has_begun_WHEN_cancelled_THEN_it_is_finished_and_reported() -> None:
    async with Rig().running() as rig:
        [put] = await rig.held(("CH00:VSET", 500.0))
        put.cancel()
        await asyncio.gather(put, return_exceptions=True)
        assert put.cancelled()
        rig.driver.gate.set()
        await rig.puts.close(1.0)
        assert rig["CH00:VSET"].val == 500.0
        assert "LAB:HV1:CH00:VSET 100 -> 500" in str(rig["IOC:PUTS"].val)


async def test_GIVEN_a_begun_put_WHEN_cancelled_and_then_refused_THEN_that_is_reported_too() -> None:
    async with Rig().running() as rig:
        rig.driver.gate = asyncio.Event()
        rig.driver.write_trouble = OutOfLimits("too much")
        put = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await settle()
        put.cancel()
        rig.driver.gate.set()
        await rig.puts.close(1.0)
        assert str(rig["PUT:MSG"].val).startswith("too much [LAB:")
        await asyncio.gather(put, return_exceptions=True)


async def test_GIVEN_a_switch_flipped_while_a_put_waits_WHEN_its_turn_comes_THEN_it_is_not_sent() -> None:
    async with Rig().running() as rig:
        first, second = await rig.held(("CH00:VSET", 500.0), ("CH00:VSET", 600.0))
        disarming = asyncio.create_task(rig.put("IOC:ARMED", 0))
        await settle()
        assert (first.done(), second.done(), disarming.done()) == (False, True, False)
        rig.driver.gate.set()
        outcomes = await asyncio.gather(first, second, disarming, return_exceptions=True)
        assert (outcomes[0], outcomes[2]) == (None, None)
        assert "not armed" in str(outcomes[1])
        assert rig.driver.writes == [("CH00.VSET", 500.0)]


async def test_GIVEN_a_command_WHEN_1_is_written_THEN_it_acts_once_and_returns_to_0() -> None:
    async with Rig().running() as rig:
        [put] = await rig.held(("CH00:CLR:CMD", 1))
        assert rig["CH00:CLR:CMD"].val == 1
        rig.driver.gate.set()
        await put
        assert rig["CH00:CLR:CMD"].val == 0
        await rig.put("CH00:CLR:CMD", 0)
        assert rig.driver.writes == [("CH00.CLR.CMD", 1)]


async def test_GIVEN_a_command_that_loses_the_device_WHEN_over_THEN_it_rests_at_0_and_INVALID() -> None:
    async with Rig().running() as rig:
        rig.driver.write_trouble = ReplyTimeout("outcome unknown")
        with pytest.raises(PutRefused, match="outcome unknown"):
            await rig.put("CH00:CLR:CMD", 1)
        assert rig["CH00:CLR:CMD"].val == 0
        assert rig["CH00:CLR:CMD"].sevr == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_GIVEN_no_number_WHEN_put_THEN_the_record_refuses_and_nothing_is_sent(value: float) -> None:
    async with Rig().running() as rig:
        before = alarm(rig["CH00:VSET"])
        with pytest.raises(PutRefused):
            rig["CH00:VSET"].check_device_put(fields_of("ao")["VAL"], value)
        assert rig.driver.writes == []
        assert (rig["CH00:VSET"].val, alarm(rig["CH00:VSET"])) == (100.0, before)


async def test_GIVEN_a_refusal_on_the_way_here_WHEN_noted_THEN_it_counts_for_the_device() -> None:
    async with Rig().running() as rig:
        record = rig["CH00:VMON"]
        record.source.refused(record, "VAL", "5", WHO, "LAB:HV1:CH00:VMON is a read-only PV")
        assert rig["PUT:REFUSED"].val == 1
        assert str(rig["PUT:MSG"].val).startswith("LAB:HV1:CH00:VMON is a read-only PV [LAB:HV1:CH00:VMON = 5 by ")
        rig["IOC:ARMED"].source.refused(rig["IOC:ARMED"], "VAL", "0", WHO, "no")
        assert rig["PUT:REFUSED"].val == 1


async def test_GIVEN_an_output_of_the_server_that_is_no_switch_WHEN_put_THEN_refused() -> None:
    rig = Rig()
    record = build([definition("LAB:HV1:SIM2", "bo", "HV1 SIM"), definition("LAB:IOC:X", "bo", "IOC LAG")])
    for each in record.values():
        rig.puts.attach(each)
    async with rig.running():
        for name, each in record.items():
            with pytest.raises(PutRefused):
                await each.put_device(fields_of("bo")["VAL"], 1, WHO)
            assert each.udf, name


async def test_GIVEN_a_put_to_a_caproto_group_WHEN_the_server_is_disarmed_THEN_it_is_awaited() -> None:
    async with Rig().running() as rig:
        gate, begun = asyncio.Event(), []

        async def perform() -> None:
            begun.append(1)
            await gate.wait()

        first = asyncio.create_task(rig.puts.put_group("LAB:MIX", "1", WHO, None, perform))
        second = asyncio.create_task(rig.puts.put_group("LAB:MIX", "2", WHO, None, perform))
        await settle()
        disarming = asyncio.create_task(rig.put("IOC:ARMED", 0))
        await settle()
        assert "not armed" in str(second.exception())
        assert (first.done(), disarming.done()) == (False, False)
        gate.set()
        await asyncio.gather(first, disarming)
        assert begun == [1]


async def test_GIVEN_a_client_without_rights_WHEN_it_puts_to_a_caproto_group_THEN_that_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Rig().running() as rig:

        async def perform() -> None:
            raise AssertionError

        with pytest.raises(PutRefused, match="is no operator"):
            await rig.puts.put_group("LAB:MIX", "1", WHO, "somebody is no operator", perform)
    assert any("refused LAB:MIX = 1 by" in record.getMessage() for record in caplog.records)


async def test_GIVEN_a_put_under_way_WHEN_the_server_stops_without_an_answer_THEN_its_outcome_is_unknown() -> None:
    async with Rig().running() as rig:
        [put] = await rig.held(("CH00:VSET", 500.0))
        await rig.puts.close(0.01)
        with pytest.raises(PutRefused, match="the outcome is unknown"):
            await put
