"""Units for systemd and the compose file: what starts what, with which devices, and what systemd thinks of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ioc.commandline import parser
from ioc.export import compose, systemd
from ioc.export.plant import Plant
from ioc.site.config import parse_site, shares
from tests.conftest import unavailable
from tests.ioc.export import plants

CAN = """
[site]
prefix = "LAB"
[can.main]
interface = "socketcan"
channel = "can0"
"""
TEXTS = {"type": "array", "items": {"type": "string"}}
#: What the Compose Specification says of the keys that are used.
COMPOSE = {
    "type": "object",
    "required": ["services"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": "3.8"},
        "volumes": {"type": "object", "additionalProperties": {"type": "object"}},
        "services": {
            "type": "object",
            "patternProperties": {
                "^[a-zA-Z0-9._-]+$": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string"},
                        "command": TEXTS,
                        "network_mode": {"const": "host"},
                        "stop_grace_period": {"type": "string"},
                        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
                        "volumes": TEXTS,
                        "devices": TEXTS,
                        "ports": TEXTS,
                        "depends_on": TEXTS,
                        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                    },
                }
            },
            "additionalProperties": False,
        },
    },
}


def shared_plant() -> Plant:
    """The site, served by two IOCs: supplies by one, the rest by the other."""
    site = parse_site(tomllib.loads(plants.site_file(head=CAN)))
    names = [device.name for device in site.devices]
    return Plant.build(shares(site, [names[:2], names[2:]]))


def section(unit: str, name: str) -> dict[str, list[str]]:
    """Return the keys of a section, each with its values in order."""
    found: dict[str, list[str]] = {}
    for line in unit.partition(f"[{name}]\n")[2].partition("\n[")[0].splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def understood(command: str) -> bool:
    """Return whether the command line takes this command."""
    return bool(parser().parse_args(command.split()[1:]).func)


def test_each_ioc_is_a_service_with_the_devices_it_needs() -> None:
    files = systemd.write(shared_plant())
    assert list(files) == ["labioc-ioc_hv1.service", "labioc-ioc_iseg1.service", "labioc-archive.service"]
    supplies, rest = (section(files[name], "Service") for name in list(files)[:2])
    assert supplies["ExecStart"] == ["/opt/labioc/bin/labioc run /etc/labioc/site.toml --only HV1,HV2"]
    assert "DeviceAllow" not in supplies
    assert supplies["Type"] == ["notify"]
    assert int(supplies["WatchdogSec"][0]) >= 10
    assert supplies["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert rest["DeviceAllow"] == ["char-ttyUSB rw"]
    assert "AF_CAN" in rest["RestrictAddressFamilies"][0]
    assert "AF_CAN" not in supplies["RestrictAddressFamilies"][0]
    bus = section(files["labioc-ioc_iseg1.service"], "Unit")
    assert bus["BindsTo"] == ["sys-subsystem-net-devices-can0.device"]
    assert "time-sync.target" in bus["After"][0]
    archiver = section(files["labioc-archive.service"], "Service")["ExecStart"]
    assert archiver[0].endswith(
        "archive /etc/labioc/site.toml --only HV1,HV2 --only ISEG1,ISEG2,ISEG3,ISEG4,FURN1,FURN2"
    )
    for unit in files.values():
        assert understood(section(unit, "Service")["ExecStart"][0])


def test_one_ioc_is_called_labioc() -> None:
    assert list(systemd.write(plants.plant())) == ["labioc.service", "labioc-archive.service"]


def test_systemd_takes_the_units_and_finds_them_closed_enough(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        unavailable("no systemd-analyze")
    for name, text in systemd.write(shared_plant()).items():
        path = tmp_path / name
        path.write_text(text.replace("/opt/labioc/bin/labioc", "/bin/true"))
        verified = subprocess.run(
            [analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
        )
        complaints = [line for line in verified.stderr.splitlines() if name in line and "device" not in line]
        assert (verified.returncode, complaints) == (0, [])
        judged = [analyze, "security", "--offline=true", "--threshold=40", str(path)]
        found = subprocess.run(judged, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout


def test_the_compose_file_is_one_and_starts_what_the_site_needs() -> None:
    files = compose.write(shared_plant())
    data: dict[str, Any] = json.loads(files["compose.yaml"])
    jsonschema.validate(data, COMPOSE)
    services = data["services"]
    assert list(services) == ["ioc_hv1", "ioc_iseg1", "archiver", "influxdb", "grafana"]
    assert services["ioc_iseg1"]["devices"] == ["/dev/ttyUSB1:/dev/ttyUSB1", "/dev/ttyUSB2:/dev/ttyUSB2"]
    assert "devices" not in services["ioc_hv1"]
    for name in ("ioc_hv1", "ioc_iseg1", "archiver"):
        assert understood(" ".join(["labioc", *services[name]["command"]]))
    for service in services.values():
        for other in service.get("depends_on", ()):
            assert other in services
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            mounted = source == "./site.toml" or any(path.startswith(source[2:]) for path in files)
            assert source in data["volumes"] or mounted, volume


def test_the_compose_file_gives_an_ioc_its_access_security_file() -> None:
    site = parse_site(tomllib.loads(plants.site_file(head=CAN)) | {"access": {"acf": "site.acf"}})
    services = json.loads(compose.write(Plant.build([site]))["compose.yaml"])["services"]
    assert [name for name, one in services.items() if "./site.acf:/etc/labioc/site.acf:ro" in one["volumes"]] == ["ioc"]


@pytest.mark.parametrize("path", ["grafana/provisioning/datasources/labioc.yaml", "Dockerfile"])
def test_what_the_compose_file_needs_is_beside_it(path: str) -> None:
    assert path in compose.write(plants.plant())


def test_docker_compose_takes_the_file_where_there_is_one(tmp_path: Path) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no docker-compose on this computer")
    for name, text in compose.write(shared_plant()).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [program, "-f", str(tmp_path / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
