"""Units for systemd: a service for each IOC of the site, and one for the archiver.

Time must be right before anything is stamped, hence ``time-sync.target``. A service sees of the computer only what its
devices need: their nodes and network interfaces, and a folder for its state.
"""

from __future__ import annotations

import re
from typing import Final

from ioc.export.nodes import bridges, can_interfaces, device_nodes, servers
from ioc.export.plant import Plant
from ioc.site.config import Site

_SITE: Final = "/etc/labioc/site.toml"
_LABIOC: Final = "/opt/labioc/bin/labioc"
_NOTIFY: Final = (
    "# ready when the PVs are served; restarted when a scan loop is stuck, not when a device is lost",
    "Type=notify",
    "WatchdogSec=30",
    "ExecReload=/bin/kill -HUP $MAINPID",
)
_SANDBOX: Final = """\
DynamicUser=yes
User=labioc
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
CapabilityBoundingSet=
"""


def write(plant: Plant) -> dict[str, str]:
    """Return the units by file name."""
    files = {f"labioc{name}.service": _service(part, words) for part, name, words in servers(plant)}
    services = list(files)
    for name, words in bridges(plant):
        files[f"labioc-archive{name}.service"] = _archiver(plant, services, words)
    return files


def _service(part: Site, words: list[str]) -> str:
    buses = [f"sys-subsystem-net-devices-{name}.device" for name in can_interfaces(part.devices)]
    after = ["network-online.target", "time-sync.target", *buses]
    kinds = sorted({kind for node in device_nodes(part.devices) for kind in _kinds(node)})
    access = ["DevicePolicy=closed", *(f"DeviceAllow=char-{kind} rw" for kind in kinds)]
    if kinds:
        access.append("SupplementaryGroups=dialout")
    families = "AF_INET AF_INET6 AF_UNIX AF_NETLINK" + (" AF_CAN" if buses else "")
    command = " ".join([_LABIOC, "run", _SITE, *words])
    devices = ", ".join(device.name for device in part.devices)
    return _unit(f"EPICS IOC {part.prefix} ({devices})", after, buses, command, [*_NOTIFY, *access], families)


def _kinds(node: str) -> tuple[str, ...]:
    """Return the kinds of device that a node may be of: an adapter may be plugged in after the start."""
    match = re.fullmatch(r"/dev/(tty[A-Z]+)[0-9]+", node)
    return (match[1],) if match else ("ttyUSB", "ttyACM")


def _archiver(plant: Plant, services: list[str], words: list[str]) -> str:
    command = " ".join([_LABIOC, "archive", _SITE, *words])
    after = ["network-online.target", "time-sync.target", *services]
    return _unit(f"Archiver of {plant.prefix}", after, [], command, ["PrivateDevices=yes"],
                 "AF_INET AF_INET6 AF_UNIX AF_NETLINK")  # fmt: skip


def _unit(title: str, after: list[str], binds: list[str], command: str, access: list[str], families: str) -> str:
    lines = ["[Unit]", f"Description={title}", "Wants=network-online.target time-sync.target"]
    lines += [f"After={' '.join(after)}", *(f"BindsTo={unit}" for unit in binds)]
    lines += ["", "[Service]", f"ExecStart={command}", "Restart=always", "RestartSec=2"]
    lines += [
        "# exit status 2: a mistake in the site file, which a restart does not mend",
        "RestartPreventExitStatus=2",
    ]
    lines += ["StateDirectory=labioc", "Environment=XDG_STATE_HOME=%S", f"RestrictAddressFamilies={families}", *access]
    return "\n".join([*lines, _SANDBOX, "[Install]", "WantedBy=multi-user.target", ""])
