"""Puts of a C client, a server that is killed, and what the journal has of them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import simulated_supply
from ioc.services.journal import APPLIED, REFUSED, stored
from tests.dbr import PUT_ACKT
from tests.libca import CaError, Context
from tests.system.test_tuned_limits import labioc, until_saved, write_site

VSET = "LAB:HV1:CH00:VSET"


def put(context: Context) -> None:
    setting, limit, undefined = context.connect([VSET, "LAB:HV1:CH00:VMON.HIGH", f"{VSET}.UDF"], 20.0)
    context.wait_for(lambda: undefined.value() == 0, 20.0, lambda: "the supply has not been read")
    assert setting.put_callback(500.0) == 1
    assert limit.put_callback(1400.0) == 1
    setting.put(0, PUT_ACKT)
    with suppress(CaError):
        assert setting.put_callback(9000.0) != 1


async def test_GIVEN_puts_of_a_client_WHEN_the_server_is_killed_THEN_a_second_later_all_were_in_the_journal(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    async with simulated_supply(CaenModel(Profile.A, channels=4)) as unit:
        site = write_site(tmp_path, unit.address)
        async with labioc(site, tmp_path / "log") as (process, client):
            await client(put)
            await asyncio.to_thread(until_saved, state / "LAB.IOC-puts.jsonl", ".ACKT")
            await asyncio.to_thread(until_saved, state / "LAB.IOC-refused.jsonl", "9000")
            process.kill()
            await process.wait()
    done = [(one.pv, one.old, one.new, one.read_back, one.outcome) for one in stored(state / "LAB.IOC-puts.jsonl")]
    assert done == [
        (VSET, "0", "500", "500", APPLIED),
        ("LAB:HV1:CH00:VMON.HIGH", "0", "1400", "1400", APPLIED),
        (f"{VSET}.ACKT", "YES", "NO", "NO", APPLIED),
    ]
    (refused,) = stored(state / "LAB.IOC-refused.jsonl")
    assert (refused.pv, refused.new, refused.address, refused.outcome) == (VSET, "9000", "127.0.0.1", REFUSED)
    assert "9000" in refused.reason
