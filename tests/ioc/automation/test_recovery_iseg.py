"""The recovery of a channel of a real Iseg driver on a simulated bus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.module import SimulatedIsegModule
from ioc.records import PutContext, Value, fields_of
from tests.devices.iseg.bench import fresh_channel
from tests.ioc.app_rig import running
from tests.system.test_iseg_faults import E16C1, device, record


async def test_GIVEN_an_armed_channel_of_a_module_WHEN_it_trips_THEN_it_is_brought_back() -> None:
    module = SimulatedIsegModule(3, E16C1, channels=8)
    segment = SimulatedIsegBus([module], "virtual", channel=fresh_channel())
    segment.open()
    section = {"channels": ["ISEG3:CH00"], "dwell": 0, "fraction": 0.5}
    adapter = {"interface": "virtual", "channel": segment.channel}
    try:
        async with running(device(3, period=0.5) | {"settle": 0.5}, can={"main": adapter}, recovery=section) as app:

            async def put(suffix: str, value: Value) -> None:
                one = record(app, suffix, "ISEG3")
                await one.put_device(fields_of(one.rtyp)["VAL"], value, PutContext("olga", "desk1", callback=True))

            async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
                async with asyncio.timeout(seconds):
                    while not condition():  # noqa: ASYNC110  no event tells of it
                        await asyncio.sleep(0.1)

            def val(suffix: str) -> object:
                return record(app, suffix, "ISEG3").val

            await put("MOD:RAMPV", 20.0)
            await put("CH00:VSET", 200.0)
            await put("CH00:ON", 1)
            await until(lambda: val("CH00:SETTLED") == 1)
            await put("CH00:REC:MODE", 1)
            (recovery,) = (one for one in app.automation.recoveries.channels if one.base == "LAB:ISEG3:CH00:")
            rules: Any = recovery._rules
            rules.settings = replace(rules.settings, wait=1.0)  # what the site file may not ask for
            await until(lambda: rules._good == 200.0)
            with segment.lock:
                module.trip(0)
            await until(lambda: val("CH00:REC:STATE") == 1)
            await until(lambda: val("CH00:REC:STATE") not in (1, 2))
            assert val("CH00:REC:MSG") == "armed; back at 200 V"
            assert (val("CH00:ON:RBV"), val("CH00:VSET:RBV"), val("CH00:TRIP")) == (1, 200.0, 1)
    finally:
        segment.close()
