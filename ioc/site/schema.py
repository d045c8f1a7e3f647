"""JSON Schema of the site file: what ``labioc schema`` prints and what the check at start uses.

Each device family adds its own keys (``devices.registry``); nothing about a family is written here.
"""

from __future__ import annotations

from collections.abc import Collection

from devices.family import Family
from devices.registry import FAMILIES
from ioc.access.policy import EVERYBODY, LOCAL
from ioc.database.support import PERIODS
from ioc.pvgroups.settings import TYPE as GROUP_TYPE
from ioc.records.fieldtable import STATE_SEVERITIES
from ioc.site.archiver_schema import archiver_schema
from ioc.site.groups import group_schema
from ioc.site.interlocks import interlock_schema
from ioc.site.keys import (
    LISTEN_PATTERN,
    PORT_PATTERN,
    RESERVED,
    Schema,
    choice,
    flag,
    key,
    name,
    port,
    several,
    table,
    text,
    when,
)
from ioc.site.recovery import recovery_schema

SEVERITIES = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")
LIMIT_FIELDS = ("HIHI", "HIGH", "LOW", "LOLO", "HYST", "ADEL", "MDEL")
RISING_LIMITS = {"LOLO": "LLSV", "LOW": "LSV", "HIGH": "HSV", "HIHI": "HHSV"}
"""Alarm limits in the order that their values have to be in, each with the field of its severity."""

BINARY_FIELDS = ("ZSV", "OSV", "COSV")
STATE_FIELDS = (*STATE_SEVERITIES, "UNSV", "COSV")

_PV_PART = "^[A-Z][A-Z0-9_]*(:[A-Z0-9][A-Z0-9_]*)*$"
_RECORD_TEXT = 39
"""Longest text of a stringin record in characters."""


def site_schema(types: Collection[str] = FAMILIES) -> Schema:
    """Build the schema (Draft 2020-12) of the whole site file, with devices of these types."""
    sections = {
        "site": _site(),
        "server": _server(),
        "access": _access(),
        "can": key(
            "object",
            "CAN adapters by name, with the options of python-can",
            additionalProperties=key("object", required=["interface"], properties={"interface": text()}),
        ),
        "device": several(_devices(types), "The devices to serve"),
        "group": group_schema(),
        "interlock": interlock_schema(),
        "recovery": recovery_schema(),
        "archiver": archiver_schema(types),
        "textserver": _textserver(),
        "putlog": _putlog(),
        "recsync": _recsync(),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "labioc site file",
        **table(sections, required=["site"]),
        "$defs": {one: _device(FAMILIES[one]) for one in types}
        | {GROUP_TYPE: _group(), "limits": _limits(), "alarms": _alarms()},
    }


def _devices(types: Collection[str]) -> Schema:
    """Return the schema of a device of any of these types, or of caproto."""
    known = [*types, GROUP_TYPE]
    rules = [when("type", one, {"$ref": f"#/$defs/{one}"}) for one in known]
    return key("object", required=["type"], properties={"type": {"enum": known}}, allOf=rules)


def _site() -> Schema:
    about = "First part of every PV name: capital letters, digits and _, e.g. LAB"
    keys = {
        "prefix": key("string", about, pattern=_PV_PART, maxLength=40),
        "engineer": text("Who looks after the IOC, shown in IOC:ENGINEER", maxLength=_RECORD_TEXT),
        "location": text("Where the computer of the IOC is, shown in IOC:LOCATION", maxLength=_RECORD_TEXT),
    }
    return table(keys, required=["prefix"])


def _server() -> Schema:
    return table(
        {
            "interfaces": several(text(), "Addresses to serve on; all when left out"),
            "port": port("Channel Access port; EPICS_CA_SERVER_PORT, or 5064, when left out"),
            "state_dir": key(
                "string",
                "Folder, as an absolute path, for what clients tune and the journal of puts; "
                "~/.local/state/labioc when left out",
                pattern="^/",
            ),
            "status": key(
                "string",
                "HOST:PORT of /healthz and /metrics (Prometheus), without password; "
                "127.0.0.1 and any port when left out, empty: not served",
                pattern=LISTEN_PATTERN,
            ),
        }
    )


def _access() -> Schema:
    people = several(key("string", "USER or USER@HOST", pattern="^[^@\\s]+(@[^@\\s]+)?$"))
    keys = {
        "operators": people,
        "experts": people,
        "hosts": several(
            key("string"),
            "IPv4 addresses and networks that may write beside this computer, "
            'e.g. ["192.168.1.0/24"]; every computer when left out beside operators or experts, '
            "else this one alone",
        ),
        "write": choice(
            [LOCAL, EVERYBODY],
            f"In place of hosts: {LOCAL} is this computer alone, {EVERYBODY} any computer and user",
        ),
        "acf": text("Access security file of EPICS base, in place of all the above; beside the site file"),
        "macros": key("object", 'Macros of that file, e.g. { AREA = "hall" }', additionalProperties={"type": "string"}),
        "client_ip": flag(False, "Compare its hosts with the address of a client, not with the name that it gives"),
    }
    return table(keys, "Who may write; without this section this computer alone")


