"""The command line: what it prints and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from devices.registry import FAMILIES
from ioc.cli import main
from ioc.commands.archive import archived, archiver_config
from ioc.database.dbfile import DatabaseError, parse_template
from ioc.site.config import load_site, shares
from ioc.site.schema import site_schema

EXAMPLE = str(Path(__file__).resolve().parents[3] / "examples" / "site.toml")


def test_check_says_what_there_is(capsys: pytest.CaptureFixture[str]):
    assert main(["check", EXAMPLE]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{EXAMPLE}: good, 3 devices, ")
    assert err == ""


def test_check_reads_the_access_security_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    site, acf = tmp_path / "site.toml", tmp_path / "site.acf"
    text = Path(EXAMPLE).read_text(encoding="utf-8") + '\n[access]\nacf = "site.acf"\nmacros = { WHO = "ann" }\n'
    site.write_text(text, encoding="utf-8")
    acf.write_text("UAG(u) {$(WHO)}\nASG(DEFAULT) {RULE(1,READ) RULE(0,WRITE) {UAG(v)}}\n")
    assert main(["check", str(site)]) == 2
    assert f"  {acf}:2: found UAG v, allowed: those defined before (u)\n" in capsys.readouterr().err
    acf.write_text("NEW(x) ASG(DEFAULT) {RULE(1,READ)}\n")
    assert main(["check", str(site)]) == 0
    assert f"\nwarning: {acf}:1: NEW is not known here and is read over\n" in capsys.readouterr().out
    assert main(["check", "--json", str(site)]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [f"{acf}:1: NEW is not known here and is read over"]


def test_check_lists_every_mistake_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "bad.toml"
    path.write_text('[site]\nprefix = "lab"\n[[device]]\nname = "HV1"\ntype = "caen"\n')
    assert main(["check", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    types = ", ".join(f'"{name}"' for name in (*FAMILIES, "caproto"))
    assert err.splitlines() == [
        f"labioc: the site file {path} cannot be used",
        f'  {path}:2: site.prefix: found "lab", allowed: First part of every PV name: capital letters, digits and _, '
        "e.g. LAB",
        '      prefix = "lab"',
        f'  {path}:5: device HV1.type: found "caen", allowed: {types}',
        '      type = "caen"',
    ]


@pytest.mark.parametrize("command", [["check"], ["pvs"], ["export", "db"], ["run"]])
def test_a_missing_site_file_is_reported(command: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*command, "/nowhere/site.toml"]) == 2
    assert "/nowhere/site.toml: cannot be read: No such file or directory" in capsys.readouterr().err


def test_a_broken_database_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def broken(*_: object) -> None:
        raise DatabaseError(["a.template:3: record X: field Y: no", "a.template:4: record Z: no"])

    monkeypatch.setattr("ioc.commands.site_file.expand_all", broken)
    assert main(["check", EXAMPLE]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        "  a.template:3: record X: field Y: no",
        "  a.template:4: record Z: no",
    ]


def test_pvs_lists_names_types_units_scans_access_and_descriptions(capsys: pytest.CaptureFixture[str]):
    assert main(["pvs", EXAMPLE]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "type", "unit", "scan", "access", "description"]
    (vmon,) = (line for line in lines if line.startswith("LAB:HV1:CH00:VMON "))
    assert vmon.split(maxsplit=6) == ["LAB:HV1:CH00:VMON", "ai", "V", "1", "second", "R", "Measured voltage"]


def test_pvs_as_json_holds_aliases_and_info_tags(capsys: pytest.CaptureFixture[str]):
    assert main(["pvs", "--json", EXAMPLE]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    vset = entries["LAB:HV1:CH00:VSET"]
    assert (vset["type"], vset["unit"], vset["access"]) == ("ao", "V", "O")
    assert vset["aliases"] == ["CALO:PMT07:VSET"]
    assert vset["info"]["archive"] == "monitor"


def names_of(printed: str) -> set[str]:
    return {entry["name"] for entry in json.loads(printed)}


def test_a_site_shared_out_lists_the_PVs_that_its_IOCs_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["pvs", "--json", EXAMPLE]) == 0
    whole = names_of(capsys.readouterr().out)
    both = ["--only", "HV1,FURN1", "--only", "HV2"]
    assert main(["pvs", "--json", EXAMPLE, *both]) == 0
    shared = names_of(capsys.readouterr().out)
    servers = {name for name in whole if name.startswith(("LAB:IOC:", "LAB:GRP:ALL:"))}
    assert len(servers) > 5
    assert shared == whole - servers | {
        re.sub("(IOC|ALL):", rf"\1_{first}:", name) for name in servers for first in ("HV1", "HV2")
    }
    assert main(["check", EXAMPLE, *both]) == 0
    assert f"good, 3 devices, {len(shared)} PVs" in capsys.readouterr().out
    assert main(["export", "db", EXAMPLE, *both]) == 0
    printed = capsys.readouterr().out
    assert "LAB:IOC_HV2:LAG" in printed
    assert "LAB:IOC:LAG" not in printed
    site = load_site(EXAMPLE)
    pvs = archived(site, archiver_config(site, tmp_path), shares(site, [["HV1", "FURN1"], ["HV2"]]))
    assert {pv.name for pv in pvs} <= shared
    assert "LAB:IOC_HV2:LAG" in {pv.name for pv in pvs}


def test_a_device_in_no_list_is_not_listed(capsys: pytest.CaptureFixture[str]):
    assert main(["pvs", "--json", EXAMPLE, "--only", "HV1"]) == 0
    assert not [name for name in names_of(capsys.readouterr().out) if name.startswith(("LAB:HV2:", "LAB:FURN1:"))]


@pytest.mark.parametrize("command", [["check"], ["pvs"], ["export", "db"], ["archive"]])
def test_a_device_in_two_lists_or_unknown_is_reported(command: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*command, EXAMPLE, "--only", "HV1,NONE", "--only", "HV1"]) == 2
    errors = capsys.readouterr().err
    assert "--only: there is no device 'NONE'" in errors
    assert "--only: HV1 is named twice" in errors


def test_schema_prints_the_schema_that_the_check_uses(capsys: pytest.CaptureFixture[str]):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(site_schema()))


def test_export_db_writes_to_stdout_or_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["export", "db", EXAMPLE, "--soft"]) == 0
    printed = capsys.readouterr().out
    path = tmp_path / "soft.db"
    assert main(["export", "db", EXAMPLE, "--soft", "-o", str(path)]) == 0
    assert capsys.readouterr().out == ""
    assert path.read_text() == printed
    assert len(parse_template(path).expand({})) > 400
    assert main(["export", "db", EXAMPLE, "-o", str(tmp_path / "no" / "file")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["bogus"], ["check"], ["export"], ["export", "bob", EXAMPLE], ["pvs", "-x"]])
def test_wrong_usage_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: labioc")


def test_version_and_help_name_every_command(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"labioc {version('labioc')}\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    for name in ("run", "demo", "check", "pvs", "schema", "export", "simulate"):
        assert f"    {name} " in printed


def test_a_reader_that_has_gone_is_no_traceback():
    code = "import sys; from ioc.cli import main; sys.exit(main(sys.argv[1:]))"
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-c", code, "pvs", EXAMPLE]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


INTERRUPTED = """
import os, signal, sys

