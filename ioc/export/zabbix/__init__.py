"""A template for Zabbix 6.0 (and later), and what its agent 2 needs to answer it.

One item asks for all PVs at once and the others take their parts of its answer, so that the agent starts one program a
minute and not one for each PV. The keys that users of the older furnace server have are there too, for any furnace.
Format: "Template import and export" of the Zabbix documentation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
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

_FLOAT, _UNSIGNED, _TEXT = "FLOAT", "UNSIGNED", "TEXT"
_TEXTS: Final = frozenset({"lsi", "lso", "stringin", "stringout"})


def write(plant: Plant) -> dict[str, str]:
    """Return the template, the file for the agent, the program that it runs and the list of PVs for it."""
    watched = list(alarms(plant))
    records = _records(plant, watched)
    return {
        "template.yaml": json.dumps(_Template(plant).export(watched, records), indent=1) + "\n",
        "labioc.conf": "\n".join(_parameters(plant)) + "\n",
        "labioc_pvs.txt": "\n".join(_name(record) for record in records.values()) + "\n",
        "labioc_zabbix.py": files(__name__).joinpath("item.py").read_text(encoding="utf-8"),
    }


def _records(plant: Plant, watched: list[Alarm]) -> dict[str, RecordDef]:
    """Return what is asked for: every PV of the alarm tree, rows of furnaces, and their power interruptions."""
    names = {alarm.pv for alarm in watched}
    for device in (device for device in plant.devices if device.heats):
        for suffix, record in device.records.items():
            if suffix in _OLDER_KEYS.values() or (suffix.startswith("PWR:") and not suffix.endswith(":CMD")):
                names.add(record.name)
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


class _Template:
    """The template of a site; its name is part of every expression in it."""

    def __init__(self, plant: Plant) -> None:
        self._name = f"labioc {plant.prefix}"

    def export(self, watched: Sequence[Alarm], records: Mapping[str, RecordDef]) -> dict[str, Any]:
        """Return it with an item for each record, and one for the severity of each alarm, with its trigger."""
        master = {"uuid": _uuid(self._name, _MASTER), "name": "All PVs", "key": _MASTER, "delay": "1m", "history": "1h",
                  "trends": "0", "value_type": _TEXT}  # fmt: skip
        causes = {alarm.pv: alarm for alarm in watched}
        values = [self._value(record) for record in records.values()]
        severities = [
            self._item(records[alarm.pv], "sevr", _UNSIGNED) | {"triggers": [self._trigger(alarm, causes)]}
            for alarm in watched
        ]
        group = {"uuid": _uuid("group"), "name": "Templates/Laboratory"}
        template = {
            "uuid": _uuid(self._name),
            "template": self._name,
            "name": self._name,
            "groups": [{"name": group["name"]}],
            "items": [master, *values, *severities],
        }
        return {"zabbix_export": {"version": "6.0", "groups": [group], "templates": [template]}}

    def _value(self, record: RecordDef) -> dict[str, Any]:
        item = self._item(record, "value", _TEXT if record.rtyp in _TEXTS else _FLOAT)
        if record.rtyp in _TEXTS:
            item["trends"] = "0"
        elif record.fields.get("EGU"):
            item["units"] = "!" + record.fields["EGU"]  # no prefixes: 1.5 kC is no temperature
        if record.name.endswith(":PWR:COUNT"):
            item["triggers"] = [self._interruption(record)]
        return item

    def _item(self, record: RecordDef, what: str, kind: str) -> dict[str, Any]:
        """One part of the answer of the master item; null, which is no value, is left out."""
        title = record.fields.get("DESC", "") + (" (severity)" if what == "sevr" else "")
        path = {"type": "JSONPATH", "parameters": [f"$['{_name(record)}'].{what}"]}
        return {
            "uuid": _uuid(self._name, record.name, what),
            "name": f"{record.name}: {title}",
            "type": "DEPENDENT",
            "key": f"labioc.{what}[{record.name}]",
            "delay": "0",
            "value_type": kind,
            "description": record.info.get("guidance", ""),
            "preprocessing": [path, {"type": "NOT_MATCHES_REGEX", "parameters": ["^null$"],
                                     "error_handler": "DISCARD_VALUE"}],
            "master_item": {"key": _MASTER},
        }  # fmt: skip

    def _trigger(self, alarm: Alarm, causes: Mapping[str, Alarm]) -> dict[str, Any]:
        """Let a severity of MAJOR or INVALID that lasts be a problem, unless its link or server has one."""
        trigger: dict[str, Any] = {
            "uuid": _uuid(self._name, alarm.pv, "trigger"),
            "expression": self._lasting(alarm.pv),
            "name": alarm.description,
            "priority": "HIGH" if alarm.spoken else "WARNING",
            "description": alarm.guidance,
        }
        cause = causes.get(alarm.filter.lstrip("'").partition("'")[0])
        if cause is not None:
            trigger["dependencies"] = [{"name": cause.description, "expression": self._lasting(cause.pv)}]
        return trigger

    def _lasting(self, pv: str) -> str:
        return f"min(/{self._name}/labioc.sevr[{pv}],#2)>=2"

    def _interruption(self, record: RecordDef) -> dict[str, Any]:
        return {
            "uuid": _uuid(self._name, record.name, "interruption"),
            "expression": f"change(/{self._name}/labioc.value[{record.name}])>0",
            "name": f"{record.name.split(':')[-3]}: power was interrupted, read PWR:MSG",
            "priority": "WARNING",
            "manual_close": "YES",
        }


def _uuid(*parts: str) -> str:
    """Return a version 4 UUID as Zabbix wants it, the same for the same parts."""
    digest = hashlib.sha256("\n".join(("labioc", *parts)).encode()).hexdigest()
    return f"{digest[:12]}4{digest[13:16]}a{digest[17:32]}"
