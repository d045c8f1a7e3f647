"""The Helm values: read by a YAML parser, of the chart's structure, and starting what they say."""

from __future__ import annotations

import asyncio
import json
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from devices.rules.state_file import default_folder
from ioc.cli import main
from ioc.export.epics_containers import write_values
from ioc.records import RecordSet
from ioc.server import Server
from ioc.site.config import parse_site

SITE = {
    "site": {"prefix": "LAB"},
    "device": [
        {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://192.0.2.1:23"},
        {"name": "HV2", "type": "caen-dt55xx", "address": "serial:///dev/ttyACM0?baudrate=9600"},
        {"name": "HV3", "type": "caen-dt55xx", "address": "serial:///dev/ttyACM1", "simulated": True},
    ],
}

TEXTS = {"type": "array", "items": {"type": "string"}}
LIMITS = {
    "type": "object",
    "properties": {"cpu": {"type": "string"}, "memory": {"type": "string", "pattern": "^[0-9]+Mi$"}},
    "additionalProperties": False,
}
#: What the chart's own schema says of the keys that are used.
CHART = {
    "type": "object",
    "required": ["ioc-instance"],
    "additionalProperties": False,
    "properties": {
        "ioc-instance": {
            "type": "object",
            "required": ["image"],
            "additionalProperties": False,
            "properties": {
                "image": {"type": "string", "minLength": 1},
                "command": TEXTS,
                "args": TEXTS,
                "env": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "value"],
                        "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
                        "additionalProperties": False,
                    },
                },
                "hostNetwork": {"type": "boolean"},
                "livenessExecutable": {"type": "string"},
                "preStopExecutable": {"type": "string"},
                "livenessProbe": {
                    "type": "object",
                    "properties": {
                        "exec": {"type": "object", "properties": {"command": TEXTS}, "additionalProperties": False},
                        "initialDelaySeconds": {"type": "integer"},
                        "periodSeconds": {"type": "integer"},
                        "timeoutSeconds": {"type": "integer"},
                    },
                    "additionalProperties": False,
                },
                "dataVolume": {
                    "type": "object",
                    "properties": {"pvc": {"type": "boolean"}, "hostPath": {"type": "string"}},
                    "additionalProperties": False,
                },
                "resources": {
                    "type": "object",
                    "properties": {"limits": LIMITS, "requests": LIMITS},
                    "additionalProperties": False,
                },
                "securityContext": {"type": "object"},
                "volumes": {"type": "array"},
                "volumeMounts": {"type": "array"},
            },
        }
    },
}


def values(site: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    settings = {"file_name": "site.toml", "records": 1000, "image": "example.org/labioc:1", **arguments}
    read = yaml.safe_load(write_values(parse_site(site), **settings))
    jsonschema.validate(read, CHART)
    instance: dict[str, Any] = read["ioc-instance"]
    return instance


def test_the_container_serves_the_site_file_in_the_config_folder() -> None:
    instance = values(SITE)
    assert instance["image"] == "example.org/labioc:1"
    assert [*instance["command"], *instance["args"]] == ["labioc", "run", "/epics/ioc/config/site.toml"]
    assert instance["hostNetwork"] is True
    assert instance["livenessExecutable"] == instance["preStopExecutable"] == ""


def test_serial_lines_of_the_host_are_mounted_and_those_of_simulated_devices_are_not() -> None:
    instance = values(SITE)
    assert [volume["hostPath"]["path"] for volume in instance["volumes"]] == ["/dev/ttyACM0"]
    assert instance["volumeMounts"] == [{"name": "device-0", "mountPath": "/dev/ttyACM0"}]
    # the chart's own value of the second one is false, which Kubernetes does not take together with the first
    assert instance["securityContext"] == {"privileged": True, "allowPrivilegeEscalation": True}


def test_a_site_without_serial_lines_needs_no_privileges() -> None:
    assert not {"volumes", "volumeMounts", "securityContext"} & values({**SITE, "device": SITE["device"][:1]}).keys()  # type: ignore[index]


def test_memory_grows_with_the_records() -> None:
    small, large = (int(values(SITE, records=count)["resources"]["limits"]["memory"][:-2]) for count in (100, 40_000))
    assert small < large < 512


def probe(port: int) -> int:
    """Run the liveness probe of a server on this port; returns its exit status."""
    site = {**SITE, "server": {"interfaces": ["127.0.0.1"], "port": port}}
    command = values(site)["livenessProbe"]["exec"]["command"]
    return subprocess.run([sys.executable, *command[1:]], capture_output=True, check=False, timeout=60).returncode


async def test_the_probe_finds_a_server_that_serves() -> None:
    server = Server(RecordSet.build([]), interfaces=["127.0.0.1"], port=0)
    await server.start()
    try:
        assert await asyncio.to_thread(probe, server.port) == 0
    finally:
        await server.stop()


def test_the_probe_fails_where_a_server_hangs_or_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ioc.export.epics_containers._ANSWER_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as hung:  # the system accepts for it, as for a hung event loop
        port = hung.getsockname()[1]
        assert probe(port) == 1
    assert probe(port) == 1


def test_what_must_survive_the_container_goes_to_the_volume_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in values(SITE)["env"]:
        monkeypatch.setenv(setting["name"], setting["value"])
    assert default_folder() == Path("/autosave/labioc")


@pytest.mark.parametrize("text", ["plain", "a: b # c", "'\"\\ \u00e4", "- x", "{}", ""])
def test_any_text_survives(text: str) -> None:
    assert values(SITE, image="i" + text)["image"] == "i" + text


def test_the_command_writes_the_file_for_a_part_of_the_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = Path(__file__).resolve().parents[3] / "examples" / "site.toml"
    output = tmp_path / "values.yaml"
    assert main(["export", "epics-containers", str(site), "--only", "HV1,HV2", "-o", str(output)]) == 0
    instance = yaml.safe_load(output.read_text(encoding="utf-8"))["ioc-instance"]
    assert shlex.join(instance["args"]) == "run /epics/ioc/config/site.toml --only HV1,HV2"
    assert json.dumps(instance["volumes"]).count("ttyACM0") == 1
    assert capsys.readouterr().out == ""
    assert main(["export", "epics-containers", str(site), "--only", "NONE"]) == 2
    assert "no device 'NONE'" in capsys.readouterr().err