def _textserver() -> Schema:
    keys = {
        "device": key("string", "Name of the device to serve, one with registers"),
        "interface": text(
            "Address to listen on; without password, so beware of others than 127.0.0.1", default="127.0.0.1"
        ),
        "port": port("TCP port", default=9000),
        "allow_set": flag(False, "Accept the command Set"),
    }
    about = "Text interface for programs made for an older furnace server; off without this section"
    return table(keys, about, required=["device"])


def _putlog() -> Schema:
    keys = {
        "server": key(
            "string",
            "HOST or HOST:PORT of the log server; port 7011 when left out",
            pattern=rf"^[^\s:]+(?::{PORT_PATTERN})?$(?!\n)",
        ),
        "format": choice(["line", "json"], "Form of a line: the original one of caPutLog, or its JSON", default="line"),
    }
    about = "A log server that gets every put, as from caPutLog; off without this section"
    return table(keys, about, required=["server"])


def _recsync() -> Schema:
    keys = {
        "port": port("UDP port at which receivers announce themselves", default=5049),
        "environment": several(
            key("string", pattern="^[A-Za-z_][A-Za-z0-9_]*$"), "More variables of the environment that are sent"
        ),
        "exclude": several(text(), "Records that are not registered: names, with * and ? as wildcards"),
    }
    about = "Register the PVs with a RecSync receiver, for ChannelFinder; off without this section, which may be empty"
    return table(keys, about)


def _device(family: Family) -> Schema:
    """Return the schema of one ``[[device]]`` of a family: the common keys and its own."""
    common: Schema = {
        "name": _name(),
        "type": {"const": family.type},
        "address": key("string", family.address, pattern=r"^(tcp://\S+:[0-9]+|serial://\S+)$"),
        "channels": key("integer", "Number of channels", minimum=1, maximum=100, default=family.default_channels),
        "period": choice(PERIODS.values(), "Fast scan in seconds", default=1),
        "timeout": key(
            "number",
            "Longest wait for one answer in seconds",
            exclusiveMinimum=0,
            maximum=60,
            default=family.timeout,
        ),
        "readonly": flag(False, "Never write to this device"),
        "simulated": flag(False, "Served by the built-in simulator"),
        **_TUNED,
        "channel": _channels(),
    }
    if not family.default_channels:
        del common["channels"], common["channel"]
    return table(common | dict(family.options), family.title, ["name", "type", *family.required])


def _name() -> Schema:
    about = f"Capital letters, digits and _, e.g. HV1; not {', '.join(RESERVED)}"
    return name(about, **{"not": {"enum": list(RESERVED)}})


def _group() -> Schema:
    """Return the schema of a device that is a PVGroup of caproto."""
    keys = {
        "name": _name(),
        "type": {"const": GROUP_TYPE},
        "group": key(
            "string",
            "The class as package.module:Class; it can be imported where labioc runs",
            pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        ),
        "prefix": key("string", "First part of the names of its PVs; PREFIX:NAME: when left out"),
        "arguments": key("object", "Keyword arguments of the class"),
    }
    return table(keys, "An ordinary PVGroup of caproto, served beside the devices", ["name", "type", "group"])


_TUNED = {"limits": {"$ref": "#/$defs/limits"}, "alarms": {"$ref": "#/$defs/alarms"}}
"""What a device and a channel may have."""


def _channels() -> Schema:
    about = "Second name of the channel, without prefix, e.g. CALO:PMT07"
    channel = table({"alias": key("string", about, pattern=_PV_PART, maxLength=50), **_TUNED})
    return key(
        "object",
        "Settings of single channels, by channel number",
        additionalProperties=False,
        patternProperties={"^(0|[1-9][0-9]?)$": channel},
    )


def _limits() -> Schema:
    pair = several({"type": "number"}, "[LOWEST, HIGHEST]", minItems=2, maxItems=2)
    about = "Lowest and highest value that may be set, by setting, e.g. VSET = [0, 1500]"
    return key("object", about, additionalProperties=pair)


def _alarms() -> Schema:
    severities = (*RISING_LIMITS.values(), *BINARY_FIELDS, *STATE_FIELDS)
    fields: Schema = {limit: {"type": "number"} for limit in LIMIT_FIELDS}
    fields |= {severity: {"enum": list(SEVERITIES)} for severity in severities}
    about = (
        "Alarm fields by signal, e.g. VMON = { HIGH = 1490, HIHI = 1500 }; HIHI and LOLO are "
        "MAJOR, HIGH and LOW MINOR, unless the severities HHSV, LLSV, HSV and LSV are given too"
    )
    return key("object", about, additionalProperties=table(fields))
