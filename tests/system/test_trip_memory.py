"""A supply that trips behind the whole server: what clients see of it, and what a restart leaves of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ioc.app import App
from ioc.automation.trip_files import load, stored
from ioc.site.config import parse_site
from tests.fair_time import until
from tests.ioc.app_rig import DEVICE, as_client, record, supply
from tests.libca import Context

SITE = {"site": {"prefix": "LAB"}, "server": {"interfaces": ["127.0.0.1"]}, "device": [DEVICE | {"period": 0.1}]}


def arrays(context: Context) -> list[list[float]]:
    channels = context.connect([f"LAB:HV1:CH00:BBOX:{name}" for name in "TVI"])
    return [list(channel.value()) for channel in channels]


async def test_GIVEN_a_channel_at_voltage_WHEN_it_trips_THEN_clients_and_the_disk_have_what_was_read_before(
    tmp_path: Path,
) -> None:
    app = App(parse_site(SITE), port=0, folder=tmp_path)
    await app.start()
    try:
        assert await app.wait_until_read(30.0)

        def switch_on(context: Context) -> Any:
            setting, ramp, switch = context.connect([f"LAB:HV1:CH00:{name}" for name in ("VSET", "RAMPUP", "ON")])
            return [one.put_callback(value) for one, value in ((ramp, 500.0), (setting, 100.0), (switch, 1))]

        assert await as_client(app, switch_on) == [1, 1, 1]
        await until(lambda: record(app, "CH00:VMON").val > 99.0, 10.0, "at voltage")
        supply(app).model.trip(0)
        await until(lambda: not math.isnan(record(app, "CH00:BBOX:T").val[0]), 5.0, "the trip is remembered")
        times, volts, _ = await as_client(app, arrays)
        assert len(times) == len(volts) == 1000
        assert abs(times[-1]) < 0.1
        assert max(volts) > 99.0
        assert sorted(times) == times
    finally:
        await app.stop()
    (path,) = stored(tmp_path / "trips", "LAB.HV1-simulated.CH00")
    trip = load(path)
    assert trip is not None
    assert trip.volts is not None
    assert trip.volts > 99.0
    again = App(parse_site(SITE), port=0, folder=tmp_path)
    await again.start()
    try:
        later, volts_later, _ = await as_client(again, arrays)
        known = times.index(times[-1]) + 1  # the last sample is repeated; a scan may have come before the stop
        assert (later[:known], volts_later[:known]) == (times[:known], volts[:known])
        assert all(times[-1] <= time < 10.0 for time in later[known:])
    finally:
        await again.stop()
