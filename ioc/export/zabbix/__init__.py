"""A template for Zabbix 6.0 (and later), and what its agent 2 needs to answer it.

One item asks for all PVs at once and the others take their parts of its answer, so that the agent starts one program a
minute and not one for each PV. The keys that users of the older furnace server have are there too, for any furnace.
Format: "Template import and export" of the Zabbix documentation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Final

from ioc.database.dbfile import RecordDef
from ioc.export.alarm import Alarm, alarms
from ioc.export.plant import Plant

_SCRIPT: Final = "/opt/labioc/bin/python /etc/zabbix/labioc_zabbix.py"
_LIST: Final = "/etc/zabbix/labioc_pvs.txt"
_MASTER: Final = "labioc.site"
_OLDER_KEYS: Final[Mapping[str, str]] = {
    "eurotherm_data_pv": "TEMP",
    "eurotherm_data_sp": "TSET:RBV",
    "eurotherm_data_wsp": "TWORK",
    "eurotherm_data_op": "OUT",
    "eurotherm_data_sprate": "RATE:RBV",
}
"""Keys of the items that users of the older furnace server have, with the signal that each is."""

_FLOAT, _CHAR, _UNSIGNED, _TEXT = "FLOAT", "CHAR", "UNSIGNED", "TEXT"
_TEXTS: Final = frozenset({"lsi", "lso", "stringin", "stringout"})
_WHOLE: Final = frozenset({"bi", "bo", "mbbi", "mbbo", "longin", "longout"})


def write(plant: Plant) -> dict[str, str]:
    """Return the template, the file for the agent, the program that it runs and the list of PVs for it."""
    watched = list(alarms(plant))
    records = _records(plant, watched)
    return {
        "template.yaml": json.dumps(_template(plant, watched, records), indent=1) + "\n",
        "labioc.conf": "\n".join(_parameters(plant)) + "\n",
        "labioc_pvs.txt": "\n".join(_name(record) for record in records.values()) + "\n",
        "labioc_zabbix.py": files(__name__).joinpath("item.py").read_text(encoding="utf-8"),
    }


def _records(plant: Plant, watched: list[Alarm]) -> dict[str, RecordDef]:
    """Return what is asked for: every PV of the alarm tree, rows of furnaces, and their power interruptions."""
    names = {alarm.pv for alarm in watched}
    for device in plant.devices:
        if device.heats:
            wanted = {*_OLDER_KEYS.values(), *(suffix for suffix in device.records if suffix.startswith("PWR:"))}
            names |= {
                device.records[suffix].name
                for suffix in wanted
                if suffix in device.records and not suffix.endswith(":CMD")
            }
    served = (*plant.records.values(), *(r for records in plant.archivers.values() for r in records.values()))
    return {record.name: record for record in served if record.name in names}


def _name(record: RecordDef) -> str:
    """Return the PV to ask for: of a long string that which has all of it."""
    return record.name + "$" if record.rtyp == "lsi" else record.name


def _parameters(plant: Plant) -> Iterator[str]:
    """Yield the lines for the agent: keys of this template, and those of the older furnace server."""
    yield "# For /etc/zabbix/zabbix_agent2.d (or zabbix_agentd.d). Where the IOC is on another computer, set"
    yield "# EPICS_CA_ADDR_LIST in the environment of the agent. Timeout in its configuration: 10 or more."
    yield f"UserParameter={_MASTER},{_SCRIPT} --list {_LIST}"
    yield f'UserParameter=labioc.pv[*],{_SCRIPT} "$1"'
    furnaces = [device for device in plant.devices if device.heats]
    if furnaces:
        yield f"# Keys of the older furnace server: {furnaces[0].name}, or another as in eurotherm_data_pv[FURN2]"
    for key, suffix in _OLDER_KEYS.items() if furnaces else ():
        device = f'f="$1"; {_SCRIPT} "{plant.prefix}:$${{f:-{furnaces[0].name}}}:{suffix}"'
        yield f"UserParameter={key}[*],{device}"


def _template(plant: Plant, watched: list[Alarm], records: Mapping[str, RecordDef]) -> dict[str, Any]:
    name = f"labioc {plant.prefix}"
    master = {"uuid": _uuid(name, _MASTER), "name": "All PVs", "key": _MASTER, "delay": "1m", "history": "1h",
              "trends": "0", "value_type": _TEXT}  # fmt: skip
    items: list[dict[str, Any]] = [master]
    causes = {alarm.pv: alarm for alarm in watched}
    for record in records.values():
        items.append(_item(name, record, "value"))
    for alarm in watched:
        items.append({**_item(name, records[alarm.pv], "sevr"), "triggers": [_trigger(name, alarm, causes)]})
    for pv, record in records.items():
        if pv.endswith(":PWR:COUNT"):
            item = next(item for item in items if item["key"] == _key(record, "value"))
            item["triggers"] = [_interruption(name, record)]
    group = {"uuid": _uuid("group"), "name": "Templates/Laboratory"}
    template = {
        "uuid": _uuid(name),
        "template": name,
        "name": name,
        "groups": [{"name": group["name"]}],
        "items": items,
    }
    return {"zabbix_export": {"version": "6.0", "groups": [group], "templates": [template]}}


def _item(template: str, record: RecordDef, what: str) -> dict[str, Any]:
    """One part of the answer of the master item; null, which is no value, is left out."""
    kind = _UNSIGNED if what == "sevr" else _TEXT if record.rtyp in _TEXTS else _FLOAT
    title = record.fields.get("DESC", "") + (" (severity)" if what == "sevr" else "")
    path = {"type": "JSONPATH", "parameters": [f"$['{_name(record)}'].{what}"]}
    item: dict[str, Any] = {
        "uuid": _uuid(template, record.name, what),
        "name": f"{record.name}: {title}",
        "type": "DEPENDENT",
        "key": _key(record, what),
        "delay": "0",
        "value_type": kind,
        "description": record.info.get("guidance", ""),
        "preprocessing": [path, {"type": "NOT_MATCHES_REGEX", "parameters": ["^null$"],
                                 "error_handler": "DISCARD_VALUE"}],
        "master_item": {"key": _MASTER},
    }  # fmt: skip
    if kind == _TEXT:
        item["trends"] = "0"
    elif record.fields.get("EGU") and what == "value":
        item["units"] = "!" + record.fields["EGU"]  # no prefixes: 1.5 kC is no temperature
    return item


def _key(record: RecordDef, what: str) -> str:
    return f"labioc.{what}[{record.name}]"


def _trigger(template: str, alarm: Alarm, causes: Mapping[str, Alarm]) -> dict[str, Any]:
    """Let a severity of MAJOR or INVALID that lasts be a problem, unless its link or server has one."""
    trigger: dict[str, Any] = {
        "uuid": _uuid(template, alarm.pv, "trigger"),
        "expression": _lasting(template, alarm.pv),
        "name": alarm.description,
        "priority": "HIGH" if alarm.spoken else "WARNING",
        "description": alarm.guidance,
    }
    cause = causes.get(alarm.filter.lstrip("'").partition("'")[0])
    if cause is not None:
        trigger["dependencies"] = [{"name": cause.description, "expression": _lasting(template, cause.pv)}]
    return trigger


def _lasting(template: str, pv: str) -> str:
    return f"min(/{template}/labioc.sevr[{pv}],#2)>=2"


def _interruption(template: str, record: RecordDef) -> dict[str, Any]:
    device = record.name.split(":")[-3]
    return {
        "uuid": _uuid(template, record.name, "interruption"),
        "expression": f"change(/{template}/{_key(record, 'value')})>0",
        "name": f"{device}: power was interrupted, read PWR:MSG",
        "priority": "WARNING",
        "manual_close": "YES",
    }


def _uuid(*parts: str) -> str:
    """Return a version 4 UUID as Zabbix wants it, the same for the same parts."""
    digest = hashlib.sha256("\n".join(("labioc", *parts)).encode()).hexdigest()
    return f"{digest[:12]}4{digest[13:16]}a{digest[17:32]}"
