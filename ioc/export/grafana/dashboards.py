"""The dashboards: high voltage by type of supply, one channel, furnaces, and the server with its links.

Panels are those of Grafana 10 (schema version 39): a stat for on and off, curves, state timelines of the bits, a table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ioc.database.dbfile import RecordDef
from ioc.export.grafana.query import DATASOURCE_UID, Language, Query
from ioc.export.grafana.series import Series
from ioc.export.plant import Device, Plant, states

_SCHEMA: Final = 39
_SOURCE: Final = {"type": "influxdb", "uid": DATASOURCE_UID}
_UNITS: Final = {"V": "volt", "uA": "µA", "C": "celsius", "%": "percent", "ms": "ms", "s": "s", "MB": "decmbytes"}
_WIDTH: Final = 24
_COLORS: Final = {"MINOR": "orange", "MAJOR": "red", "INVALID": "purple"}

_OF_DEVICE: Final = ("device",)
_OF_CHANNEL: Final = ("device", "channel")

Panel = dict[str, Any]


class Dashboards:
    """The dashboards of a site in one query language."""

    def __init__(self, plant: Plant, series: Series, language: Language) -> None:
        self._plant = plant
        self._series = series
        self._language = language

    def files(self) -> dict[str, str]:
        """Return the dashboards by file name."""
        made = {"server": self._server()}
        for kind, device in self._plant.first_of_types().items():
            if device.supplies:
                made[f"hv-{kind}"] = self._supplies(device)
                made[f"hv-channel-{kind}"] = self._channel(device)
            elif device.heats:
                made[f"furnace-{kind}"] = self._furnace(device)
        return {f"dashboards/{name}.json": json.dumps(text, indent=1) + "\n" for name, text in made.items()}

    def _supplies(self, device: Device) -> dict[str, Any]:
        """All channels of all supplies of a type: on or off, voltages, currents, the bits of the status word."""
        records = device.channels[0].records
        name = self._series.measurement(records)
        last = Query(name, ["IS_ON"], function="last", steps=False)
        flags = Query(name, self._series.flags(records), function="max")
        table = Query(name, ["VMON", "VSET", "IMON", "ISET"], function="last", steps=False)
        label = "$tag_device $tag_channel"
        panels = [
            self._panel("stat", "Output", last, label, 5, mappings=_ON_OFF),
            self._curves("Voltage and setting", "V", Query(name, ["VMON", "VSET"]), self._limits(device, "VMON")),
            self._curves("Current and limit", "uA", Query(name, ["IMON", "ISET"]), self._limits(device, "IMON")),
            self._timeline("Status", flags, f"{label} $col", 12, _FLAGS),
            self._panel("table", "Last values", table, f"{label} $col", 8),
        ]
        return self._dashboard(f"hv-{device.type}", f"High voltage: {device.title}", panels, name, _OF_CHANNEL)

    def _channel(self, device: Device) -> dict[str, Any]:
        """One channel: voltage, current, state, how far the voltage is from its setting."""
        records = device.channels[0].records
        name = self._series.measurement(records)
        state = Query(name, ["STATE"], function="last", keep=True)
        flags = Query(name, self._series.flags(records), function="max")
        panels = [
            self._curves("Voltage", "V", Query(name, ["VMON", "VSET"]), self._limits(device, "VMON")),
            self._curves("Current", "uA", Query(name, ["IMON", "ISET"]), self._limits(device, "IMON")),
            self._timeline("State", state, "state", 4, _mapping(records["STATE"])),
            self._timeline("Status", flags, "$col", 12, _FLAGS),
            self._curves("Measured minus set", "V", Query(name, ["VDIFF"])),
        ]
        return self._dashboard(f"hv-channel-{device.type}", f"Channel: {device.title}", panels, name, _OF_CHANNEL)

    def _furnace(self, device: Device) -> dict[str, Any]:
        """Furnaces: temperatures, output, the bits of the status word; power interruptions are marked everywhere."""
        records = device.records
        name = self._series.measurement(records)
        unit = records["TEMP"].fields.get("EGU", "")
        fields = [self._series.field(suffix, records) for suffix in ("TEMP", "TSET:RBV", "TWORK")]
        flags = Query(name, self._series.flags(records), _OF_DEVICE, "max")
        failures = Query(name, [self._series.field("PWR:COUNT", records)], _OF_DEVICE, "last", steps=False)
        panels = [
            self._curves("Temperature", unit, Query(name, fields, _OF_DEVICE), self._limits(device, "TEMP")),
            self._curves("Output", "%", Query(name, ["OUT"], _OF_DEVICE)),
            self._timeline("Status", flags, "$tag_device $col", 12, _FLAGS),
            self._panel("stat", "Power interruptions", failures, "$tag_device", 4),
        ]
        marks = {"name": "Power interruptions", "enable": True, "iconColor": "red", "datasource": _SOURCE}
        marks |= self._language.annotation(name, self._series.field("PWR:MSG", records))
        title = f"Furnaces: {device.title}"
        return self._dashboard(f"furnace-{device.type}", title, panels, name, _OF_DEVICE, [marks])

    def _server(self) -> dict[str, Any]:
        """The servers, the links to all devices, and the archiver."""
        name = self._series.measurement(next(iter(self._plant.servers.values())))
        panels = [
            self._curves("Longest pause of the server", "ms", Query(name, ["LAG"], ())),
            self._curves("Memory", "MB", Query(name, ["MEM_USED"], ())),
        ]
        for device in self._plant.first_of_types().values():
            of_device = self._series.measurement(device.records)
            link = Query(of_device, ["COMM"], _OF_DEVICE, "last", keep=True)
            slow = Query(of_device, ["COMM_RTT", "SCAN_TIME"], _OF_DEVICE)
            panels += [
                self._timeline(f"Links: {device.title}", link, "$tag_device", 5, _mapping(device.records["COMM"])),
                self._curves(f"Exchange and poll cycle: {device.title}", "ms", slow),
            ]
        running = Query("archive_bridge", ["running"], (), "last", keep=True)
        running_or_not = _mapping_of({0: ("STOPPED", "red"), 1: ("RUNNING", "green")})
        panels.append(self._timeline("Archiver", running, "archiver", 4, running_or_not))
        return self._dashboard("server", f"{self._plant.prefix} server", panels)

    def _limits(self, device: Device, suffix: str) -> list[tuple[float, str]]:
        """Return the lowest alarm limit of each kind among devices of a type, with the colour of its severity."""
        colors = {"HIGH": "orange", "HIHI": "red"}
        found: dict[str, float] = {}
        for one, _, records in self._plant.walk():
            fields = records[suffix].fields if one.type == device.type and suffix in records else {}
            for field in colors.keys() & fields.keys():
                found[field] = min(float(fields[field]), found.get(field, math.inf))
        return sorted((value, colors[field]) for field, value in found.items())

    def _dashboard(
        self,
        uid: str,
        title: str,
        panels: Sequence[Panel],
        measurement: str = "",
        tags: Sequence[str] = (),
        annotations: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """Put panels below each other, two of half the width side by side; add a variable for each tag."""
        x = y = height = 0
        for number, panel in enumerate(panels, 1):
            place = panel["gridPos"]
            if x + place["w"] > _WIDTH:
                x, y, height = 0, y + height, 0
            place |= {"x": x, "y": y}
            x, height = x + place["w"], max(height, place["h"])
            panel["id"] = number
        return {
            "uid": f"{self._plant.prefix}-{uid}".lower().replace(":", "-")[:40],
            "title": title,
            "tags": ["labioc", self._plant.prefix],
            "schemaVersion": _SCHEMA,
            "editable": True,
            "refresh": "10s",
            "time": {"from": "now-6h", "to": "now"},
            "templating": {"list": [_variable(self._language.values(measurement, tag), tag) for tag in tags]},
            "annotations": {"list": list(annotations)},
            "panels": list(panels),
        }

    def _curves(self, title: str, unit: str, query: Query, steps: Sequence[tuple[float, str]] = ()) -> Panel:
        """Make a panel of half the width with curves, and alarm limits as lines in their colours."""
        style = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 0, "spanNulls": False}
        style["thresholdsStyle"] = {"mode": "dashed" if steps else "off"}
        panel = self._panel("timeseries", title, query, "$tag_device $tag_channel $col", 9, style=style)
        panel["gridPos"]["w"] = _WIDTH // 2
        defaults = panel["fieldConfig"]["defaults"]
        defaults["thresholds"]["steps"] += [{"color": color, "value": value} for value, color in steps]
        if unit:
            defaults["unit"] = _UNITS.get(unit, unit)
        return panel

    def _timeline(
        self, title: str, query: Query, alias: str, height: int, mappings: Sequence[Mapping[str, Any]]
    ) -> Panel:
        style = {"fillOpacity": 80, "lineWidth": 0}
        return self._panel("state-timeline", title, query, alias, height, mappings, style)

    def _panel(
        self,
        kind: str,
        title: str,
        query: Query,
        alias: str,
        height: int,
        mappings: Sequence[Mapping[str, Any]] = (),
        style: Mapping[str, Any] | None = None,
    ) -> Panel:
        defaults = {
            "mappings": list(mappings),
            "custom": dict(style or {}),
            "thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": None}]},
        }
        target = self._language.target(self._language.query(query), alias)
        return {
            "type": kind,
            "title": title,
            "datasource": _SOURCE,
            "gridPos": {"h": height, "w": _WIDTH},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {},
            "targets": [{"refId": "A", "datasource": _SOURCE, **target}],
        }


def _variable(query: str, tag: str) -> dict[str, Any]:
    choice = {"text": "All", "value": "$__all"}
    return {"name": tag, "label": tag, "type": "query", "datasource": _SOURCE, "query": query, "refresh": 2,
            "sort": 3, "multi": True, "includeAll": True, "current": choice}  # fmt: skip


def _mapping_of(values: Mapping[int, tuple[str, str]]) -> list[dict[str, Any]]:
    options = {str(value): {"text": text, "color": color, "index": n} for n, (value, (text, color)) in
               enumerate(values.items())}  # fmt: skip
    return [{"type": "value", "options": options}]


def _mapping(record: RecordDef) -> list[dict[str, Any]]:
    """Return the texts of the states of a record, in the colours of their severities."""
    quiet = {"OFF": "#4a4f57", "LOST": "red", "RAMP UP": "blue", "RAMP DOWN": "blue"}
    return _mapping_of(
        {
            n: (text, _COLORS.get(severity) or quiet.get(text, "green"))
            for n, (text, severity) in enumerate(states(record))
        }
    )


_ON_OFF: Final = _mapping_of({0: ("OFF", "red"), 1: ("ON", "green")})
_FLAGS: Final = _mapping_of({0: ("no", "#2b2f36"), 1: ("YES", "orange")})
