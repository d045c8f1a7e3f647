"""The dashboards: high voltage by type of supply, one channel, furnaces, and the server with its links.

Panels are those of Grafana 10 (schema version 39): a stat for on and off, curves, state timelines of the bits, a table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ioc.database.dbfile import RecordDef
from ioc.export.grafana.query import DATASOURCE_UID, Language, Query
from ioc.export.grafana.series import Series, limits, of_type
from ioc.export.plant import Device, Plant, states

_SCHEMA: Final = 39
_SOURCE: Final = {"type": "influxdb", "uid": DATASOURCE_UID}
_UNITS: Final = {"V": "volt", "uA": "µA", "C": "celsius", "%": "percent", "ms": "ms", "s": "s", "MB": "decmbytes"}
_WIDTH: Final = 24
_COLORS: Final = {"MINOR": "orange", "MAJOR": "red", "INVALID": "purple"}

Panel = dict[str, Any]


def dashboards(plant: Plant, series: Series, language: Language) -> dict[str, str]:
    """Return the dashboards by file name."""
    made = {"server": _server(plant, series, language)}
    for kind, device in plant.first_of_types().items():
        if device.supplies:
            made[f"hv-{kind}"] = _supplies(plant, device, series, language)
            made[f"hv-channel-{kind}"] = _channel(plant, device, series, language)
        elif device.heats:
            made[f"furnace-{kind}"] = _furnace(plant, device, series, language)
    return {f"dashboards/{name}.json": json.dumps(text, indent=1) + "\n" for name, text in made.items()}


def _supplies(plant: Plant, device: Device, series: Series, language: Language) -> dict[str, Any]:
    """All channels of all supplies of a type: on or off, voltages, currents, the bits of the status word."""
    records = device.channels[0].records
    name = series.measurement(records)
    every = [found for _, channel, found in of_type(plant, device.type) if channel]

    def curve(first: str, second: str) -> list[str]:
        return [language.query(Query(name, [first, second]))]

    last = Query(name, ["IS_ON"], function="last", steps=False)
    flags = Query(name, series.flags(records), function="max")
    table = Query(name, ["VMON", "VSET", "IMON", "ISET"], function="last", steps=False)
    label = "$tag_device $tag_channel"
    panels = [
        _panel("stat", "Output", language, [language.query(last)], label, 5, _WIDTH, mappings=_on_off()),
        _curves("Voltage and setting", "V", language, curve("VMON", "VSET"), limits(every, "VMON")),
        _curves("Current and limit", "uA", language, curve("IMON", "ISET"), limits(every, "IMON")),
        _timeline("Status", language, language.query(flags), f"{label} $col", 12, _flags()),
        _panel("table", "Last values", language, [language.query(table)], f"{label} $col", 8, _WIDTH),
    ]
    return _dashboard(plant, f"hv-{device.type}", f"High voltage: {device.title}", language, panels, name, True)


def _channel(plant: Plant, device: Device, series: Series, language: Language) -> dict[str, Any]:
    """One channel: voltage, current, state, how far the voltage is from its setting."""
    records = device.channels[0].records
    name = series.measurement(records)
    every = [found for _, channel, found in of_type(plant, device.type) if channel]
    state = language.query(Query(name, ["STATE"], function="last", keep=True))
    flags = language.query(Query(name, series.flags(records), function="max"))
    panels = [
        _curves("Voltage", "V", language, [language.query(Query(name, ["VMON", "VSET"]))], limits(every, "VMON")),
        _curves("Current", "uA", language, [language.query(Query(name, ["IMON", "ISET"]))], limits(every, "IMON")),
        _timeline("State", language, state, "state", 4, _mapping(records["STATE"])),
        _timeline("Status", language, flags, "$col", 12, _flags()),
        _curves("Measured minus set", "V", language, [language.query(Query(name, ["VDIFF"]))], []),
    ]
    return _dashboard(plant, f"hv-channel-{device.type}", f"Channel: {device.title}", language, panels, name, True)


def _furnace(plant: Plant, device: Device, series: Series, language: Language) -> dict[str, Any]:
    """Furnaces: temperatures, output, the bits of the status word; power interruptions are marked in all panels."""
    records = device.records
    name = series.measurement(records)
    every = [found for _, _, found in of_type(plant, device.type)]
    by = ["device"]
    unit = records["TEMP"].fields.get("EGU", "")
    fields = [series.field(suffix, records) for suffix in ("TEMP", "TSET:RBV", "TWORK")]
    flags = language.query(Query(name, series.flags(records), by, "max"))
    count = series.field("PWR:COUNT", records)
    failures = language.query(Query(name, [count], by, "last", steps=False))
    panels = [
        _curves("Temperature", unit, language, [language.query(Query(name, fields, by))], limits(every, "TEMP")),
        _curves("Output", "%", language, [language.query(Query(name, ["OUT"], by))], []),
        _timeline("Status", language, flags, "$tag_device $col", 12, _flags()),
        _panel("stat", "Power interruptions", language, [failures], "$tag_device", 4, _WIDTH),
    ]
    report = series.field("PWR:MSG", records)
    marks = {"name": "Power interruptions", "enable": True, "iconColor": "red", "datasource": _SOURCE}
    marks |= language.annotation(name, report)
    return _dashboard(plant, f"furnace-{device.type}", f"Furnaces: {device.title}", language, panels, name,
                      annotations=[marks])  # fmt: skip


def _server(plant: Plant, series: Series, language: Language) -> dict[str, Any]:
    """The servers, the links to all devices, and the archiver."""
    records = next(iter(plant.servers.values()))
    name = series.measurement(records)
    panels = [
        _curves("Longest pause of the server", "ms", language, [language.query(Query(name, ["LAG"], ()))], []),
        _curves("Memory", "MB", language, [language.query(Query(name, ["MEM_USED"], ()))], []),
    ]
    for device in plant.first_of_types().values():
        of_device = series.measurement(device.records)
        link = language.query(Query(of_device, ["COMM"], ["device"], "last", keep=True))
        slow = [language.query(Query(of_device, ["COMM_RTT", "SCAN_TIME"], ["device"]))]
        panels += [
            _timeline(f"Links: {device.title}", language, link, "$tag_device", 5, _mapping(device.records["COMM"])),
            _curves(f"Exchange and poll cycle: {device.title}", "ms", language, slow, []),
        ]
    running = language.query(Query("archive_bridge", ["running"], (), "last", keep=True))
    running_or_not = _mapping_of({0: ("STOPPED", "red"), 1: ("RUNNING", "green")})
    panels.append(_timeline("Archiver", language, running, "archiver", 4, running_or_not))
    return _dashboard(plant, "server", f"{plant.prefix} server", language, panels, "")


def _dashboard(
    plant: Plant,
    uid: str,
    title: str,
    language: Language,
    panels: Sequence[Panel],
    measurement: str,
    channels: bool = False,
    annotations: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Put panels below each other, two of half the width side by side; add the variables for device and channel."""
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        place = panel["gridPos"]
        if x + place["w"] > _WIDTH:
            x, y, height = 0, y + height, 0
        place |= {"x": x, "y": y}
        x, height = x + place["w"], max(height, place["h"])
        panel["id"] = number
    tags = ["device", *(["channel"] if channels else [])] if measurement else []
    return {
        "uid": f"{plant.prefix}-{uid}".lower().replace(":", "-")[:40],
        "title": title,
        "tags": ["labioc", plant.prefix],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_variable(language.values(measurement, tag), tag) for tag in tags]},
        "annotations": {"list": list(annotations)},
        "panels": list(panels),
    }


