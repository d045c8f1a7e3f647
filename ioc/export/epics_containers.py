"""Values of the epics-containers Helm chart ``ioc-instance`` for one IOC of a site.

Keys are those of the chart's values file, version 5 (github.com/epics-containers/ec-helm-charts): ``image``,
``command`` and ``args`` of the container, its probes, volumes and resources. The chart mounts the ``config`` folder of
a service, where the site file belongs, at ``/epics/ioc/config``, and a volume that outlives the container at
``/autosave``; location and domain come from the values that all services share.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from ioc.export.nodes import device_nodes
from ioc.site.config import Site

CONFIG: Final = PurePosixPath("/epics/ioc/config")
STATE: Final = PurePosixPath("/autosave")

_CA_PORT: Final = 5064
_START_SECONDS, _PROBE_SECONDS = 30, 30
_ANSWER_SECONDS = 5
# Measured (docs/reference/performance.md): an idle server, and what each record adds, rounded up.
_BASE_MB, _RECORDS_PER_MB = 64, 500

Node = str | int | bool | Mapping[str, "Node"] | Sequence["Node"]


def write_values(site: Site, file_name: str, records: int, image: str, names: Sequence[str] = ()) -> str:
    """Return the text of a values.yaml.

    ``site`` holds the devices of this IOC alone, ``records`` is their number of records; ``names`` are those devices
    when other IOCs serve the rest of the site file.
    """
    values: dict[str, Node] = {"ioc-instance": _instance(site, file_name, records, image, names)}
    return "\n".join(_yaml(values)) + "\n"


def _instance(site: Site, file_name: str, records: int, image: str, names: Sequence[str]) -> dict[str, Node]:
    only: list[Node] = ["--only", ",".join(names)] if names else []
    memory = _BASE_MB + records // _RECORDS_PER_MB
    instance: dict[str, Node] = {
        "image": image,
        "command": ["labioc"],
        "args": ["run", str(CONFIG / file_name), *only],
        # tuned fields, records of power interruptions and counters of writes; the chart's home directory is /tmp
        "env": [{"name": "XDG_STATE_HOME", "value": str(STATE)}],
        # name searches are broadcasts, which do not leave the network of a pod
        "hostNetwork": True,
        # the chart's defaults are scripts of the images for C IOCs; SIGTERM is all that labioc needs to end
        "livenessExecutable": "",
        "preStopExecutable": "",
        "livenessProbe": _probe(site),
        "dataVolume": {"pvc": False, "hostPath": ""},
        "resources": {
            "requests": {"cpu": "100m", "memory": f"{memory}Mi"},
            "limits": {"cpu": "1000m", "memory": f"{2 * memory}Mi"},
        },
    }
    nodes = device_nodes(site.devices)
    if nodes:
        instance |= {
            "volumes": [
                {"name": f"device-{number}", "hostPath": {"path": node, "type": "CharDevice"}}
                for number, node in enumerate(nodes)
            ],
            "volumeMounts": [{"name": f"device-{number}", "mountPath": node} for number, node in enumerate(nodes)],
            # a container may not open a device node of its host otherwise
            "securityContext": {"privileged": True, "allowPrivilegeEscalation": True},
        }
    return instance


def _probe(site: Site) -> dict[str, Node]:
    """Connect and wait for the server's greeting, which a hung event loop does not send."""
    host = site.server.interfaces[0] if site.server.interfaces else "127.0.0.1"
    connect = f"socket.create_connection(({host!r}, {site.server.port or _CA_PORT}), {_ANSWER_SECONDS})"
    return {
        "exec": {"command": ["python", "-c", f"import socket, sys; sys.exit(not {connect}.recv(1))"]},
        "initialDelaySeconds": _START_SECONDS,
        "periodSeconds": _PROBE_SECONDS,
        "timeoutSeconds": 2 * _ANSWER_SECONDS,
    }


def _yaml(node: Node, indent: int = 0) -> Iterator[str]:
    """Write block style; texts are quoted as in JSON, which YAML understands."""
    space = "  " * indent
    if isinstance(node, Mapping):
        for key, value in node.items():
            if _is_leaf(value):
                yield f"{space}{key}: {json.dumps(value)}"
            else:
                yield f"{space}{key}:"
                yield from _yaml(value, indent + 1)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for item in node:
            if _is_leaf(item):
                yield f"{space}- {json.dumps(item)}"
            else:
                first, *rest = _yaml(item, indent + 1)
                yield f"{space}- {first.lstrip()}"
                yield from rest


def _is_leaf(node: Node) -> bool:
    return isinstance(node, (str, int, bool))
