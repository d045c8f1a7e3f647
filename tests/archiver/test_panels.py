"""The panels made for the script that labioc replaces, on InfluxDB 1.6: a steady channel has data in each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from archiver.bridge import Bridge
from archiver.config import ArchiverConfig, ServerConfig, select
from ioc.app import App
from ioc.site.archiver_pvs import archiver_pvs, measurements
from ioc.site.config import parse_site
from ioc.site.expansion import expand
from tests.archiver.influx.databases import Influx1
from tests.archiver.schemas import SCHEMA
from tests.fair_time import until
from tests.ioc.app_rig import DEVICE, running, supply

CHANNELS = 4
FIELDS = "VSET VMON ISET IMON TRIP STAT".split()  # noqa: SIM905
FLAGS = [f"IS_{bit}" for bit in "ON UP DOWN OVC OVV UNV MAXV TRIP MAXPW TWARN OVT KILL INTLCK".split()]  # noqa: SIM905


@asynccontextmanager
async def archiving(app: App, influxd: Influx1, directory: Path) -> AsyncIterator[Bridge]:
    site = parse_site({"site": {"prefix": "LAB"}, "device": [DEVICE]})
    config = ArchiverConfig(
        "LAB",
        directory,
        local_only=True,
        schema=replace(SCHEMA, measurements=measurements()),
        servers=(ServerConfig("db", influxd.url, database="lab"),),
    )
    env = {"EPICS_CA_ADDR_LIST": f"127.0.0.1:{app.search_port}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
    bridge = Bridge(config, select(archiver_pvs(site, expand(site)), ()), env)
    await bridge.start()
    try:
        yield bridge
    finally:
        await bridge.stop()


def query(influxd: Influx1, statement: str) -> list[dict[str, Any]]:
    return list(influxd.rows(statement, "lab"))


async def test_GIVEN_a_steady_channel_WHEN_the_old_panels_ask_THEN_each_has_rows_for_all_channels(
    influxd: Influx1, tmp_path: Path
) -> None:
    def stat() -> list[dict[str, Any]]:
        return query(influxd, 'SELECT last("IS_ON") FROM "DT5533E" WHERE time > now() - 3s GROUP BY "channel"')

    async with running() as app, archiving(app, influxd, tmp_path):
        await until(lambda: len(query(influxd, 'SELECT "VMON" FROM "DT5533E"')) >= 6 * CHANNELS, 20.0)
        assert [(row["channel"], row["last"]) for row in stat()] == [(str(n), 0) for n in range(CHANNELS)]
        for reading, setting in (("VMON", "VSET"), ("IMON", "ISET")):
            series = query(
                influxd,
                f'SELECT mean("{reading}") AS reading, mean("{setting}") AS setting FROM "DT5533E"'
                f' WHERE time > now() - 3s GROUP BY time(1s), "channel" fill(none)',
            )
            assert len({row["channel"] for row in series}) == CHANNELS
            assert len(series) >= 2 * CHANNELS
            assert all(None not in row.values() for row in series)
        bits = (
            'SELECT "IS_TRIP", "IS_OVC", "IS_OVV", "IS_UNV" FROM "DT5533E" WHERE time > now() - 3s GROUP BY "channel"'
        )
        timeline = query(influxd, bits)
        assert len({row["channel"] for row in timeline}) == CHANNELS
        assert all(None not in row.values() for row in timeline)

        alert = 'SELECT count("IS_TRIP") FROM "DT5533E" WHERE "IS_TRIP" = 1 AND time > now() - 3s GROUP BY "channel"'
        assert query(influxd, alert) == []
        supply(app).model.trip(2)
        await until(lambda: bool(query(influxd, alert)), 10.0)
        await until(lambda: query(influxd, alert)[0]["count"] >= 2, 10.0)  # it stays true while nothing changes
        assert [row["channel"] for row in query(influxd, alert)] == ["2"]

        (row, *_) = query(influxd, 'SELECT * FROM "DT5533E" WHERE "VMON" >= 0 ORDER BY time DESC LIMIT 1')
        assert all(row[field] is not None for field in [*FIELDS, *FLAGS])
        assert {type(row[field]) for field in ["STAT", *FLAGS]} == {int}

        supply(app).faults.silent = True
        await until(lambda: app.records["LAB:HV1:CH00:VMON"].sevr == 3, 10.0)
        await until(lambda: not stat(), 10.0)  # a lost device has no rows, and is not shown as ON
        supply(app).faults.silent = False
        await until(lambda: len(stat()) == CHANNELS, 10.0)
    await asyncio.sleep(0)
