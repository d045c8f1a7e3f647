"""``labioc get``, ``put``, ``monitor`` and ``info`` against a served site."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ioc.app import App
from ioc.clock import SystemClock
from ioc.services.state import state_folder
from ioc.site.config import load_site
from tests.dbr import EPICS_EPOCH
from tests.fair_time import until
from tests.ioc.app_rig import record, supply
from tests.ioc.commands.test_commands_serving import COMMAND, ROOT

SITE = """\
[site]
prefix = "LAB"
[server]
interfaces = ["127.0.0.1"]
state_dir = "{folder}"
[[device]]
name = "HV1"
type = "caen-dt55xx"
address = "tcp://127.0.0.1:23"
simulated = true
[device.channel.0]
alias = "CALO:PMT07"
"""


@asynccontextmanager
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    """Serve a site of a file, and let commands of this process find it."""
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(folder=tmp_path / "state"))
    site = load_site(str(path))
    app = App(site, port=0, clock=SystemClock(), folder=state_folder(site))
    try:
        await app.start()
        assert await app.wait_until_read(30.0)
        monkeypatch.setenv("EPICS_CA_ADDR_LIST", f"127.0.0.1:{app.search_port}")
        monkeypatch.setenv("LABIOC_SITE", str(path))
        yield app
    finally:
        await app.stop()


async def test_GIVEN_a_site_WHEN_PVs_are_read_THEN_unit_age_and_alarm_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labioc: Any
) -> None:
    async with served(tmp_path, monkeypatch) as app:
        status, out, err = await labioc("get", "HV1:CH0[01]:VSET", "CALO:PMT07:STATE")
        assert (status, err) == (0, [])
        patterns = [r"LAB:HV1:CH00:VSET +0\.0 V +\d+\.\d s ago", r"LAB:HV1:CH01:VSET .*", r"CALO:PMT07:STATE +OFF .*"]
        assert [bool(re.fullmatch(*pair)) for pair in zip(patterns, out, strict=True)] == [True] * 3
        status, out, err = await labioc("get", "-t", "LAB:HV1:CH00:VSET.DRVH", "LAB:HV1:CH00:VMON.DESC")
        assert (status, out, err) == (0, ["4000.0", "Measured voltage"], [])
        supply(app).model.trip(0)
        await until(lambda: record(app, "CH00:TRIP").val == 1, 10.0, "the trip")
        tripped = EPICS_EPOCH + record(app, "CH00:TRIP").seconds
        status, out, err = await labioc("get", "--json", "LAB:HV1:CH00:TRIP")
        assert json.loads(out[0]) == {
            "pv": "LAB:HV1:CH00:TRIP", "value": 1, "text": "TRIPPED", "units": "",
            "severity": "MAJOR", "status": "STATE", "time": pytest.approx(tripped + 0.5, abs=0.5),
        }  # fmt: skip
        status, out, _ = await labioc("get", "LAB:HV1:CH00:VSET", "LAB:HV1:CH00:BBOX:V")
        assert re.fullmatch(r"LAB:HV1:CH00:VSET    0\.0 V .* ago", out[0])
        assert re.fullmatch(r"LAB:HV1:CH00:BBOX:V  \d+ values: (\S+ ){5}\.\.\.  .*", out[1])
        long = "a reason that is longer than the forty characters of a string, as many are"
        record(app, "COMM:MSG").post(long, 1.7e9)
        assert (await labioc("get", "-t", "LAB:HV1:COMM:MSG"))[1] == [long]
        status, out, _ = await labioc("info", "LAB:HV1:CH00:VSET")
        assert status == 0
        assert {
            "  control limits    0 to 4000 V",
            "  description       Voltage setting",
            "  record type       ao",
            f"  server            127.0.0.1:{app.tcp_port}",
        } <= set(out)


async def test_GIVEN_PVs_that_are_not_there_WHEN_read_THEN_the_others_are_shown_and_it_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labioc: Any
) -> None:
    async with served(tmp_path, monkeypatch) as app:
        began = asyncio.get_running_loop().time()
        status, out, err = await labioc("get", "-w", "0.5", "-t", "LAB:NIX", "LAB:HV1:BD:NAME", "LAB:NOR")
        assert asyncio.get_running_loop().time() - began < 3.0
        assert (status, out) == (1, ["DT5533E"])
        assert err[0] == "labioc: not connected within 0.5 s: LAB:NIX, LAB:NOR"
        assert f"searched at 127.0.0.1:{app.search_port} (EPICS_CA_ADDR_LIST" in err[1]
        assert "labioc pvs SITE" in err[2]
        assert await labioc("get", "HV1:NIX*") == (
            2, [], ["labioc: the PVs cannot be used", "  HV1:NIX* matches no PV of the site"]
        )  # fmt: skip
        assert (await labioc("get", "a b"))[0] == 2
        with monkeypatch.context() as changed:
            changed.setenv("EPICS_CA_SERVER_PORT", "many")
            printed = ["labioc: the environment cannot be used", "  EPICS_CA_SERVER_PORT: 'many' is no positive number"]
            assert await labioc("get", "LAB:IOC:LAG") == (2, [], printed)
        status, out, err = await labioc("put", "-w", "0.5", "LAB:NIX", "1")
        assert (status, out) == (1, [])
        assert err[0].startswith("labioc: not connected within 0.5 s: LAB:NIX")
        monkeypatch.delenv("LABIOC_SITE")
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        status, _, err = await labioc("get", "HV1:*")
        assert status == 2
        assert "add --site SITE or set LABIOC_SITE" in err[1]
        monkeypatch.chdir(tmp_path)
        assert (await labioc("get", "-t", "HV1:BD:NAM?"))[1] == ["DT5533E"]


async def test_GIVEN_puts_WHEN_made_THEN_the_change_is_shown_or_the_reason_with_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labioc: Any
) -> None:
    async with served(tmp_path, monkeypatch) as app:
        assert await labioc("put", "HV1:CH00:VSET", "200") == (0, ["LAB:HV1:CH00:VSET  0.0 V -> 200.0 V"], [])
        refused = "labioc: {}: refused: {}"
        for pv, value, reason in (
            ("CALO:PMT07:VSET", "5000", "VSET 5000 V is above 4000 V (device VMAX)"),
            ("LAB:HV1:CH00:VMON", "5", "LAB:HV1:CH00:VMON is a read-only PV"),
            ("LAB:HV1:CH00:ON", "MAYBE", "'MAYBE' is not one of its states (0 OFF, 1 ON)"),
            ("LAB:HV1:CH00:VMON.HIHI", "much", "HIHI: 'much' is not a number"),
            ("LAB:IOC:LAG", "1", "LAB:IOC:LAG is a read-only PV"),  # of no device: the journal has the words
        ):
            assert await labioc("put", pv, value) == (1, [], [refused.format(pv, reason)])
        before = record(app, "CH00:VSET").val
        for words, reason in (
            (["9" * 41], "41 characters are more than the 39 that fit; NAME$ takes a long text"),
            (["1", "2"], "2 values are more than the 1 that it takes; quote a text with spaces"),
        ):
            printed = refused.format("CALO:PMT07:VSET", reason)
            assert await labioc("put", "CALO:PMT07:VSET", *words) == (1, [], [printed]), "nor the reason of another put"
        assert record(app, "CH00:VSET").val == before
        monkeypatch.delenv("LABIOC_SITE")
        assert await labioc("put", "LAB:IOC:LAG", "1") == (
            1, [], [refused.format("LAB:IOC:LAG", "Write access denied")]
        )  # fmt: skip
        status, out, err = await labioc("put", "--json", "LAB:HV1:CH00:VSET", "5000")
        printed = json.loads(out[0])
        assert (status, err, printed["outcome"], printed["reason"]) == (
            1, [], "refused", "VSET 5000 V is above 4000 V (device VMAX)"
        )  # fmt: skip
        app.simulators["HV1"].faults.silent = True  # type: ignore[attr-defined]
        status, out, err = await labioc("put", "-w", "0.3", "LAB:HV1:CH00:VSET", "201")
        assert (status, out) == (1, [])
        assert err == ["labioc: LAB:HV1:CH00:VSET: no answer within 0.3 s; the outcome is unknown"]
        app.simulators["HV1"].faults.silent = False  # type: ignore[attr-defined]
        _, out, _ = await labioc("put", "--no-completion", "--json", "LAB:HV1:CH00:VSET", "5000")
        assert json.loads(out[0])["outcome"] == "sent"
        status, out, _ = await labioc("put", "--no-completion", "LAB:IOC:ARMED", "0")
        assert (status, out[0].partition("  (")[2]) == (0, "sent; the outcome is unknown)")
        await until(lambda: not app.statistics.armed, 5.0)
        monkeypatch.setenv("LABIOC_SITE", str(tmp_path / "site.toml"))
        status, _, err = await labioc("put", "HV1:CH0*:VSET", "1")
        assert (status, err[1]) == (2, "  HV1:CH0*:VSET matches 4 PVs; a put is for one")


async def test_GIVEN_PVs_that_change_WHEN_monitored_THEN_lines_or_a_table_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labioc: Any
) -> None:
    async with served(tmp_path, monkeypatch):
        status, out, err = await labioc("monitor", "-n", "2", "LAB:IOC:HEARTBEAT")
        assert (status, err, len(out)) == (0, [], 2)
        assert all(
            re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  LAB:IOC:HEARTBEAT  \d+", line) for line in out
        )
        status, out, err = await labioc("monitor", "-n", "2", "--json", "LAB:HV1:CH00:STATE", "LAB:IOC:ARMED")
        assert {json.loads(line)["text"] for line in out} == {"OFF", "ARMED"}
        status, out, err = await labioc("monitor", "-s", "0.8", "-w", "0.3", "--table", "LAB:IOC:ARMED", "LAB:NIX")
        assert status == 0
        assert re.fullmatch(r"LAB:IOC:ARMED +ARMED  [\d.]+ (s|min) ago\x1b\[K", out[-2].removeprefix("\x1b[2A"))
        assert out[-1].startswith("LAB:NIX ")
        assert "not connected" in out[-1]
        assert err[0] == "labioc: not connected within 0.3 s: LAB:NIX"
        status, _, _ = await labioc("monitor", "-s", "0.6", "-w", "0.3", "LAB:NIX")
        assert status == 1


async def test_GIVEN_a_name_that_cannot_be_searched_or_a_closed_output_WHEN_monitored_THEN_there_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labioc: Any
) -> None:
    def closed(*_: object) -> str:
        raise BrokenPipeError

    async with served(tmp_path, monkeypatch):
        status, _, err = await labioc("monitor", "")
        assert (status, err[1:]) == (2, ["  PV name '' cannot be searched for"])
        monkeypatch.setattr("ioc.commands.reading._line", closed)
        assert await labioc("monitor", "LAB:IOC:HEARTBEAT") == (0, [], [])


async def test_GIVEN_pipes_and_ctrl_c_WHEN_commands_run_as_processes_THEN_they_end_and_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shell(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command], check=False, cwd=ROOT, capture_output=True, text=True, timeout=30.0
        )

    command = " ".join(f"'{word}'" for word in COMMAND)
    async with served(tmp_path, monkeypatch):
        # The pipe ends with the command: no process that it has started holds it open.
        result = await asyncio.to_thread(shell, f"{command} get -t LAB:HV1:BD:NAME | cat")
        assert (result.stdout, result.stderr) == ("DT5533E\n", "")
        # ARMED does not change: the end of head is noticed though nothing is written.
        result = await asyncio.to_thread(shell, f"{command} monitor LAB:IOC:ARMED | head -1")
        assert (result.stdout.split("  ")[1:], result.stderr) == (["LAB:IOC:ARMED", "ARMED\n"], "")
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "monitor", "LAB:IOC:ARMED", cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(20.0):
                await process.stdout.readline()
                process.send_signal(signal.SIGINT)
                _, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0
        assert re.fullmatch(r"labioc: 1 changes in \d+\.\d s\n", err.decode())
