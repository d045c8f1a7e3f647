"""``labioc snapshot``, ``diff`` and ``restore`` against a served site: what gets to the supply, and in which order."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devices.caen.simulator.server import SimulatedSupply
from ioc.app import App
from ioc.client import Client
from ioc.clock import SystemClock
from ioc.export.plant import Plant, settings
from ioc.records import PutContext, fields_of
from ioc.site.config import load_site
from ioc.snapshots.apply import DONE, REFUSED, Restore
from ioc.snapshots.plan import make
from ioc.snapshots.present import look
from ioc.snapshots.snapshot import read
from tests.fair_time import until
from tests.ioc.app_rig import supply

SITE = """\
[site]
prefix = "LAB"
[server]
interfaces = ["127.0.0.1"]
state_dir = "{folder}"
"""
DEVICE = """\
[[device]]
name = "{name}"
type = "caen-dt55xx"
address = "tcp://127.0.0.1:23"
simulated = true
channels = 2
"""


LACKING = "labioc: LAB:HV1:BD:ILKM: not known now (INVALID READ); the device does not have it"


@asynccontextmanager
async def served(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> AsyncIterator[tuple[App, str]]:
    """Serve a site of a file, and let commands of this process find it; gives the server and the site file."""
    path = folder / "site.toml"
    devices = "".join(DEVICE.format(name=name) for name in names or ("HV1",))
    path.write_text(SITE.format(folder=folder / "state") + devices)
    app = App(load_site(str(path)), port=0, clock=SystemClock())
    try:
        await app.start()
        assert await app.wait_until_read(30.0)
        monkeypatch.setenv("EPICS_CA_ADDR_LIST", f"127.0.0.1:{app.search_port}")
        yield app, str(path)
    finally:
        await app.stop()


async def put(app: App, **values: float) -> None:
    """Put to settings, ``CH00_VSET=5`` for LAB:HV1:CH00:VSET."""
    for name, value in values.items():
        record = app.records[f"LAB:HV1:{name.replace('_', ':')}"]
        await record.put_device(fields_of(record.rtyp)["VAL"], value, PutContext("ann", "desk"))


def sent(unit: SimulatedSupply) -> list[str]:
    """Return what changed the supply, ``0 VSET 5``, and forget it."""
    found = [line.decode() for line in unit.received if b"CMD:SET" in line]
    unit.received.clear()
    words = [dict(part.partition(":")[::2] for part in line.strip().split(",")) for line in found]
    return [" ".join(filter(None, (one.get("CH"), one["PAR"], one.get("VAL")))) for one in words]


async def test_GIVEN_settings_that_were_changed_WHEN_restored_THEN_they_are_as_before_and_nothing_was_switched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labioc: Any
) -> None:
    async with served(tmp_path, monkeypatch) as (app, site):
        file, unit = str(tmp_path / "before.json"), supply(app)
        await put(app, CH00_RAMPUP=50, CH00_RAMPDN=50, CH00_MAXV=200, CH00_ISET=20, CH00_VSET=20, CH01_VSET=11)
        status, out, err = await labioc("snapshot", site, file)
        assert (status, out, err) == (0, [f"{file}: 20 settings"], [LACKING]), err
        assert (await labioc("diff", site, file))[:2] == (0, [f"20 settings are as in {file}"])

        await put(app, CH00_MAXV=900, CH00_ISET=50, CH00_VSET=60, CH00_RAMPUP=60, CH00_ON=1, CH01_VSET=0, CH01_ON=0)
        await until(lambda: app.records["LAB:HV1:CH00:VMON"].val == pytest.approx(60.0, abs=0.5), 20.0)
        status, out, err = await labioc("diff", site, file)
        assert [line.split()[0] for line in out] == ["PV", *(
            f"LAB:HV1:{name}" for name in ("CH00:VSET", "CH00:ISET", "CH00:ON", "CH00:RAMPUP", "CH00:MAXV", "CH01:VSET")
        )]  # fmt: skip
        assert (status, err) == (1, [f"labioc: settings of the site that are not in {file}: 1"])
        sent(unit)

        status, out, _ = await labioc("restore", site, file, "--dry-run")
        assert (status, sent(unit)) == (0, [])
        assert out == [
            "LAB:HV1:CH00:RAMPUP  60 V/s -> 50 V/s",
            "LAB:HV1:CH00:VSET  60.0 V -> 20.0 V",
            "LAB:HV1:CH01:VSET  0.0 V -> 11.0 V",
            "LAB:HV1:CH00:ISET  50.00 uA -> 20.00 uA, once the output does not move",
            "LAB:HV1:CH00:MAXV  900 V -> 200 V, once the output does not move",
            "5 to write, 14 as in the snapshot, 1 outputs left as they are (--outputs switches them)",
        ]

        status, out, err = await labioc("restore", site, file, "--only", "HV1:CH00:*", "--json")
        assert (status, err) == (0, [])
        assert [json.loads(line)["result"] for line in out] == [DONE] * 4
        assert sent(unit) == ["0 RUP 50", "0 VSET 20.0", "0 ISET 20.00", "0 MAXV 200"]
        assert app.records["LAB:HV1:CH00:VMON"].val == pytest.approx(20.0, abs=0.5), "the limit waited for the output"

        status, out, err = await labioc("restore", site, file, "--outputs")
        assert (status, err) == (0, [])
        assert sent(unit) == ["0 OFF", "1 VSET 11.0"]
        assert out[-1] == "2 done, 18 as in the snapshot"
        assert (await labioc("diff", site, file))[0] == 0


async def test_GIVEN_a_refusal_WHEN_restored_THEN_it_stops_or_goes_on_with_other_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labioc: Any
) -> None:
    async with served(tmp_path, monkeypatch) as (app, site):
        file, unit = str(tmp_path / "before.csv"), supply(app)
        await put(app, CH00_MAXV=500, CH00_VSET=50, CH00_ON=1, CH01_MAXV=500, CH01_VSET=50)
        assert (await labioc("snapshot", site, file))[0] == 0
        await put(app, CH00_ON=0, CH00_VSET=5, CH00_MAXV=400, CH01_VSET=5, CH01_MAXV=400)
        sent(unit)
        maxv = app.records["LAB:HV1:CH00:MAXV"]
        maxv.put(fields_of("ao")["DISP"], 1)
        reason = "refused: puts are disabled (DISP is 1)"

        status, out, _ = await labioc("restore", site, file, "--outputs")
        assert (status, sent(unit)) == (1, [])
        assert out[0] == f"LAB:HV1:CH00:MAXV  400 V -> 500 V  {reason}"
        assert out[-1] == "1 refused, 4 not tried, 15 as in the snapshot"

        status, out, _ = await labioc("restore", site, file, "--outputs", "--go-on")
        assert (status, sent(unit)) == (1, ["1 MAXV 500", "1 VSET 50.0"]), "neither voltage nor ON after its limit"
        assert out[-1] == "1 refused, 2 done, 2 not tried, 15 as in the snapshot"


async def test_GIVEN_a_value_that_somebody_changes_WHEN_its_turn_comes_THEN_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labioc: Any
) -> None:
    async def why(*_: object) -> str:
        return ""

    async with served(tmp_path, monkeypatch) as (app, site):
        file = tmp_path / "before.json"
        assert (await labioc("snapshot", site, str(file), "--only", "*:VSET"))[0] == 0
        await put(app, CH00_VSET=7, CH01_VSET=7)
        plant = Plant.build([load_site(site)])
        found = {one.pv: one for one in read(file).settings}
        async with Client() as client:
            chosen = [one for one in settings(plant) if one.record.name in found]
            plan, errors = make(found, await look(client, chosen, 3.0), outputs=False)
            assert errors == []
            await put(app, CH00_VSET=9)
            outcomes = await Restore(client, why, 3.0, 3.0, go_on=True).apply(plan.steps, lambda one: None)
        assert [(one.result, one.reason) for one in outcomes] == [
            (REFUSED, "it was changed meanwhile, to 9.0 V"),
            (DONE, ""),
        ]
        assert app.records["LAB:HV1:CH00:VSET"].val == 9.0


async def test_GIVEN_a_device_that_is_not_there_WHEN_saved_or_restored_THEN_nothing_is_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labioc: Any
) -> None:
    async with served(tmp_path, monkeypatch, "HV1", "HV2") as (app, site):
        whole, part = tmp_path / "whole.json", tmp_path / "part.json"
        assert (await labioc("snapshot", site, str(whole)))[0] == 0
        await put(app, CH00_VSET=5)
        await put(app, DISABLE=1)
        units = [supply(app, name) for name in ("HV1", "HV2")]
        for unit in units:
            sent(unit)
        status, out, err = await labioc("snapshot", site, str(part))
        assert (status, out) == (1, [])
        assert err[0] == "labioc: LAB:HV1:BD:ILKM: not known now (INVALID DISABLE)"
        assert err[-1] == "labioc: nothing is saved; --partial saves what can be read"
        assert not part.exists()
        status, out, _ = await labioc("snapshot", site, str(part), "--partial")
        assert (status, out) == (0, [f"{part}: 20 settings"])
        status, out, err = await labioc("restore", site, str(whole))
        assert (status, out) == (2, [])
        assert err[0] == "labioc: the snapshot cannot be used"
        assert err[1] == "  LAB:HV1:CH00:VSET: not known now (INVALID DISABLE)"
        assert err[-1] == "  nothing was written"
        status, out, err = await labioc("diff", site, str(part))
        assert (status, out) == (0, [f"20 settings are as in {part}"])
        assert err == [f"labioc: settings of the site that are not in {part}: 22"]
        assert [sent(unit) for unit in units] == [[], []]


async def test_GIVEN_a_wrong_file_WHEN_used_THEN_the_mistakes_are_listed(tmp_path: Path, labioc: Any) -> None:
    site, file = tmp_path / "site.toml", tmp_path / "a.json"
    site.write_text(SITE.format(folder=tmp_path) + DEVICE.format(name="HV1"))
    row = {"pv": "LAB:HV9:CH00:VSET", "value": 1.0, "units": "V", "restored": True}
    head = {"snapshot": 1, "prefix": "LAB", "time": "2026-11-21T07:00:00+00:00"}
    file.write_text(json.dumps(head | {"settings": [row]}))
    for command in ("restore", "diff"):
        status, out, err = await labioc(command, str(site), str(file))
        assert (status, out) == (2, [])
        assert err[1:] == [f"  {file}: LAB:HV9:CH00:VSET: the site has no such setting"]
    file.write_text(json.dumps(head | {"settings": [row], "prefix": "HALL"}))
    assert "it is of another site: found prefix HALL" in (await labioc("restore", str(site), str(file)))[2][1]
    assert (await labioc("snapshot", str(site), "--only", "NIX*"))[0] == 2
    assert (await labioc("snapshot", str(site), "a.txt"))[0] == 2
    assert (await labioc("restore", str(site), str(tmp_path / "none.json")))[0] == 1
