"""The way of a put, from the record to a fake device."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from devices.errors import DeviceError, LinkDown, OutOfLimits, ReplyTimeout, TakenOtherwise, Withdrawn
from devices.model import Cause, Level, Reading, Value, Way
from devices.permit import changing
from ioc.puts import PutPath
from ioc.records import Cancelled, PutContext, PutRefused, Record
from ioc.records.fieldtable import fields_of
from ioc.scan.scanner import DeviceScanner
from ioc.services.journal import APPLIED, OTHERWISE, REFUSED, UNKNOWN, Entry, Journal, entry_of
from ioc.services.statistics import IocStatistics
from tests.ioc.fakes import FakeClock, FakeDriver, alarm, build, definition, hv_records, hv_values, settle

WHO = PutContext("olga", "desk1", ("127.0.0.1", 40000), callback=True)


class KeptJournal(Journal):
    """A journal in memory."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.entries: list[Entry] = []
        self.trouble = False

    @property
    def failing(self) -> bool:
        return self.trouble

    def note(self, entry: Entry) -> None:
        self.entries.append(replace(entry))


class Rig:
    """One device, the switch ARMED and the put path between them."""

    def __init__(self, driver: type[FakeDriver] = FakeDriver) -> None:
        self.clock = FakeClock()
        self.journal = KeptJournal(self.clock)
        self.driver = driver(self.clock, hv_values())
        self.records = hv_records()
        server = build(
            [
                definition("LAB:IOC:ARMED", "bo", "IOC ARMED", "E", ZNAM="NO", ONAM="YES"),
                definition("LAB:IOC:PUTS", "lsi", "IOC PUTS", SIZV="256"),
                definition("LAB:IOC:LAG", "ai", "IOC LAG"),
            ]
        )
        self.records |= {name.removeprefix("LAB:"): record for name, record in server.items()}
        self.scanner = DeviceScanner(self.driver, hv_only(self.records), self.clock)
        self.statistics = IocStatistics(
            server.values(), self.clock, {"CFG.ID": "0123456789ab"}, lambda: self.journal.failing
        )
        self.puts = PutPath({"HV1": self.scanner}, self.statistics, self.clock, journal=self.journal)
        for record in self.records.values():
            self.puts.attach(record)

    def __getitem__(self, suffix: str) -> Record:
        return self.records[suffix]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        task = asyncio.create_task(self.scanner.run())
        self.statistics.post()
        try:
            await settle()
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def put(self, suffix: str, value: float, context: PutContext = WHO) -> None:
        record = self.records[suffix]
        await record.put_device(fields_of(record.rtyp)["VAL"], value, context)

    async def refusal(self, suffix: str, value: float, context: PutContext = WHO) -> str:
        """Put something that must be refused, and return the reason; nothing else may have happened."""
        record, count = self.records[suffix], self.records["PUT:REFUSED"].val
        before = record.val, record.udf, alarm(record)
        with pytest.raises(PutRefused) as refused:
            await self.put(suffix, value, context)
        assert (record.val, record.udf, alarm(record)) == before
        if record.device == "HV1":
            assert self.records["PUT:REFUSED"].val == count + 1  # type: ignore[operator]
            assert str(self.records["PUT:MSG"].val).startswith(f"{refused.value} [LAB:")
        return str(refused.value)


def hv_only(records: dict[str, Record]) -> list[Record]:
    return [record for record in records.values() if record.device == "HV1"]


async def test_GIVEN_a_setting_WHEN_put_THEN_it_is_written_read_back_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Rig().running() as rig:
        with caplog.at_level(logging.INFO, "labioc.puts"):
            await rig.put("CH00:VSET", 500.0)
        assert rig.driver.writes == [("CH00.VSET", 500.0)]
        assert (rig["CH00:VSET"].val, rig["CH00:VSET:RBV"].val) == (500.0, 500.0)
        line = "olga@desk1 (127.0.0.1) LAB:HV1:CH00:VSET 100 -> 500"
        assert newest(rig).endswith(line)
        assert caplog.messages == ["LAB:HV1:CH00:VSET: 100 -> 500 by olga@desk1 (127.0.0.1)"]
        assert rig["PUT:REFUSED"].val == 0


async def test_GIVEN_a_switch_WHEN_put_THEN_the_log_speaks_in_its_states() -> None:
    async with Rig().running() as rig:
        await rig.put("CH00:ON", 0)
        assert newest(rig).endswith("LAB:HV1:CH00:ON ON -> OFF")


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


async def test_GIVEN_a_driver_bug_WHEN_put_THEN_the_client_is_told_and_the_path_stays_open() -> None:
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


