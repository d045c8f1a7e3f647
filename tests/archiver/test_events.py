"""What happens at a supply is an event for people, in the log and in ``labioc history --events``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from archiver.bridge import Bridge
from archiver.config import ArchiverConfig, select
from archiver.history.occurrences import Occurrence, occurrences_in_log
from ioc.cli import main
from ioc.site.archiver_pvs import archiver_pvs
from ioc.site.config import parse_site
from ioc.site.expansion import expand
from tests.archiver.schemas import SCHEMA
from tests.fair_time import until
from tests.ioc.app_rig import DEVICE, ECA_NORMAL, as_client, running, supply
from tests.libca import Context

FOREVER = 2**62


async def test_GIVEN_a_supply_WHEN_it_trips_is_set_and_is_lost_THEN_each_is_an_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def seen(kind: str) -> list[Occurrence]:
        return [one for one in occurrences_in_log(tmp_path, 0, FOREVER) if one.kind == kind]

    def put(value: float, context: Context) -> int:
        return context.channel("LAB:HV1:CH01:VSET").put_callback(value)

    site = parse_site({"site": {"prefix": "LAB"}, "device": [DEVICE]})
    pvs = select(archiver_pvs(site, expand(site)), ())
    async with running() as app:
        env = {"EPICS_CA_ADDR_LIST": f"127.0.0.1:{app.search_port}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
        bridge = Bridge(ArchiverConfig("LAB", tmp_path, local_only=True, schema=SCHEMA), pvs, env)
        await bridge.start()
        try:
            await until(lambda: bridge.snapshot.connected == len(pvs), 15.0)
            assert await as_client(app, partial(put, 50.0)) == ECA_NORMAL
            await until(lambda: bool(seen("put")), 10.0)
            assert await as_client(app, partial(put, 99_999.0)) != ECA_NORMAL
            await until(lambda: bool(seen("refused")), 10.0)
            supply(app).model.trip(2)
            await until(lambda: bool(seen("trip")), 10.0)
            supply(app).faults.silent = True
            await until(lambda: bool(seen("link")), 15.0)
            supply(app).faults.silent = False
            await until(lambda: len(seen("link")) == 2, 15.0)
        finally:
            await bridge.stop()
    (made,) = seen("put")
    assert made.title == "put to LAB:HV1:CH01:VSET"
    assert (made.device, made.channel) == ("HV1", "1")
    (refusal,) = seen("refused")
    assert "99999" in refusal.text
    (trip,) = seen("trip")
    assert (trip.title, trip.severity) == ("HV1 channel 2 tripped", 2)
    assert [one.title for one in seen("link")] == ["HV1 is lost", "HV1 is back"]
    assert [one.text for one in seen("archiver")] == ["the first start on this log"]
    assert main(["history", "--events", "--directory", str(tmp_path)]) == 0
    assert "trip      HV1 channel 2 tripped: before: " in capsys.readouterr().out
    assert main(["history"]) == 2