class Interrupt:
    '''Ctrl-C at the moment at which a module is looked for.'''
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
        return None

from ioc.cli import main
sys.meta_path.insert(0, Interrupt())
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("module", ["argparse", "ioc.commands", "lark", "jsonschema", "ioc.database.dbfile"])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(module: str):
    command = [sys.executable, "-c", INTERRUPTED, module, "check", EXAMPLE]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_the_command_itself_needs_few_modules():
    """What is imported before ``main`` is called cannot be interrupted without a traceback."""
    code = "import sys; before = set(sys.modules); import ioc.cli; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert set(done.stdout.split()) <= {"__future__", "collections", "collections.abc", "ioc", "ioc.cli"}


LOADED = """
import sys
from ioc.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print("loaded", *sorted({name.partition(".")[0] for name in sys.modules} | set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--version"], {"asyncio", "caproto", "jsonschema", "lark", "numpy", "devices", "archiver", "ioc.commands"}),
        (["--help"], {"asyncio", "caproto", "jsonschema", "lark", "numpy", "devices", "archiver", "ioc.commands"}),
        (["check", EXAMPLE], {"caproto", "numpy", "ioc.app", "ioc.server", "devices.simulation"}),
    ],
)
def test_a_command_loads_only_what_it_needs(arguments: list[str], unneeded: set[str]):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, timeout=30, check=True
    )
    loaded = set(done.stdout.rpartition("loaded")[2].split())
    assert "ioc.commandline" in loaded
    assert loaded & unneeded == set()


def test_ctrl_c_during_a_command_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ioc.commands.site_file.load_site", interrupted)
    assert main(["check", EXAMPLE]) == 130
    assert capsys.readouterr() == ("", "")


def test_windows_ends_with_one_sentence():
    """Nothing is imported that is not there on Windows, termios for one."""
    ends = f"sys.exit(main(['check', {EXAMPLE!r}]))"
    code = f"import sys; sys.platform = 'win32'; sys.modules['termios'] = None; from ioc.cli import main; {ends}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "labioc needs Linux: on Windows run it in WSL 2 or on another computer\n"
