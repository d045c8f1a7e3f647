"""JSON Schema of the site file: what ``labioc schema`` prints and what the check at start uses.

Each device family adds its own keys (``devices.registry``); nothing about a family is written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devices.family import Family
from devices.registry import FAMILIES
from ioc.access.settings import EVERYBODY, LOCAL
from ioc.database.support import PERIODS
from ioc.pvgroups.settings import TYPE as GROUP_TYPE
from ioc.site.archiver_schema import PORT_PATTERN, archiver_schema
from ioc.site.groups import group_schema
from ioc.site.interlocks import interlock_schema
from ioc.site.recovery import recovery_schema

RESERVED = ("IOC", "GRP", "ILK", "ARCH")
"""Second parts of PV names that belong to the server itself."""

SEVERITIES = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")
LIMIT_FIELDS = ("HIHI", "HIGH", "LOW", "LOLO", "HYST", "ADEL", "MDEL")
RISING_LIMITS = {"LOLO": "LLSV", "LOW": "LSV", "HIGH": "HSV", "HIHI": "HHSV"}
"""Alarm limits in the order that their values have to be in, each with the field of its severity."""

BINARY_FIELDS = ("ZSV", "OSV", "COSV")
STATE_FIELDS = (
    *("ZRSV", "ONSV", "TWSV", "THSV", "FRSV", "FVSV", "SXSV", "SVSV"),
    *("EISV", "NISV", "TESV", "ELSV", "TVSV", "TTSV", "FTSV", "FFSV"),
    *("UNSV", "COSV"),
)

_JSON = dict[str, Any]


def site_schema() -> _JSON:
    """Build the schema (Draft 2020-12) of the whole site file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "labioc site file",
        "type": "object",
        "required": ["site"],
        "additionalProperties": False,
        "properties": {
            "site": _section(
                {
                    "prefix": {
                        "type": "string",
                        "pattern": "^[A-Z][A-Z0-9_]*(:[A-Z0-9][A-Z0-9_]*)*$",
                        "maxLength": 40,
                        "description": "First part of every PV name: capital letters, digits and _, e.g. LAB",
                    },
                    "engineer": _text("Who looks after the IOC, shown in IOC:ENGINEER"),
                    "location": _text("Where the computer of the IOC is, shown in IOC:LOCATION"),
                },
                required=["prefix"],
            ),
            "server": _server(),
            "access": _access(),
            "can": {
                "type": "object",
                "description": "CAN adapters by name, with the options of python-can",
                "additionalProperties": {
                    "type": "object",
                    "required": ["interface"],
                    "properties": {"interface": {"type": "string", "minLength": 1}},
                },
            },
            "device": {
                "type": "array",
                "description": "The devices to serve",
                "items": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {"type": {"enum": [*FAMILIES, GROUP_TYPE]}},
                    "allOf": [
                        {
                            "if": {"required": ["type"], "properties": {"type": {"const": name}}},
                            "then": {"$ref": f"#/$defs/{name}"},
                        }
                        for name in (*FAMILIES, GROUP_TYPE)
                    ],
                },
            },
            "group": group_schema(),
            "interlock": interlock_schema(),
            "recovery": recovery_schema(),
            "archiver": archiver_schema(),
            "textserver": _textserver(),
            "putlog": _putlog(),
            "recsync": _recsync(),
        },
        "$defs": {name: _device(family) for name, family in FAMILIES.items()}
        | {GROUP_TYPE: _group(), "limits": _limits(), "alarms": _alarms()},
    }


def _section(properties: _JSON, required: list[str] | None = None, description: str = "") -> _JSON:
    section: _JSON = {"type": "object", "additionalProperties": False, "properties": properties}
    if required:
        section["required"] = required
    if description:
        section["description"] = description
    return section


def _text(description: str) -> _JSON:
    """Return the schema of a text that a stringin record takes."""
    return {"type": "string", "minLength": 1, "maxLength": 39, "description": description}


def _server() -> _JSON:
    return _section(
        {
            "interfaces": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "description": "Addresses to serve on; all when left out",
            },
            "port": {
                "type": "integer",
                "minimum": 1,
                "maximum": 65535,
                "description": "Channel Access port; EPICS_CA_SERVER_PORT, or 5064, when left out",
            },
            "state_dir": {
                "type": "string",
                "pattern": "^/",
                "description": "Folder, as an absolute path, for what clients tune and the journal of puts; "
                "~/.local/state/labioc when left out",
            },
            "status": {
                "type": "string",
                "pattern": rf"^(?:\S+:{PORT_PATTERN})?$(?!\n)",
                "description": "HOST:PORT of /healthz and /metrics (Prometheus), without password; "
                "127.0.0.1 and any port when left out, empty: not served",
            },
        }
    )


def _access() -> _JSON:
    people = {
        "type": "array",
        "items": {
            "type": "string",
            "pattern": "^[^@\\s]+(@[^@\\s]+)?$",
            "description": "USER or USER@HOST",
        },
    }
    return _section(
        {
            "operators": people,
            "experts": people,
            "hosts": {
                "type": "array",
                "items": {"type": "string"},
                "description": "IPv4 addresses and networks that may write beside this computer, "
                'e.g. ["192.168.1.0/24"]; every computer when left out beside operators or experts, '
                "else this one alone",
            },
            "write": {
                "enum": [LOCAL, EVERYBODY],
                "description": f"In place of hosts: {LOCAL} is this computer alone, {EVERYBODY} any computer and user",
            },
            "acf": {
                "type": "string",
                "minLength": 1,
                "description": "Access security file of EPICS base, in place of all the above; beside the site file",
            },
            "macros": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": 'Macros of that file, e.g. { AREA = "hall" }',
            },
            "client_ip": {
                "type": "boolean",
                "default": False,
                "description": "Compare its hosts with the address of a client, not with the name that it gives",
            },
        },
        description="Who may write; without this section this computer alone",
    )


