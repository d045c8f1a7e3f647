"""JSON Schema of the ``[archiver]`` section of the site file."""

from __future__ import annotations

from collections.abc import Iterable

from archiver.config import DURATION
from ioc.site.keys import LISTEN_PATTERN, PORT_PATTERN, Schema, choice, flag, key, port, several, table, text, when

_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
_URL = rf"^(?:https?://{_HOST}(?::{PORT_PATTERN})?(?:/[!-\"$->@-~]*)?|kafka://{_HOST}:{PORT_PATTERN}(?:,{_HOST}:{PORT_PATTERN})*)$(?!\n)"
"""No user and password in front of the host: they would be shown wherever the address is."""

_NEEDED = {1: ["database"], 2: ["org", "bucket", "token"], 3: ["database", "token"], "line": [], "kafka": ["topic"]}
"""The keys that each kind of server needs."""


def archiver_schema(types: Iterable[str]) -> Schema:
    """Return the schema of the section; ``types`` are those of devices."""
    keys = {
        "directory": text("Folder of the log; ~/.local/state/labioc/archive/PREFIX when left out"),
        "max_gigabytes": key(
            "number", "Size of the log; the oldest points are dropped first", minimum=0.01, default=10
        ),
        "max_days": key("number", "Age of the log", exclusiveMinimum=0, default=365),
        "measurement_per_type": flag(True, "One measurement for each device type; false: one for each PV"),
        "measurements": table(
            dict.fromkeys(types, text()),
            "Measurement of each device type in place of the usual one, e.g. { TYPE = 'HV' }",
        ),
        "types": key(
            "object",
            "Fields to send with another type, to join a database: { IS_ON = 'boolean' }",
            additionalProperties={"enum": ["boolean", "float", "integer", "string"]},
        ),
        "rows": flag(True, "Write all core signals of a channel together once per fast scan"),
        "row_period": key(
            "number",
            "Seconds between rows while nothing leaves its dead-band; the fast scan when left out",
            minimum=0.1,
            maximum=3600,
        ),
        "pvs": several(
            text(pattern=r"^\S+( .*)?$"),
            "More PVs: NAME or NAME TAG, where NAME may be a wildcard over the site's own",
        ),
        "lists": several(text(), "Files with such a line each, e.g. PVs of other IOCs"),
        "addresses": several(text(), "HOST or HOST:PORT of other IOCs, as in EPICS_CA_ADDR_LIST"),
        "status": key(
            "string",
            "HOST:PORT for Prometheus (/metrics); 127.0.0.1 and any port when left out",
            pattern=rf"^\S+:{PORT_PATTERN}$(?!\n)",
        ),
        "archive_http": key(
            "string",
            "HOST:PORT of the archive for Phoebus' Data Browser and others; empty: not served",
            pattern=LISTEN_PATTERN,
            default="127.0.0.1:8812",
        ),
        "port": port("Channel Access port of the ARCH PVs; any when left out"),
        "influxdb": several(_server(), "Where the bridge writes to"),
    }
    return table(keys, "The bridge to InfluxDB")


def _server() -> Schema:
    words = ("database", "retention_policy", "username", "password", "org", "bucket")
    keys = {
        "name": key(
            "string",
            "Stands for the server in logs and file names; made of its address when left out",
            pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$",
        ),
        "url": key("string", "http://HOST:PORT, without user and password: these have keys of their own", pattern=_URL),
        "version": choice(
            _NEEDED, "InfluxDB 1, 2 or 3; line: whatever takes it at /write; kafka: url = kafka://HOST:PORT,..."
        ),
        "topic": key("string", "Topic of kafka", pattern=r"^[A-Za-z0-9._-]{1,249}$(?!\n)"),
        "format": choice(["line", "json"], "What a record of kafka holds", default="line"),
        "options": key(
            "object",
            "Settings of librdkafka, e.g. { 'security.protocol' = 'SSL' }",
            additionalProperties={"type": ["string", "number", "boolean"]},
        ),
        **dict.fromkeys(words, text()),
        "token": key("string", pattern=r"^[!-~]+$(?!\n)"),
        "gzip": flag(True, "Compress what is sent"),
        "timeout": key("number", exclusiveMinimum=0, maximum=300, default=20),
        "ca_file": text("Certificates (PEM) to trust for https, instead of the system's"),
        "verify": flag(True, "false: https with any certificate"),
        "retention": key("string", "How long the points are kept, for --setup: 52w", pattern=DURATION),
        "downsample": several(key("string", pattern=DURATION), "Means to keep for ever, for --setup: 1m"),
    }
    rules = [when("version", version, {"required": needed}) for version, needed in _NEEDED.items()]
    return table(keys, required=["url", "version"]) | {"allOf": rules}
