"""Settings of the bridge: which PVs, where its log lies, which servers it writes to.

The site file's ``[archiver]`` section and the expanded database belong to the IOC; they come in here as plain data.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from archiver.points.thinning import parse_tag
from labioc_pages.page import listen_address

DEFAULT_MEASUREMENT = "EPICS"
"""Measurement of PVs that belong to no device of the site."""

DEFAULT_HTTP = "127.0.0.1:8812"
"""Where the archive is served over HTTP unless the site file says something else."""

DURATION = r"^[1-9][0-9]*[mhdw]$"
"""What ``retention`` and ``downsample`` of a server look like: 1m, 6h, 30d, 52w."""

_DAY = 86_400.0
_WILD = re.compile(r"[*?\[]")


class ConfigError(Exception):
    """The ``[archiver]`` section cannot be used; ``errors`` holds one sentence for each mistake."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = list(errors)


@dataclass(frozen=True, slots=True)
class PvSpec:
    """One PV to archive, as the expanded database tells it.

    ``device``, ``device_type`` and ``channel`` (two digits) are empty where they make no sense, ``field`` is the
    name in the default schema (``VMON``, ``VSET_RBV``, ``IS_ON``). ``archive`` is the tag of the record, for example
    ``monitor 0.5`` or ``monitor 1%``. ``rtyp`` is the record type, empty when the PV is another IOC's.
    """

    name: str
    device: str = ""
    device_type: str = ""
    channel: str = ""
    field: str = ""
    archive: str = "monitor"
    rtyp: str = ""
    row_period: float = 0.0
    unit: str = ""
    precision: int | None = None
    states: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Schema:
    """How events become points: a measurement for each device type, or for each PV (``per_pv``).

    ``types`` says which fields, ``FIELD`` or ``MEASUREMENT.FIELD``, are sent as ``boolean``, ``float``, ``integer`` or
    ``string`` instead of the type of their record. Without ``rows`` there are none; ``row_every`` (seconds) replaces
    the period of the device's fast scan.
    """

    per_pv: bool = False
    measurements: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    rows: bool = True
    row_every: float = 0.0

    def row_period(self, pv: PvSpec) -> float:
        """Return how often a row with a PV is written, in seconds; 0 when it is in none."""
        return (self.row_every or pv.row_period) if self.rows and not self.per_pv and pv.row_period else 0.0

    def measurement(self, pv: PvSpec) -> str:
        """Return the measurement that a PV's points go to."""
        if self.per_pv:
            return pv.name
        return self.measurements.get(pv.device_type) or pv.device_type or DEFAULT_MEASUREMENT


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One server to write to.

    ``version`` is 1, 2 or 3 for InfluxDB, ``line`` for what takes line protocol at ``/write`` without a database, or
    ``kafka``: then ``topic``, ``format`` (``line`` or ``json``) and ``options`` (settings of librdkafka) count.
    ``name`` stands for the server in logs and in the file that keeps its read position. ``batch_bytes`` and
    ``batch_seconds`` bound a request by size and by the age of its first point, ``timeout`` is for one exchange in
    seconds. ``retention`` (``52w``) and ``downsample`` (``1m``) are what ``--setup`` creates. ``ca_file`` holds the
    certificates that are trusted for https, ``verify`` False trusts any.
    """

    name: str
    url: str
    version: int | str = 1
    database: str = ""
    retention_policy: str = ""
    username: str = ""
    password: str = ""
    org: str = ""
    bucket: str = ""
    token: str = ""
    gzip: bool = True
    retention: str = ""
    downsample: tuple[str, ...] = ()
    timeout: float = 20.0
    batch_bytes: int = 1_000_000
    batch_seconds: float = 0.25
    ca_file: str = ""
    verify: bool = True
    topic: str = "labioc"
    format: str = "line"
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ArchiverConfig:
    """The ``[archiver]`` section, checked.

    ``entries`` are further PVs, each ``NAME [ARCHIVE TAG]``, where NAME may be a wildcard over the site's own.
    ``addresses`` are added to EPICS_CA_ADDR_LIST. ``status`` is where the page with the metrics is served,
    ``archive_http`` where the archive is (None: nowhere), ``port`` the Channel Access port of the ``ARCH`` PVs; 0 is
    any. ``local_only`` keeps these to this computer.
    """

    prefix: str
    directory: Path
    max_bytes: int = 10_000_000_000
    max_age: float = 365 * _DAY
    schema: Schema = field(default_factory=Schema)
    entries: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    status: tuple[str, int] = ("127.0.0.1", 0)
    archive_http: tuple[str, int] | None = None
    port: int = 0
    local_only: bool = False
    servers: tuple[ServerConfig, ...] = ()


def default_directory(prefix: str) -> Path:
    """Return where the log of a site lies unless its file says something else."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "labioc" / "archive" / prefix.replace(":", "_")