def _variable(query: str, tag: str) -> dict[str, Any]:
    choice = {"text": "All", "value": "$__all"}
    return {"name": tag, "label": tag, "type": "query", "datasource": _SOURCE, "query": query, "refresh": 2,
            "sort": 3, "multi": True, "includeAll": True, "current": choice}  # fmt: skip


def _panel(
    kind: str,
    title: str,
    language: Language,
    queries: Sequence[str],
    alias: str,
    height: int,
    width: int,
    unit: str = "",
    mappings: Sequence[Mapping[str, Any]] = (),
    steps: Sequence[tuple[float, str]] = (),
    custom: Mapping[str, Any] | None = None,
) -> Panel:
    thresholds = [{"color": "green", "value": None}, *({"color": color, "value": value} for value, color in steps)]
    defaults: dict[str, Any] = {"mappings": list(mappings), "custom": dict(custom or {})}
    defaults["thresholds"] = {"mode": "absolute", "steps": thresholds}
    if unit:
        defaults["unit"] = _UNITS.get(unit, unit)
    targets = [
        {"refId": chr(ord("A") + n), "datasource": _SOURCE, **language.target(q, alias)} for n, q in enumerate(queries)
    ]
    return {
        "type": kind,
        "title": title,
        "datasource": _SOURCE,
        "gridPos": {"h": height, "w": width},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
        "targets": targets,
    }


def _curves(
    title: str, unit: str, language: Language, queries: Sequence[str], steps: Sequence[tuple[float, str]]
) -> Panel:
    style = {"drawStyle": "line", "lineInterpolation": "linear", "fillOpacity": 0, "spanNulls": False}
    style["thresholdsStyle"] = {"mode": "dashed" if steps else "off"}
    alias = "$tag_device $tag_channel $col"
    return _panel("timeseries", title, language, queries, alias, 9, _WIDTH // 2, unit, (), steps, style)


def _timeline(
    title: str, language: Language, query: str, alias: str, height: int, mappings: Sequence[Mapping[str, Any]]
) -> Panel:
    style = {"fillOpacity": 80, "lineWidth": 0}
    return _panel("state-timeline", title, language, [query], alias, height, _WIDTH, mappings=mappings, custom=style)


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


def _on_off() -> list[dict[str, Any]]:
    return _mapping_of({0: ("OFF", "red"), 1: ("ON", "green")})


def _flags() -> list[dict[str, Any]]:
    return _mapping_of({0: ("no", "#2b2f36"), 1: ("YES", "orange")})
