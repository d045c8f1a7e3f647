"""The self-test: what it makes of values, and that it changes nothing, shown on the wires of all families."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from archiver.config import ServerConfig
from devices.caen.simulator.server import SimulatedSupply, simulated_supply
from devices.eurotherm.simulator.server import SimulatedFurnaces, simulated_furnaces
from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.module import SimulatedIsegModule
from ioc.app import App
from ioc.cli import main
from ioc.selftest import checks, surroundings, whole
from ioc.selftest.findings import Finding, Report, Result
from ioc.selftest.values import Seen
from ioc.site.config import Site, parse_site
from ioc.site.expansion import expand
from tests.devices.iseg.bench import fresh_channel
from tests.softioc import free_port
from tests.system.test_eurotherm_faults import writes
from tests.system.test_iseg_faults import E16C1

NOW = 1_700_000_000.0


class Wires:
    """A device of each family, and what arrives at it."""

    def __init__(self, supply: SimulatedSupply, furnaces: SimulatedFurnaces, segment: SimulatedIsegBus) -> None:
        self.supply, self.furnaces, self.segment = supply, furnaces, segment

    def site(self, folder: Path, port: int) -> Site:
        devices = [
            {"name": "HV1", "type": "caen-dt55xx", "address": self.supply.address},
            {"name": "ISEG3", "type": "iseg-edcp", "can": "main", "module": 3, "channels": 4},
            {"name": "FURN1", "type": "eurotherm-3200", "address": self.furnaces.address, "state_dir": str(folder)},
        ]
        adapter = {"interface": "virtual", "channel": self.segment.channel}
        server = {"interfaces": ["127.0.0.1"], "port": port, "state_dir": str(folder)}
        return parse_site({"site": {"prefix": "LAB"}, "server": server, "can": {"main": adapter}, "device": devices})

    def changed(self) -> list[object]:
        """Everything that has arrived and changes something."""
        return [
            *(line for line in self.supply.received if b"CMD:SET" in line),
            *self.segment.written(),
            *writes(self.furnaces),
        ]


@asynccontextmanager
async def wires() -> AsyncIterator[Wires]:
    segment = SimulatedIsegBus([SimulatedIsegModule(3, E16C1, channels=4)], "virtual", channel=fresh_channel())
    segment.open()
    try:
        async with simulated_supply() as supply, simulated_furnaces() as furnaces:
            yield Wires(supply, furnaces, segment)
    finally:
        segment.close()


async def report_of(site: Site, wait: float) -> Report:
    env = {"EPICS_CA_ADDR_LIST": "127.0.0.1", "EPICS_CA_AUTO_ADDR_LIST": "NO",
           "EPICS_CA_SERVER_PORT": str(site.server.port)}  # fmt: skip
    return await whole.examine("site.toml", [site], None, env, wait)


def failures(report: Report) -> list[Finding]:
    """What has failed, but for the times of the scans: those of a busy computer say nothing."""
    return [one for one in report.findings if one.result is Result.FAILED and one.area != "period"]


def areas(report: Report, device: str) -> dict[str, Result]:
    return {one.area: one.result for one in report.findings if one.subject == device}


async def test_GIVEN_devices_of_each_family_WHEN_no_server_runs_THEN_they_are_read_and_nothing_is_changed(
    tmp_path: Path,
) -> None:
    async with wires() as plant:
        report = await report_of(plant.site(tmp_path, free_port()), 1.0)
        assert len(plant.supply.received) > 20
        assert len(plant.furnaces.received) > 5
        assert len(plant.segment.received) > 50
        assert plant.changed() == []
    assert failures(report) == []
    assert report.source == "read from the devices, without a server"
    for device in ("HV1", "ISEG3", "FURN1"):
        found = areas(report, device)
        assert found.keys() >= {"link", "identity", "period", "signals", "limits"}, found
        assert all(result is Result.OK for area, result in found.items() if area != "period"), report.findings


async def test_GIVEN_a_server_that_runs_WHEN_tested_THEN_it_is_asked_as_a_client_does_and_nothing_is_changed(
    tmp_path: Path,
) -> None:
    async with wires() as plant:
        site = plant.site(tmp_path, free_port())
        app = App(site)
        try:
            await app.start()
            assert await app.wait_until_read(30.0)
            connections = plant.supply.connections
            report = await report_of(site, 5.0)  # as the command waits, which ends when all PVs are there
            assert plant.supply.connections == connections, "the devices are left to the server"
        finally:
            await app.stop()
        assert plant.changed() == []
    assert failures(report) == []
    assert report.source == "read over Channel Access"
    assert areas(report, "LAB:IOC").keys() == {"server", "clock"}
    found = areas(report, "HV1")
    assert found.keys() >= {"link", "identity", "period", "signals", "limits"}, found
    assert all(result is Result.OK for area, result in found.items() if area != "period"), report.findings


async def test_GIVEN_a_server_on_this_computer_that_no_search_finds_WHEN_tested_THEN_its_devices_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "_runs", lambda site: True)
    async with wires() as plant:
        report = await report_of(plant.site(tmp_path, free_port()), 1.0)
        assert (list(plant.supply.received), list(plant.furnaces.received)) == ([], [])
    assert [one.area for one in failures(report)] == ["server"]


# ---- judgements


@pytest.fixture(scope="module")
def site() -> Site:
    device = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:1", "channels": 1}
    return parse_site({"site": {"prefix": "LAB"}, "device": [device]})


def good(site: Site) -> dict[str, Seen]:
    """Values with which nothing is wrong."""
    seen = {}
    for name, record in expand(site).records.items():
        text = record.rtyp in ("stringin", "lsi")
        seen[name] = Seen("x" if text else 1.0, "x" if text else "1", NOW, 0, "", (0.0, 100.0), (0.0, 100.0))
    return seen | {"LAB:HV1:DISABLE": Seen(0, "NO", NOW, 0), "LAB:HV1:SIM": Seen(0, "NO", NOW, 0)}


def judged(site: Site, changes: Mapping[str, Seen]) -> list[Finding]:
    base = "LAB:HV1:"
    records = {name.removeprefix(base): one for name, one in expand(site).records.items() if name.startswith(base)}
    seen = good(site) | {base + suffix: one for suffix, one in changes.items()}
    return list(checks.check_device(site, site.devices[0], records, seen, NOW))


def value(number: float, **more: Any) -> Seen:
    return Seen(
        number, f"{number:g}", **({"stamp": NOW, "severity": 0, "shown": (0.0, 100.0), "limits": (0.0, 100.0)} | more)
    )


def test_good_values_pass(site: Site) -> None:
    assert {one.result for one in judged(site, {})} == {Result.OK}


@pytest.mark.parametrize(
    ("suffix", "seen", "result", "area", "text"),
    [
        ("COMM", Seen(trouble="not connected: no server has it"), Result.FAILED, "link", "not connected"),
        ("COMM", value(0), Result.FAILED, "link", "no answer: x"),
        ("DISABLE", value(1), Result.FAILED, "link", "disabled for maintenance"),
        ("COMM:RTT", value(800, severity=1), Result.WARNING, "link", "slow"),
        ("SIM", value(1), Result.NOTE, "link", "it is simulated"),
        ("BD:SERIAL", Seen("7", "7", NOW, 2, "MAJOR STATE"), Result.FAILED, "identity", "BD:SERIAL: MAJOR STATE"),
        ("SCAN:TIME", value(900), Result.WARNING, "period", "a scan takes 900 ms of 1 s (90%)"),
        ("SCAN:TIME", value(1200), Result.FAILED, "period", "(120%)"),
        ("CH00:VMON", Seen(trouble="no answer"), Result.FAILED, "signals", "no answer"),
        ("CH00:VMON", Seen(), Result.FAILED, "signals", "no valid reading"),
        ("BD:TERM", Seen(), Result.NOTE, "signals", "not read yet"),
        ("CH00:VMON", value(1, severity=3, alarm="INVALID READ"), Result.FAILED, "signals", "INVALID READ"),
        ("CH00:VMON", value(float("nan")), Result.FAILED, "signals", "no number"),
        ("CH00:VMON", value(150), Result.WARNING, "signals", "outside what the device can show, 0 to 100"),
        ("CH00:VMON", value(-0.5), Result.OK, "signals", "are plausible"),
        ("CH00:VMON", value(1, stamp=NOW - 60), Result.WARNING, "signals", "not read for 60 s"),
        ("CH00:VSET", value(120), Result.WARNING, "limits", "set to 120, allowed: 0 to 100"),
    ],
)
def test_each_value_is_judged(site: Site, suffix: str, seen: Seen, result: Result, area: str, text: str) -> None:
    found = [one for one in judged(site, {suffix: seen}) if one.area == area]
    worst = max(found, key=lambda one: one.result)
    assert (worst.result, text in worst.text) == (result, True), found


def test_alarms_come_with_what_to_do(site: Site) -> None:
    records = expand(site).records
    (found,) = checks.check_alarms(records, {"LAB:HV1:CH00:TRIP": Seen(1, "TRIPPED", NOW, 2, "MAJOR STATE")})
    assert found.result is Result.WARNING
    assert found.text.startswith("MAJOR STATE: TRIPPED (Find out why")
    (none,) = checks.check_alarms(records, good(site))
    assert none.result is Result.OK


@pytest.mark.parametrize(
    ("beat", "stamp", "result"), [(2, NOW, Result.OK), (1, NOW, Result.FAILED), (2, NOW - 60, Result.FAILED)]
)
def test_a_server_is_judged_by_its_heartbeat_and_its_clock(site: Site, beat: int, stamp: float, result: Result) -> None:
    seen = good(site) | {"LAB:IOC:CFG:ID": Seen(site.identity, site.identity, NOW, 0)}
    later = seen | {"LAB:IOC:HEARTBEAT": Seen(beat, str(beat), stamp, 0)}
    assert max(one.result for one in checks.check_server(site, seen, later, NOW)) is result


def test_a_server_with_another_site_file_is_named(site: Site) -> None:
    later = good(site) | {"LAB:IOC:HEARTBEAT": Seen(2, "2", NOW, 0)}
    found = [one.text for one in checks.check_server(site, good(site), later, NOW) if one.result is Result.WARNING]
    assert found == [f"the server runs with another site file (x) than this one ({site.identity})"]


def test_places_and_databases_are_judged(tmp_path: Path) -> None:
    assert surroundings.check_folder("x", tmp_path / "to" / "be" / "made").result in (Result.OK, Result.WARNING)
    (tmp_path / "file").write_text("")
    assert surroundings.check_folder("x", tmp_path / "file" / "below").result is Result.FAILED
    closed = ServerConfig("main", f"http://127.0.0.1:{free_port()}", timeout=2.0)
    other = ServerConfig("bus", "kafka://x", version="kafka")
    assert [one.result for one in surroundings.check_databases([closed, other])] == [Result.FAILED, Result.NOTE]
    assert surroundings.check_clock().area == "clock"


def test_the_report_is_text_json_and_html() -> None:
    findings = [Finding(Result.FAILED, "link", "HV1", "no <answer>"), Finding(Result.OK, "disk", "/x", "9 GB free")]
    report = Report("site.toml", "read over Channel Access", NOW, findings)
    assert report.summary == "self-test FAILED: 1 failed, 0 warnings, 0 notes, 1 ok"
    assert len(list(report.lines())) == 3
    assert len(list(report.lines(everything=True))) == 4
    assert json.loads(json.dumps(report.as_json()))["findings"][0] == {
        "result": "failed", "area": "link", "subject": "HV1", "text": "no <answer>",
    }  # fmt: skip
    assert "no &lt;answer&gt;" in report.as_html()


def test_the_command_reports_what_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(whole, "_ALONE_SECONDS", 0.2)
    path, page = tmp_path / "site.toml", tmp_path / "report.html"
    path.write_text(
        f'[site]\nprefix = "LAB"\n[server]\ninterfaces = ["127.0.0.1"]\nport = {free_port()}\n'
        f'state_dir = "{tmp_path}"\n'
        f'[[device]]\nname = "HV1"\ntype = "caen-dt55xx"\naddress = "tcp://127.0.0.1:{free_port()}"\nperiod = 0.1\n'
    )
    assert main(["selftest", str(path), "--json", "--html", str(page), "-w", "0.3"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["area"], one["subject"]) for one in found["findings"] if one["result"] == "failed"] == [
        ("link", "HV1")
    ]
    assert "FAILED" in page.read_text()
