"""The Zabbix export as Zabbix has it: every item of the template, asked of a real agent 2 with the exported files."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from ioc.export import zabbix
from ioc.export.plant import Plant
from ioc.export.zabbix import item
from tests.fair_time import until
from tests.ioc.app_rig import record
from tests.ioc.services.test_textserver import served
from tests.ioc.services.test_textserver_zabbix import agent, ask
from tests.softioc import free_port

PATH = re.compile(r"\$\['([^']+)'\]\.(value|sevr)")


def items_of(files: dict[str, str]) -> list[dict[str, Any]]:
    """Return the items of the template, after what any import demands of it."""
    data = yaml.safe_load(files["template.yaml"])["zabbix_export"]
    assert data["version"] == "6.0"
    (template,) = data["templates"]
    items: list[dict[str, Any]] = template["items"]
    triggers = [trigger for item in items for trigger in item.get("triggers", ())]
    identities = [thing["uuid"] for thing in (template, *data["groups"], *items, *triggers)]
    assert len(set(identities)) == len(identities)
    assert all(re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", identity) for identity in identities)
    keys = {item["key"] for item in items}
    assert len(keys) == len(items)
    known = {(trigger["name"], trigger["expression"]) for trigger in triggers}
    for trigger in triggers:
        (key,) = re.findall(r"\(/labioc LAB/(labioc\.[a-z]+\[[^]]+\])", trigger["expression"])
        assert key in keys
        independent = "HEARTBEAT]" in key or key.startswith("labioc.value[")
        assert independent == ("dependencies" not in trigger)
        assert all((other["name"], other["expression"]) in known for other in trigger.get("dependencies", ()))
    return items


async def test_GIVEN_an_agent_with_the_exported_files_WHEN_zabbix_asks_THEN_numbers_are_right_or_there_are_none(
    tmp_path: Path,
) -> None:
    async with served() as (app, furnaces):
        files = zabbix.write(Plant.build([app.site]))
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        lines = files["labioc.conf"].replace("/opt/labioc/bin/python", sys.executable)
        environment = {"EPICS_CA_ADDR_LIST": f"127.0.0.1:{app.search_port}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
        async with agent(tmp_path, lines.replace("/etc/zabbix", str(tmp_path)), environment) as port:

            async def answer(key: str) -> str:
                return await asyncio.to_thread(ask, port, key)

            whole = json.loads(await answer("labioc.site"))
            for one in items_of(files)[1:]:
                match = PATH.fullmatch(one["preprocessing"][0]["parameters"][0])
                assert match is not None
                unknown = app.records[match[1].removesuffix("$")].sevr == 3  # a slope needs a while to be known
                assert (whole[match[1]][match[2]] is None) == (unknown and match[2] == "value"), one["key"]
            assert whole["LAB:FURN1:TEMP"] == {"value": 183.4, "sevr": 0}
            assert {"LAB:FURN1:PWR:COUNT", "LAB:FURN1:PWR:MSG$", "LAB:IOC:HEARTBEAT"} <= whole.keys()
            assert [float(await answer(f"eurotherm_data_{key}")) for key in ("pv", "sp", "op", "sprate")] == [
                183.4, 250.0, 32.5, 5.0,
            ]  # fmt: skip
            assert float(await answer("eurotherm_data_pv[FURN1]")) == 183.4
            assert "LAB:FURN9:TEMP has no value: disconnected" in await answer("eurotherm_data_pv[FURN9]")
            furnaces.model.held = -12.5
            await until(lambda: record(app, "TEMP", "FURN1").val == -12.5, 5.0)
            assert float(await answer("eurotherm_data_pv")) == -12.5
            furnaces.model.sensor_broken = True
            await until(lambda: record(app, "TEMP", "FURN1").sevr == 3, 5.0)
            assert "LAB:FURN1:TEMP has no value: READ" in await answer("labioc.pv[LAB:FURN1:TEMP]")
            assert json.loads(await answer("labioc.site"))["LAB:FURN1:TEMP"] == {"value": None, "sevr": 3}


def test_GIVEN_no_server_WHEN_all_pvs_are_asked_for_THEN_the_answer_comes_within_the_time_of_an_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPICS_CA_ADDR_LIST", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("EPICS_CA_AUTO_ADDR_LIST", "NO")
    monkeypatch.setattr(item, "SECONDS", 0.3)
    names = [f"LAB:HV1:CH{number:02d}:TRIP" for number in range(40)]
    listed = tmp_path / "pvs.txt"
    listed.write_text("\n".join(names))
    begin = time.monotonic()
    assert item.main(["--list", str(listed)]) == 0
    assert time.monotonic() - begin < 6.0  # and not 0.3 s for each of them
    assert json.loads(capsys.readouterr().out) == {name: {"value": None, "sevr": 3} for name in names}
