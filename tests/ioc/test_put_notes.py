"""What is noted of puts: in the journal, in IOC:PUTS, and when that cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from devices.errors import DeviceError, LinkDown, OutOfLimits, ReplyTimeout, TakenOtherwise, Withdrawn
from devices.model import Reading, Value
from ioc.records import PutRefused
from ioc.records.fieldtable import fields_of
from ioc.services.journal import APPLIED, OTHERWISE, REFUSED, UNKNOWN, entry_of
from tests.ioc.fakes import FakeDriver, alarm, settle
from tests.ioc.put_rig import WHO, Rig, newest_put


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
        assert newest_put(rig).endswith("LAB:HV1:CH00:VMON.HSV NO_ALARM -> MINOR")


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
        assert newest_put(rig).endswith("VSET 100 -> 40")
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