async def test_GIVEN_a_driver_that_writes_by_itself_WHEN_ARMED_is_put_THEN_it_is_told_and_waited_for() -> None:
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
        rig.driver.gate = asyncio.Event()
        first = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        second = asyncio.create_task(rig.put("CH00:ON", 1))
        other = asyncio.create_task(rig.put("CH01:VSET", 7.0))
        await settle()
        assert rig.driver.writes == [("CH00.VSET", 500.0)]
        rig.driver.gate.set()
        await asyncio.gather(first, second, other)
        assert rig.driver.writes[1:] == [("CH00.ON", 1), ("CH01.VSET", 7.0)]


async def test_GIVEN_a_put_that_waited_too_long_WHEN_its_turn_comes_THEN_it_was_never_sent() -> None:
    async with Rig().running() as rig:
        rig.driver.gate = asyncio.Event()
        first = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await settle()
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
        rig.driver.gate = asyncio.Event()
        setting = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await settle()
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
        rig.driver.gate = asyncio.Event()
        first = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await settle()
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
        rig.driver.gate = asyncio.Event()
        first = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        second = asyncio.create_task(rig.put("CH00:VSET", 600.0))
        await settle()
        second.cancel()
        rig.driver.gate.set()
        await asyncio.gather(first, second, return_exceptions=True)
        await rig.put("CH00:VSET", 700.0)
        assert rig.driver.writes == [("CH00.VSET", 500.0), ("CH00.VSET", 700.0)]


async def test_GIVEN_a_put_that_has_begun_WHEN_cancelled_THEN_it_is_finished_and_reported() -> None:
    async with Rig().running() as rig:
        rig.driver.gate = asyncio.Event()
        put = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await settle()
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
        rig.driver.gate = asyncio.Event()
        first = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        second = asyncio.create_task(rig.put("CH00:VSET", 600.0))
        await settle()
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
        rig.driver.gate = asyncio.Event()
        put = asyncio.create_task(rig.put("CH00:CLR:CMD", 1))
        await settle()
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


def newest(rig: Rig) -> str:
    """Return the last accepted put."""
    return str(rig["IOC:PUTS"].val).split("\n")[0]


# ---- one queue per wire, with an end


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
        rig.driver.gate = asyncio.Event()
        first = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        second = asyncio.create_task(rig.put("CH01:VSET", 600.0))
        await settle()
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
        rig.driver.gate = asyncio.Event()
        begun = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        same = asyncio.create_task(rig.put("CH00:ON", 1))
        other = asyncio.create_task(rig.put("CH01:VSET", 7.0))
        await settle()
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
        rig.driver.gate = asyncio.Event()
        first = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        second = asyncio.create_task(rig.put("CH00:VSET", 600.0))
        await settle()
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


async def test_GIVEN_puts_that_wait_WHEN_the_device_is_lost_THEN_they_are_refused_at_once() -> None:
    async with Rig().running() as rig:
        rig.driver.gate = asyncio.Event()
        begun = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        waiting = asyncio.create_task(rig.put("CH01:VSET", 600.0))
        await settle()
        rig.driver.trouble = LinkDown("cable out")
        await rig.clock.advance(1.1)  # the next scan
        assert (begun.done(), waiting.done()) == (False, True)
        assert str(waiting.exception()) == "HV1 was lost meanwhile"
        rig.driver.gate.set()
        await begun
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
        rig.driver.gate = asyncio.Event()
        put = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await settle()
        await rig.puts.close(0.01)
        with pytest.raises(PutRefused, match="the outcome is unknown"):
            await put


async def test_GIVEN_a_setting_WHEN_put_THEN_the_journal_has_who_what_and_how_long() -> None:
    async with Rig().running() as rig:
        rig.driver.gate = asyncio.Event()
        task = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await rig.clock.advance(0.25)
        rig.driver.gate.set()
        await task
        (entry,) = rig.journal.entries
        assert (entry.user, entry.host, entry.address) == ("olga", "desk1", "127.0.0.1")
        assert (entry.pv, entry.old, entry.new, entry.read_back) == ("LAB:HV1:CH00:VSET", "100", "500", "500")
        assert (entry.outcome, entry.reason) == (APPLIED, "")
        assert entry.seconds == pytest.approx(0.25)


class Looking(FakeDriver):
    """A device that is looked at before a write, which goes wrong already then."""

    async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
        assert self.write_trouble is not None
        raise self.write_trouble


