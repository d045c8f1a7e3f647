"""A device that is disabled for maintenance: its silence was asked for and is no alarm, before, meanwhile or after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from devices.errors import LinkDown
from ioc.records import Record
from tests.fair_time import until
from tests.ioc.app_rig import as_client, record, running, supply
from tests.ioc.fakes import FakeClock, alarm, settle
from tests.ioc.scan.test_scan import Rig


@contextmanager
def worst(*records: Record) -> Iterator[list[int]]:
    """Collect the severity of each event of these records."""
    seen = [one.sevr for one in records]

    class Watch:
        mask = 15

        def __init__(self, one: Record) -> None:
            self.record = one

        def event(self, mask: int, shared: dict[object, bytes]) -> None:
            seen.append(self.record.sevr)

    watches = [Watch(one) for one in records]
    for watch in watches:
        watch.record.subscribe("VAL", watch)
    yield seen
    for watch in watches:
        watch.record.unsubscribe("VAL", watch)


async def test_GIVEN_a_device_at_work_WHEN_disabled_for_an_hour_and_enabled_THEN_COMM_is_LOST_and_never_alarms() -> (
    None
):
    async with Rig().running() as rig:
        with worst(rig["COMM"], rig["COMM:AGE"]) as seen:
            await rig.scanner.disable(True)
            await rig.clock.advance(3600.0)
            assert (rig["COMM"].val, rig["COMM"].udf) == (0, False)
            rig.driver.delay = 0.7  # it takes its time to answer
            await rig.scanner.disable(False)
            await rig.clock.advance(1.0)
            assert rig["COMM"].val == 0
            await rig.clock.advance(1.0)
        assert rig["COMM"].val == 1
        assert max(seen) == 0


async def test_GIVEN_a_disabled_device_that_was_unplugged_WHEN_enabled_THEN_the_first_failure_is_MAJOR() -> None:
    async with Rig().running() as rig:
        await rig.scanner.disable(True)
        await rig.clock.advance(60.0)
        rig.driver.trouble = LinkDown("unplugged")
        await rig.scanner.disable(False)
        await settle()
        assert alarm(rig["COMM"]) == ("STATE", 2)
        await rig.clock.advance(5.0)
        assert alarm(rig["COMM:AGE"]) == ("HIGH", 1)
        await rig.clock.advance(7.0)
        assert alarm(rig["COMM:AGE"]) == ("HIHI", 2)


async def test_GIVEN_a_device_that_never_answers_after_enabling_WHEN_time_passes_THEN_the_age_alarms() -> None:
    async with Rig().running() as rig:
        await rig.scanner.disable(True)
        await rig.clock.advance(60.0)
        rig.driver.delay = 1000.0
        await rig.scanner.disable(False)
        await rig.clock.advance(5.0)
        assert alarm(rig["COMM:AGE"]) == ("HIGH", 1)
        await rig.clock.advance(7.0)
        assert alarm(rig["COMM:AGE"]) == ("HIHI", 2)


async def test_GIVEN_a_lost_device_WHEN_disabled_THEN_its_MAJOR_ends() -> None:
    async with Rig().running() as rig:
        rig.driver.trouble = LinkDown("off")
        await rig.clock.advance(15.0)
        assert (alarm(rig["COMM"]), alarm(rig["COMM:AGE"])) == (("STATE", 2), ("HIHI", 2))
        await rig.scanner.disable(True)
        assert (alarm(rig["COMM"]), alarm(rig["COMM:AGE"])) == (("NO_ALARM", 0), ("NO_ALARM", 0))
        assert rig["COMM"].val == 0


async def test_GIVEN_a_server_that_starts_WHEN_the_first_answer_takes_a_moment_THEN_that_is_no_MAJOR() -> None:
    rig = Rig(FakeClock())
    rig.driver.delay = 0.7
    async with rig.running():
        assert (rig["COMM"].val, alarm(rig["COMM"])) == (0, ("NO_ALARM", 0))
        await rig.clock.advance(2.0)
        assert (rig["COMM"].val, alarm(rig["COMM"])) == (1, ("NO_ALARM", 0))


async def test_GIVEN_the_real_records_WHEN_a_client_disables_and_enables_THEN_the_connection_never_alarms() -> None:
    async with running() as app:
        with worst(record(app, "COMM"), record(app, "COMM:AGE")) as seen:
            await as_client(app, lambda context: context.channel("LAB:HV1:DISABLE").put_callback(1))
            assert (record(app, "COMM").val, alarm(record(app, "DISABLE"))) == (0, ("STATE", 1))
            assert alarm(record(app, "CH00:VMON")) == ("DISABLE", 3)
            await until(lambda: float(record(app, "COMM:AGE").val) > 1.5, 4.0)  # type: ignore[arg-type]
            await as_client(app, lambda context: context.channel("LAB:HV1:DISABLE").put_callback(0))
            await until(lambda: record(app, "COMM").val == 1, 3.0)
        assert max(seen) == 0
        supply(app).faults.silent = True
        await until(lambda: alarm(record(app, "COMM")) == ("STATE", 2), 4.0)
