"""The site file: which devices there are, who may write, where the server listens.

Everything is checked before anything is built: with the schema of ``ioc.site.schema`` and with the rules of
``ioc.site.check`` that a schema cannot say. All mistakes are reported at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from devices.model import DeviceSettings
from devices.registry import FAMILIES
from ioc.access import Access
from ioc.errors import MistakesError
from ioc.pvgroups.settings import TYPE as GROUP_TYPE
from ioc.pvgroups.settings import GroupSettings
from ioc.site.check import mistakes
from ioc.site.groups import Group, groups_of
from ioc.site.interlocks import Interlock, interlocks_of
from ioc.site.recovery import RecoverySettings, recovery_of
from ioc.site.schema import RISING_LIMITS
from ioc.site.sentences import Mistake
from ioc.site.source import Source, SourceError, read_source, shown
from labioc_pages.page import listen_address

AlarmFields = Mapping[str, Mapping[str, str]]
"""Record fields by signal suffix: ``{"VMON": {"HIGH": "1490", "HSV": "MINOR"}}``."""

_IMPLIED = {"HIHI": "MAJOR", "LOLO": "MAJOR", "HIGH": "MINOR", "LOW": "MINOR"}


class SiteError(MistakesError):
    """The site file cannot be used; ``errors`` holds one sentence for each mistake, key first.

    ``details`` has the same for programs: ``text``, and ``line``, ``key`` and ``source`` where they are known.
    """

    subject = "the site file {site}"

    def __init__(self, errors: list[str], details: list[dict[str, Any]] | None = None) -> None:
        super().__init__(errors)
        self.details = details or [{"text": error} for error in errors]


@dataclass(frozen=True, slots=True)
class TextSettings:
    """The ``[textserver]`` section: which device, where to listen, whether ``Set`` is allowed."""

    device: str
    interface: str = "127.0.0.1"
    port: int = 9000
    allow_set: bool = False


PUTLOG_PORT = 7011
"""The port of caPutLog."""


@dataclass(frozen=True, slots=True)
class PutLogSettings:
    """The ``[putlog]`` section: where the log server is, and in which form it is sent puts, ``line`` or ``json``."""

    host: str
    port: int = PUTLOG_PORT
    form: str = "line"


@dataclass(frozen=True, slots=True)
class RecSyncSettings:
    """The ``[recsync]`` section: what receivers get beside the usual, and what not.

    ``port`` is the UDP port of their announcements, ``environment`` are more variables, ``exclude``
    are names of records, with wildcards.
    """

    port: int = 5049
    environment: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the server listens: no interfaces means all, no port what the environment says (or 5064).

    ``state_dir`` is where it keeps what must survive a restart; None is the user's folder for such things. ``status``
    is host and port of its pages for health and metrics, None serves none.
    """

    interfaces: tuple[str, ...] = ()
    port: int | None = None
    state_dir: str | None = None
    status: tuple[str, int] | None = ("127.0.0.1", 0)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the site file says about the records of one device.

    ``aliases`` are second names of channels; ``alarms`` hold for the device and all its channels,
    ``channel_alarms`` for one channel and win over ``alarms``.
    """

    aliases: Mapping[int, str] = field(default_factory=dict)
    alarms: AlarmFields = field(default_factory=dict)
    channel_alarms: Mapping[int, AlarmFields] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Site:
    """One checked site file.

    ``can`` holds the options of each adapter by name,
    ``archiver`` the section of the bridge as it stands, ``textserver`` is None when it is not wanted.
    ``engineer`` and ``location`` are texts for the PVs of the server, empty when not given.
    ``pvgroups`` are the devices that are PVGroups of caproto, ``groups`` what is moved together,
    ``interlocks`` what is done while a condition does not hold,
    ``recovery`` the channels (``HV1:CH00``) that may be switched on again after a trip.
    ``identity`` is a short hash of the contents, ``ioc`` the name in the PVs of the server itself.
    """

    prefix: str
    devices: tuple[DeviceSettings, ...]
    tuning: Mapping[str, Tuning]
    access: Access
    server: ServerSettings
    can: Mapping[str, Mapping[str, Any]]
    archiver: Mapping[str, Any]
    textserver: TextSettings | None
    identity: str
    ioc: str = "IOC"
    pvgroups: tuple[GroupSettings, ...] = ()
    putlog: PutLogSettings | None = None
    recsync: RecSyncSettings | None = None
    engineer: str = ""
    location: str = ""
    groups: tuple[Group, ...] = ()
    interlocks: tuple[Interlock, ...] = ()
    recovery: Mapping[str, RecoverySettings] = field(default_factory=dict)


def load_site(path: Path | str) -> Site:
    """Read a site file; raises SiteError with every mistake in it, or saying why it cannot be read."""
    try:
        source = read_source(path)
    except SourceError as error:
        raise SiteError([str(error)]) from error
    return parse_site(source.data, source)


def only(site: Site, names: Sequence[str]) -> Site:
    """Return the part of a site with these devices, as one of several IOCs serves it.

    Its own PVs are called after its first device, ``LAB:IOC_HV1:HEARTBEAT``, so that no two IOCs have the same.
    Raises SiteError when there is no such device, one is named twice, or a group would be cut in two.
    """
    known = {device.name for device in site.devices} | {group.name for group in site.pvgroups}
    errors = [f"--only: there is no device {name!r}" for name in names if name not in known]
    errors += [f"--only: {name} is named twice" for name in sorted({one for one in names if names.count(one) > 1})]
    if errors:
        raise SiteError(errors)
    text = site.textserver if site.textserver is not None and site.textserver.device in names else None
    devices = tuple(device for device in site.devices if device.name in names)
    pvgroups = tuple(group for group in site.pvgroups if group.name in names)
    groups = _whole("group", site.groups, names)
    interlocks = _whole("interlock", site.interlocks, names)
    kept = replace(site, devices=devices, pvgroups=pvgroups, groups=groups, interlocks=interlocks)
    return replace(kept, textserver=text, ioc=f"IOC_{names[0]}")


Several = TypeVar("Several", Group, Interlock)
"""What concerns several devices at once."""


def _whole(what: str, several: Sequence[Several], names: Sequence[str]) -> tuple[Several, ...]:
    """Return those that act on one of these devices. Raises SiteError when one of them acts on others, too."""
    found = tuple(one for one in several if one.devices & set(names))
    for one in found:
        if missing := sorted(one.devices - set(names)):
            raise SiteError([f"--only: {what} {one.name} needs {', '.join(missing)}, too: one server moves all of it"])
    return found


def shares(site: Site, lists: Sequence[Sequence[str]]) -> list[Site]:
    """Return the parts of a site that several IOCs serve, each with one of these lists of devices; no list: the whole.

    Raises SiteError when there is no such device, or one is named twice.
    """
    named = [name for names in lists for name in names]
    if named:
        only(site, named)  # reports every name that cannot be
    return [only(site, names) for names in lists] or [site]


def parse_site(data: Mapping[str, Any], source: Source | None = None) -> Site:
    """Check the contents of a site file and turn them into a Site; raises SiteError with every mistake.

    With the ``source`` each mistake comes with its line.
    """
    found = mistakes(data)
    if found and source is not None:
        raise _with_lines(source, found)
    if found:
        raise SiteError([str(mistake) for mistake in found])
    devices = [device for device in data.get("device", []) if device["type"] != GROUP_TYPE]
    pvgroups = [device for device in data.get("device", []) if device["type"] == GROUP_TYPE]
    return Site(
        prefix=data["site"]["prefix"],
        devices=tuple(_settings(device, data.get("can", {})) for device in devices),
        tuning={device["name"]: _tuning(device) for device in devices},
        access=_access(data.get("access", {}), Path(source.path if source is not None else "").parent),
        server=_server(data.get("server", {})),
        can=data.get("can", {}),
        archiver=data.get("archiver", {}),
        textserver=TextSettings(**_fields(data["textserver"])) if "textserver" in data else None,
        putlog=_putlog(data["putlog"]) if "putlog" in data else None,
        recsync=RecSyncSettings(**_fields(data["recsync"])) if "recsync" in data else None,
        pvgroups=tuple(_pvgroup(device, data["site"]["prefix"]) for device in pvgroups),
        engineer=data["site"].get("engineer", ""),
        location=data["site"].get("location", ""),
        groups=tuple(groups_of(data)[0]) if "group" in data else (),
        interlocks=tuple(interlocks_of(data)[0]) if "interlock" in data else (),
        recovery=recovery_of(data)[0] if "recovery" in data else {},
        identity=hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:12],
    )


def _fields(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a section as the fields of its settings, lists as tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in section.items()}


def _access(section: Mapping[str, Any], folder: Path) -> Access:
    file = {"acf": folder / section["acf"]} if "acf" in section else {}
    return Access(**_fields(section) | file)


def _putlog(section: Mapping[str, Any]) -> PutLogSettings:
    host, port = listen_address(section["server"] if ":" in section["server"] else f"{section['server']}:{PUTLOG_PORT}")
    return PutLogSettings(host, port, section.get("format", "line"))


def _server(section: Mapping[str, Any]) -> ServerSettings:
    fields = _fields(section)
    if "status" in section:
        fields["status"] = listen_address(section["status"]) if section["status"] else None
    return ServerSettings(**fields)


def _with_lines(source: Source, found: list[Mistake]) -> SiteError:
    errors, details = [], []
    for mistake in found:
        number, line = source.where(mistake.path)
        errors.append(shown(f"{source.path}:{number}: {mistake}", line))
        details.append({"line": number, "key": mistake.key, "text": mistake.text, "source": line.strip()})
    return SiteError(errors, details)


def _settings(device: Mapping[str, Any], adapters: Mapping[str, Any]) -> DeviceSettings:
    family = FAMILIES[device["type"]]
    defaults = {key: schema["default"] for key, schema in family.options.items() if "default" in schema}
    own = {key: value for key, value in device.items() if key in family.options}
    return DeviceSettings(
        name=device["name"],
        type=device["type"],
        address=device.get("address", ""),
        channels=device.get("channels", family.default_channels),
        period=float(device.get("period", 1.0)),
        timeout=float(device.get("timeout", family.timeout)),
        readonly=device.get("readonly", False),
        simulated=device.get("simulated", False),
        limits=_limits(device),
        channel_limits={int(number): _limits(channel) for number, channel in device.get("channel", {}).items()},
        options=defaults | own,
        bus=adapters.get(device.get("can", ""), {}),
    )


def _pvgroup(device: Mapping[str, Any], prefix: str) -> GroupSettings:
    usual = f"{prefix}:{device['name']}:"
    return GroupSettings(device["name"], device["group"], device.get("prefix", usual), device.get("arguments", {}))


def _limits(section: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    limits = section.get("limits", {}).items()
    return {suffix.replace(":", "."): (float(low), float(high)) for suffix, (low, high) in limits}


def _tuning(device: Mapping[str, Any]) -> Tuning:
    channels = {int(number): channel for number, channel in device.get("channel", {}).items()}
    return Tuning(
        aliases={number: channel["alias"] for number, channel in channels.items() if "alias" in channel},
        alarms=_alarms(device),
        channel_alarms={number: _alarms(channel) for number, channel in channels.items() if "alarms" in channel},
    )


def _alarms(section: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the fields to set; a threshold without severity gets the usual one."""
    result = {}
    for suffix, fields in section.get("alarms", {}).items():
        implied = {RISING_LIMITS[name]: _IMPLIED[name] for name in fields if name in _IMPLIED}
        result[suffix] = implied | {name: _field_text(value) for name, value in fields.items()}
    return result


def _field_text(value: float | str) -> str:
    """Write a value for a field; 5.0 becomes 5, because an integer record takes nothing else."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
