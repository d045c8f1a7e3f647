"""The console past the PVs: what is written is guarded as a put is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ioc.console.pvs import find
from ioc.console.session import Session
from ioc.records import PutContext
from tests.fair_time import until
from tests.ioc.app_rig import DEVICE, record, running, supply
from tests.ioc.console.console_rig import USER, ScriptedTerminal, carry_out


async def test_GIVEN_an_armed_server_WHEN_written_past_the_PVs_THEN_it_is_noted_and_the_PVs_follow() -> None:
    async with running() as app:
        terminal = await carry_out(app, "raw HV1 VSET 0=41", "raw HV1 VSET 0", "raw HV1 BDNAME")
        assert terminal.shown == ["VSET of channel 0 = 41.0 V", "VSET of channel 0 = 0041.0", "BDNAME = DT5533E"]
        who = USER
        assert f"{who.user}@{who.host} (127.0.0.1) HV1 raw VSET of channel 0 set to 41" in str(
            app.records["LAB:IOC:PUTS"].val
        )
        await until(lambda: record(app, "CH00:VSET").val == record(app, "CH00:VSET:RBV").val == 41.0, 2.0)


async def refused(app: Any, line: str, reason: str) -> None:
    """Try to write past the PVs: refused with this reason, noted, and not sent."""
    before, vset = int(record(app, "PUT:REFUSED").val), supply(app).model.channels[0].vset
    terminal = await carry_out(app, line)
    assert terminal.shown == []
    assert len(terminal.complaints) == 1
    assert reason in terminal.complaints[0]
    assert record(app, "PUT:REFUSED").val == before + 1
    assert str(record(app, "PUT:MSG").val).startswith(terminal.complaints[0])
    assert supply(app).model.channels[0].vset == vset


async def test_GIVEN_a_guard_of_puts_WHEN_written_past_the_PVs_THEN_it_guards_that_too() -> None:
    line = "raw HV1 VSET 0 = 50"
    async with running(DEVICE | {"limits": {"VSET": [0, 1500]}}) as app:
        await refused(app, "raw HV1 VSET 0 = 1501", "VSET 1501 V is above 1500 V (site limit)")
        await carry_out(app, "put LAB:IOC:ARMED 0")
        await refused(app, line, "the server is not armed (LAB:IOC:ARMED is 0)")
        await carry_out(app, "put LAB:IOC:ARMED 1", "put LAB:HV1:DISABLE 1")
        await refused(app, line, "HV1 is disabled for maintenance")
        terminal = await carry_out(app, "raw HV1 BDNAME")
        assert terminal.complaints == ["HV1 is disabled for maintenance"]
        await carry_out(app, "put LAB:HV1:DISABLE 0")
        await until(lambda: app.scanners["HV1"].ready, 5.0)
        await supply(app).stop()
        await until(lambda: not app.scanners["HV1"].ready, 5.0)
        await refused(app, line, "HV1 is not connected")
    async with running(DEVICE | {"readonly": True}) as app:
        await refused(app, line, "readonly = true")


async def test_GIVEN_access_rights_WHEN_the_user_is_no_expert_THEN_reading_is_all_that_is_left() -> None:
    user = USER.user
    for roles, expert in (({"operators": [user]}, False), ({"experts": [user]}, True)):
        async with running(access={"operators": [], "experts": []} | roles) as app:
            assert (await carry_out(app, "raw HV1 BDNAME")).shown == ["BDNAME = DT5533E"]
            assert (await carry_out(app, "put LAB:HV1:CH00:VSET 7")).complaints == []
            if expert:
                assert (await carry_out(app, "raw HV1 VSET 0 = 8")).shown == ["VSET of channel 0 = 8.0 V"]
            else:
                await refused(app, "raw HV1 VSET 0 = 8", "is not an expert in the [access] section")
                (complaint,) = (await carry_out(app, "put LAB:HV1:CH00:VMON.HIHI 8")).complaints
                assert "is not an expert" in complaint


async def test_GIVEN_a_put_under_way_WHEN_written_past_the_PVs_THEN_it_waits_for_its_turn() -> None:
    async with running() as app:
        target = find(app.records, "LAB:HV1:CH00:VSET")
        supply(app).faults.delay = 0.1
        put = asyncio.create_task(target.record.put_device(target.spec, 10.0, PutContext(callback=True)))
        await asyncio.sleep(0)
        raw = asyncio.create_task(carry_out(app, "raw HV1 VSET 0 = 20"))
        await put
        assert not raw.done()
        assert (await raw).shown == ["VSET of channel 0 = 20.0 V"]
        assert supply(app).model.channels[0].vset == 20.0


async def test_GIVEN_a_person_WHEN_written_past_the_PVs_THEN_a_yes_is_needed() -> None:
    async with running() as app:
        question = "HV1: VSET of channel 0: write 9? [y/N] "
        for answer, vset in (("", 0.0), ("n", 0.0), ("yes", 9.0)):
            terminal = ScriptedTerminal(answer, interactive=True)
            await Session(app, terminal, USER).take("raw HV1 VSET 0 = 9")
            assert terminal.questions == [question]
            assert terminal.complaints == ([] if vset else ["nothing was written"])
            assert supply(app).model.channels[0].vset == vset


async def test_GIVEN_modules_and_furnaces_WHEN_asked_past_the_PVs_THEN_they_answer(tmp_path: Path) -> None:
    furnace = {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/ttyUSB0", "simulated": True}
    devices: list[Mapping[str, Any]] = [
        {"name": "ISEG1", "type": "iseg-edcp", "can": "main", "module": 1, "simulated": True},
        furnace | {"state_dir": str(tmp_path)},
    ]
    async with running(*devices, can={"main": {"interface": "virtual"}}) as app:
        terminal = await carry_out(
            app,
            "raw ISEG1 DelayedTripTime 3 = 100",
            "raw ISEG1 0x1100",
            "raw FURN1 SP1 float = 60.5",
            "raw FURN1 199 = 2",
        )
        assert terminal.shown == [
            "DelayedTripTime channel 3 = 100 (0x64) ms",
            "VoltageRampSpeed = 10 %/s",
            "register 24 as a float (SP1, Setpoint 1) = 60.5",
        ]
        assert "allow_configuration" in terminal.complaints[0]
        assert "register 199" in str(record(app, "PUT:MSG", "FURN1").val)
        await until(lambda: record(app, "TSET:RBV", "FURN1").val == 60.5, 3.0)