@pytest.mark.parametrize(
    ("driver", "trouble", "outcome"),
    [
        (Looking, OutOfLimits("above"), REFUSED),
        (Looking, ReplyTimeout("no answer"), REFUSED),
        (Looking, Withdrawn("ARMED is 0"), REFUSED),
        (FakeDriver, LinkDown("closed"), UNKNOWN),
        (FakeDriver, DeviceError("reads back garbage"), UNKNOWN),
        (FakeDriver, ReplyTimeout("outcome unknown"), UNKNOWN),
        (FakeDriver, Withdrawn("ARMED is 0"), UNKNOWN),
        (FakeDriver, KeyError("x"), UNKNOWN),
        (FakeDriver, OutOfLimits("reads back 100 V"), REFUSED),
        (FakeDriver, TakenOtherwise("took 300 V"), OTHERWISE),
    ],
)
async def test_GIVEN_a_write_that_goes_wrong_WHEN_put_THEN_the_journal_has_what_is_known_of_it(
    driver: type[FakeDriver], trouble: Exception, outcome: str
) -> None:
    async with Rig(driver).running() as rig:
        rig.driver.write_trouble = trouble
        with pytest.raises(PutRefused) as refused:
            await rig.put("CH00:VSET", 400.0)
        (entry,) = rig.journal.entries
        assert (entry.outcome, entry.reason) == (outcome, str(refused.value))
        assert (entry.old, entry.new) == ("100", "400")


async def test_GIVEN_a_put_that_waits_WHEN_it_is_given_up_THEN_the_journal_has_one_refusal() -> None:
    async with Rig().running() as rig:
        rig.driver.gate = asyncio.Event()
        first = asyncio.create_task(rig.put("CH00:VSET", 500.0))
        await settle()
        second = asyncio.create_task(rig.put("CH00:VSET", 600.0))
        await rig.clock.advance(6.0)
        with pytest.raises(PutRefused):
            await second
        rig.driver.gate.set()
        await first
        assert [(entry.new, entry.outcome) for entry in rig.journal.entries] == [("600", REFUSED), ("500", APPLIED)]
        assert rig.journal.entries[0].seconds == pytest.approx(5.0)


async def test_GIVEN_fields_of_records_WHEN_put_THEN_they_are_in_the_journal_and_in_IOC_PUTS() -> None:
    async with Rig().running() as rig:
        record = rig["CH00:VMON"]
        fields = fields_of(record.rtyp)
        record.put_by(fields["HIGH"], 90.0, WHO)
        record.put_by(fields["HSV"], 1, WHO)
        with pytest.raises(PutRefused):
            record.put_by(fields["DTYP"], "x", WHO)
        record.source.refused(record, "DTYP", "x", WHO, "fixed")
        found = [(entry.pv, entry.old, entry.new, entry.outcome) for entry in rig.journal.entries]
        assert [(pv.removeprefix("LAB:HV1:CH00:VMON."), new, outcome) for pv, _, new, outcome in found] == [
            ("HIGH", "90", APPLIED),
            ("HSV", "MINOR", APPLIED),
            ("DTYP", "x", REFUSED),
        ]
        assert found[1][1] == "NO_ALARM"
        assert newest(rig).endswith("LAB:HV1:CH00:VMON.HSV NO_ALARM -> MINOR")


async def test_GIVEN_a_journal_that_cannot_be_written_WHEN_looked_at_THEN_IOC_PUTS_is_an_alarm() -> None:
    async with Rig().running() as rig:
        rig.journal.trouble = True
        rig.statistics.post()
        assert alarm(rig["IOC:PUTS"]) == ("WRITE", 1)
        rig.journal.trouble = False
        rig.statistics.post()
        assert alarm(rig["IOC:PUTS"]) == ("NO_ALARM", 0)


async def test_GIVEN_texts_that_are_no_utf8_WHEN_put_THEN_every_put_is_answered_and_noted_as_usual() -> None:
    async with Rig().running() as rig:
        record = rig["CH00:VMON"]
        spec = fields_of(record.rtyp)["DESC"]
        for text in (b"a\xffb", b"c\xff", b"d"):
            record.put_by(spec, record.convert(spec, text), WHO)
        await rig.put("CH00:VSET", 40.0)
        assert newest(rig).endswith("VSET 100 -> 40")
        assert [(one.pv, one.outcome) for one in rig.journal.entries] == [
            *[("LAB:HV1:CH00:VMON.DESC", APPLIED)] * 3,
            ("LAB:HV1:CH00:VSET", APPLIED),
        ]
        kept = [entry_of(one.line()) for one in rig.journal.entries]
        assert [one.new for one in kept if one is not None] == [one.new for one in rig.journal.entries]


async def test_GIVEN_an_account_that_cannot_be_kept_WHEN_put_THEN_the_client_is_answered_what_became_of_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Rig().running() as rig:
        monkeypatch.setattr(rig.statistics, "note_put", lambda _: 1 / 0)
        monkeypatch.setattr(rig.scanner.status, "note_refusal", lambda _: 1 / 0)
        await rig.put("CH00:VSET", 40.0)
        assert rig.driver.writes == [("CH00.VSET", 40.0)]
        rig.driver.write_trouble = OutOfLimits("too much")
        with pytest.raises(PutRefused, match="too much"):
            await rig.put("CH00:VSET", 50.0)
        assert [one.outcome for one in rig.journal.entries] == [APPLIED, REFUSED]
    assert "the account of a put is not complete" in caplog.text