def _textserver() -> _JSON:
    return _section(
        {
            "device": {"type": "string", "description": "Name of the device to serve, one with registers"},
            "interface": {
                "type": "string",
                "minLength": 1,
                "default": "127.0.0.1",
                "description": "Address to listen on; without password, so beware of others than 127.0.0.1",
            },
            "port": {"type": "integer", "minimum": 1, "maximum": 65535, "default": 9000, "description": "TCP port"},
            "allow_set": {"type": "boolean", "default": False, "description": "Accept the command Set"},
        },
        required=["device"],
        description="Text interface for programs made for an older furnace server; off without this section",
    )


def _putlog() -> _JSON:
    return _section(
        {
            "server": {
                "type": "string",
                "pattern": rf"^[^\s:]+(?::{PORT_PATTERN})?$(?!\n)",
                "description": "HOST or HOST:PORT of the log server; port 7011 when left out",
            },
            "format": {
                "enum": ["line", "json"],
                "default": "line",
                "description": "Form of a line: the original one of caPutLog, or its JSON",
            },
        },
        required=["server"],
        description="A log server that gets every put, as from caPutLog; off without this section",
    )


def _recsync() -> _JSON:
    return _section(
        {
            "port": {
                "type": "integer",
                "minimum": 1,
                "maximum": 65535,
                "default": 5049,
                "description": "UDP port at which receivers announce themselves",
            },
            "environment": {
                "type": "array",
                "items": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
                "description": "More variables of the environment that are sent",
            },
            "exclude": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "description": "Records that are not registered: names, with * and ? as wildcards",
            },
        },
        description="Register the PVs with a RecSync receiver, for ChannelFinder; off without this section, which may "
        "be empty",
    )


def _device(family: Family) -> _JSON:
    """Return the schema of one ``[[device]]`` of a family: the common keys and its own."""
    common: _JSON = {
        "name": _name(),
        "type": {"const": family.type},
        "address": {
            "type": "string",
            "pattern": r"^(tcp://\S+:[0-9]+|serial://\S+)$",
            "description": family.address,
        },
        "channels": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100,
            "default": family.default_channels,
            "description": "Number of channels",
        },
        "period": {"enum": list(PERIODS.values()), "default": 1, "description": "Fast scan in seconds"},
        "timeout": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 60,
            "default": family.timeout,
            "description": "Longest wait for one answer in seconds",
        },
        "readonly": {"type": "boolean", "default": False, "description": "Never write to this device"},
        "simulated": {"type": "boolean", "default": False, "description": "Served by the built-in simulator"},
        "limits": {"$ref": "#/$defs/limits"},
        "alarms": {"$ref": "#/$defs/alarms"},
        "channel": _channels(),
    }
    if not family.default_channels:
        del common["channels"], common["channel"]
    return _section(common | dict(family.options), ["name", "type", *family.required], family.title)


def _name() -> _JSON:
    return {
        "type": "string",
        "pattern": "^[A-Z][A-Z0-9_]*$",
        "not": {"enum": list(RESERVED)},
        "maxLength": 30,
        "description": f"Capital letters, digits and _, e.g. HV1; not {', '.join(RESERVED)}",
    }


def _group() -> _JSON:
    """Return the schema of a device that is a PVGroup of caproto."""
    return _section(
        {
            "name": _name(),
            "type": {"const": GROUP_TYPE},
            "group": {
                "type": "string",
                "pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
                "description": "The class as package.module:Class; it can be imported where labioc runs",
            },
            "prefix": {
                "type": "string",
                "description": "First part of the names of its PVs; PREFIX:NAME: when left out",
            },
            "arguments": {"type": "object", "description": "Keyword arguments of the class"},
        },
        ["name", "type", "group"],
        "An ordinary PVGroup of caproto, served beside the devices",
    )


def _channels() -> _JSON:
    return {
        "type": "object",
        "description": "Settings of single channels, by channel number",
        "additionalProperties": False,
        "patternProperties": {
            "^(0|[1-9][0-9]?)$": _section(
                {
                    "alias": {
                        "type": "string",
                        "pattern": "^[A-Z][A-Z0-9_]*(:[A-Z0-9][A-Z0-9_]*)*$",
                        "maxLength": 50,
                        "description": "Second name of the channel, without prefix, e.g. CALO:PMT07",
                    },
                    "limits": {"$ref": "#/$defs/limits"},
                    "alarms": {"$ref": "#/$defs/alarms"},
                }
            )
        },
    }


def _limits() -> _JSON:
    return {
        "type": "object",
        "description": "Lowest and highest value that may be set, by setting, e.g. VSET = [0, 1500]",
        "additionalProperties": {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 2,
            "maxItems": 2,
            "description": "[LOWEST, HIGHEST]",
        },
    }


def _alarms() -> _JSON:
    number: Mapping[str, Any] = {"type": "number"}
    severity: Mapping[str, Any] = {"enum": list(SEVERITIES)}
    names = (*RISING_LIMITS.values(), *BINARY_FIELDS, *STATE_FIELDS)
    fields = dict.fromkeys(LIMIT_FIELDS, number) | dict.fromkeys(names, severity)
    return {
        "type": "object",
        "description": "Alarm fields by signal, e.g. VMON = { HIGH = 1490, HIHI = 1500 }; HIHI and LOLO are "
        "MAJOR, HIGH and LOW MINOR, unless the severities HHSV, LLSV, HSV and LSV are given too",
        "additionalProperties": _section(fields),
    }