def read_config(
    section: Mapping[str, Any], prefix: str, base: Path = Path(), measurements: Mapping[str, str] | None = None
) -> ArchiverConfig:
    """Make the configuration of a section that the schema of the site file has passed.

    ``base`` is the folder of the site file, which relative paths start from, ``measurements`` has the usual one of each
    device type. Raises ConfigError.
    """
    errors: list[str] = []
    directory = section.get("directory")
    named = {**(measurements or {}), **section.get("measurements", {})}
    servers = tuple(_server(dict(server), base) for server in section.get("influxdb", ()))
    names = [server.name for server in servers]
    errors += [
        f"archiver.influxdb: two servers are called {name}, give one another name"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    entries = tuple(section.get("pvs", ()))
    for path in section.get("lists", ()):
        try:
            entries += read_list(base / path)
        except (OSError, UnicodeDecodeError) as error:
            errors.append(f"archiver.lists: {path} cannot be read: {error}")
    if errors:
        raise ConfigError(errors)
    return ArchiverConfig(
        prefix=prefix,
        directory=base / Path(directory).expanduser() if directory else default_directory(prefix),
        max_bytes=int(section.get("max_gigabytes", 10) * 1_000_000_000),
        max_age=section.get("max_days", 365) * _DAY,
        schema=Schema(
            not section.get("measurement_per_type", True),
            named,
            section.get("types", {}),
            section.get("rows", True),
            section.get("row_period", 0.0),
        ),
        entries=entries,
        addresses=tuple(section.get("addresses", ())),
        status=listen_address(section.get("status", "127.0.0.1:0")),
        archive_http=listen_address(http) if (http := section.get("archive_http", DEFAULT_HTTP)) else None,
        port=section.get("port", 0),
        servers=servers,
    )


def read_list(path: Path) -> tuple[str, ...]:
    """Read a list of PVs: one ``NAME [ARCHIVE TAG]`` a line, ``#`` begins a comment. Raises OSError."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line)


def select(own: Iterable[PvSpec], entries: Iterable[str]) -> list[PvSpec]:
    """Return the PVs to archive: the site's own that have a tag, and those that the entries name.

    ``own`` holds every PV of the site, with an empty ``archive`` where its record has no tag. An entry with a tag
    overrules that of the record. Raises ConfigError naming entries that match nothing and tags that make no sense.
    """
    site = {pv.name: pv for pv in own}
    chosen = {pv.name: pv for pv in site.values() if pv.archive}
    errors = []
    for entry in entries:
        name, _, tag = entry.strip().partition(" ")
        matches = [known for known in site if fnmatchcase(known, name)] if _WILD.search(name) else [name]
        if not matches:
            errors.append(f"archiver.pvs: no PV of the site matches {name}")
        for match in matches:
            pv = site.get(match, PvSpec(match))
            chosen[match] = replace(pv, archive=tag.strip() or pv.archive or "monitor")
    for pv in chosen.values():
        try:
            parse_tag(pv.archive)
        except ValueError as error:
            errors.append(f"{pv.name}: {error}")
    if errors:
        raise ConfigError(errors)
    return list(chosen.values())


def shard(pvs: Iterable[PvSpec], number: int, of: int) -> list[PvSpec]:
    """Return the PVs of bridge ``number`` (from 1) of several; the hash is the same on every machine and for ever."""
    return [pv for pv in pvs if zlib.crc32(pv.name.encode()) % of == number - 1]


def _server(settings: dict[str, Any], base: Path) -> ServerConfig:
    parts = urlsplit(settings["url"])
    place = settings.get("bucket") or settings.get("database") or ""
    usual = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{parts.hostname}_{parts.port or parts.scheme}_{place}").strip("_")
    if "ca_file" in settings:
        settings["ca_file"] = str(base / Path(settings["ca_file"]).expanduser())
    settings["downsample"] = tuple(settings.get("downsample", ()))
    return ServerConfig(**{"name": usual, **settings})
