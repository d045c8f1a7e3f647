"""JSON Schema of the ``[archiver]`` section of the site file."""

from __future__ import annotations

from typing import Any

from archiver.influx.downsample import DURATION
from devices.registry import FAMILIES

_JSON = dict[str, Any]
_TEXT: _JSON = {"type": "string", "minLength": 1}
PORT_PATTERN = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
_URL = rf"^(?:https?://{_HOST}(?::{PORT_PATTERN})?(?:/[!-\"$->@-~]*)?|kafka://{_HOST}:{PORT_PATTERN}(?:,{_HOST}:{PORT_PATTERN})*)$(?!\n)"
"""No user and password in front of the host: they would be shown wherever the address is."""

_NEEDED = {1: ["database"], 2: ["org", "bucket", "token"], 3: ["database", "token"], "line": [], "kafka": ["topic"]}
"""The keys that each kind of server needs."""


def archiver_schema() -> _JSON:
    """Return the schema of the section."""
    return {
        "type": "object",
        "additionalProperties": False,
        "description": "The bridge to InfluxDB",
        "properties": {
            "directory": {
                **_TEXT,
                "description": "Folder of the log; ~/.local/state/labioc/archive/PREFIX when left out",
            },
            "max_gigabytes": {
                "type": "number",
                "minimum": 0.01,
                "default": 10,
                "description": "Size of the log; the oldest points are dropped first",
            },
            "max_days": {"type": "number", "exclusiveMinimum": 0, "default": 365, "description": "Age of the log"},
            "measurement_per_type": {
                "type": "boolean",
                "default": True,
                "description": "One measurement for each device type; false: one for each PV",
            },
            "measurements": {
                "type": "object",
                "additionalProperties": False,
                "properties": dict.fromkeys(FAMILIES, _TEXT),
                "description": "Measurement of each device type in place of the usual one, e.g. { TYPE = 'HV' }",
            },
            "types": {
                "type": "object",
                "additionalProperties": {"enum": ["boolean", "float", "integer", "string"]},
                "description": "Fields to send with another type, to join a database: { IS_ON = 'boolean' }",
            },
            "rows": {
                "type": "boolean",
                "default": True,
                "description": "Write all core signals of a channel together once per fast scan",
            },
            "row_period": {
                "type": "number",
                "minimum": 0.1,
                "maximum": 3600,
                "description": "Seconds between rows while nothing leaves its dead-band; the fast scan when left out",
            },
            "pvs": {
                "type": "array",
                "items": {**_TEXT, "pattern": r"^\S+( .*)?$"},
                "description": "More PVs: NAME or NAME TAG, where NAME may be a wildcard over the site's own",
            },
            "lists": {
                "type": "array",
                "items": _TEXT,
                "description": "Files with such a line each, e.g. PVs of other IOCs",
            },
            "addresses": {
                "type": "array",
                "items": _TEXT,
                "description": "HOST or HOST:PORT of other IOCs, as in EPICS_CA_ADDR_LIST",
            },
            "status": {
                "type": "string",
                "pattern": rf"^\S+:{PORT_PATTERN}$(?!\n)",
                "description": "HOST:PORT for Prometheus (/metrics); 127.0.0.1 and any port when left out",
            },
            "archive_http": {
                "type": "string",
                "pattern": rf"^(?:\S+:{PORT_PATTERN})?$(?!\n)",
                "default": "127.0.0.1:8812",
                "description": "HOST:PORT of the archive for Phoebus' Data Browser and others; empty: not served",
            },
            "port": {
                "type": "integer",
                "minimum": 1,
                "maximum": 65535,
                "description": "Channel Access port of the ARCH PVs; any when left out",
            },
            "influxdb": {"type": "array", "description": "Where the bridge writes to", "items": _server()},
        },
    }


def _server() -> _JSON:
    words = ("database", "retention_policy", "username", "password", "org", "bucket")
    duration = {"type": "string", "pattern": DURATION}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["url", "version"],
        "properties": {
            "name": {
                "type": "string",
                "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$",
                "description": "Stands for the server in logs and file names; made of its address when left out",
            },
            "url": {
                "type": "string",
                "pattern": _URL,
                "description": "http://HOST:PORT, without user and password: these have keys of their own",
            },
            "version": {
                "enum": list(_NEEDED),
                "description": "InfluxDB 1, 2 or 3; line: whatever takes it at /write; kafka: url = kafka://HOST:PORT,...",
            },
            "topic": {"type": "string", "pattern": r"^[A-Za-z0-9._-]{1,249}$(?!\n)", "description": "Topic of kafka"},
            "format": {"enum": ["line", "json"], "default": "line", "description": "What a record of kafka holds"},
            "options": {
                "type": "object",
                "additionalProperties": {"type": ["string", "number", "boolean"]},
                "description": "Settings of librdkafka, e.g. { 'security.protocol' = 'SSL' }",
            },
            **dict.fromkeys(words, _TEXT),
            "token": {"type": "string", "pattern": r"^[!-~]+$(?!\n)"},
            "gzip": {"type": "boolean", "default": True, "description": "Compress what is sent"},
            "timeout": {"type": "number", "exclusiveMinimum": 0, "maximum": 300, "default": 20},
            "ca_file": {**_TEXT, "description": "Certificates (PEM) to trust for https, instead of the system's"},
            "verify": {"type": "boolean", "default": True, "description": "false: https with any certificate"},
            "retention": {**duration, "description": "How long the points are kept, for --setup: 52w"},
            "downsample": {
                "type": "array",
                "items": duration,
                "description": "Means to keep for ever, for --setup: 1m",
            },
        },
        "allOf": [
            {
                "if": {"required": ["version"], "properties": {"version": {"const": version}}},
                "then": {"required": keys},
            }
            for version, keys in _NEEDED.items()
        ],
    }
