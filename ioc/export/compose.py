"""A compose file: the IOCs of the site, the archiver, InfluxDB and Grafana with its dashboards, in containers.

Keys are those of the Compose Specification. IOC and archiver use the network of the computer, because searches of
Channel Access are broadcasts. The site file lies beside it; its ``[archiver]`` section should write to
``http://127.0.0.1:8086``.
"""

from __future__ import annotations

import json
from typing import Any, Final

from ioc.export import grafana
from ioc.export.nodes import bridges, device_nodes, servers
from ioc.export.plant import Plant
from ioc.site.config import Site
from ioc.version import release

_FOLDER: Final = "/etc/labioc"
_SITE: Final = f"{_FOLDER}/site.toml"
_DOCKERFILE: Final = """\
# The folder with labioc's source is the context: docker build -t labioc:{release} -f Dockerfile SOURCE
FROM python:3.12-slim
COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt /src && rm -rf /src
ENTRYPOINT ["labioc"]
"""


def write(plant: Plant) -> dict[str, str]:
    """Return the compose file, the Dockerfile and what Grafana reads. Raises SiteError as the dashboards do."""
    provisioned = grafana.write(plant)
    source = json.loads(provisioned["influxql/provisioning/datasources/labioc.yaml"])["datasources"][0]
    services = _services(plant, source["jsonData"]["dbName"])  # the database that the dashboards read
    compose = {"version": "3.8", "services": services, "volumes": {name: {} for name in _VOLUMES}}
    return {
        "compose.yaml": json.dumps(compose, indent=2) + "\n",
        "Dockerfile": _DOCKERFILE.format(release=release()),
        **{f"grafana/{p.partition('/')[2]}": text for p, text in provisioned.items() if p.startswith("influxql/")},
    }


_VOLUMES: Final = ("state", "archive", "influxdb", "grafana")


def _services(plant: Plant, database: str) -> dict[str, Any]:
    services = {name.removeprefix("-") or "ioc": _ioc(part, words) for part, name, words in servers(plant)}
    needed = [*services, "influxdb"]
    for name, words in bridges(plant):
        services[f"archiver{name}"] = {**_labioc("archive", words, "archive"), "depends_on": needed}
    services["influxdb"] = {
        "image": "influxdb:1.8",
        "ports": ["127.0.0.1:8086:8086"],
        "environment": {"INFLUXDB_DB": database},
        "volumes": ["influxdb:/var/lib/influxdb"],
        "restart": "unless-stopped",
    }
    services["grafana"] = {
        "image": "grafana/grafana:10.4.2",
        "network_mode": "host",
        "volumes": [
            "grafana:/var/lib/grafana",
            "./grafana/provisioning:/etc/grafana/provisioning:ro",
            "./grafana/dashboards:/etc/grafana/dashboards:ro",
        ],
        "restart": "unless-stopped",
    }
    return services


def _ioc(part: Site, words: list[str]) -> dict[str, Any]:
    service = _labioc("run", words, "state")
    if part.access.acf is not None:  # it lies beside the site file
        service["volumes"].append(f"./{part.access.acf.name}:{_FOLDER}/{part.access.acf.name}:ro")
    nodes = device_nodes(part.devices)
    return {**service, "devices": [f"{node}:{node}" for node in nodes]} if nodes else service


def _labioc(command: str, words: list[str], volume: str) -> dict[str, Any]:
    return {
        "image": f"labioc:{release()}",
        "command": [command, _SITE, *words],
        "network_mode": "host",
        "stop_grace_period": "5s",
        "environment": {"XDG_STATE_HOME": "/state"},
        "volumes": [f"./site.toml:{_SITE}:ro", f"{volume}:/state"],
        "restart": "unless-stopped",
    }
