"""The tables of ``labioc top``: which PVs stand in which row and column. Made from the database, without I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ioc.export.plant import Device, Plant, Records

NAME, ALARM, TREND = "name", "alarm", "trend"
"""Columns that every table has."""

CHANNELS, FURNACES, LINKS = "Channels", "Furnaces", "Links"
"""Titles of the tables."""

_CHANNEL_COLUMNS = {
    "state": "STATE", "V": "VMON", "I": "IMON", "set": "VSET", "on": "ON",
}  # fmt: skip
_FURNACE_COLUMNS = {
    "T": "TEMP", "setpoint": "TWORK", "target": "TSET", "output": "OUT", "mode": "MODE", "program": "TMR:STATE",
}  # fmt: skip
_LINK_COLUMNS = {
    "state": "COMM", "age, lag": "COMM:AGE", "errors, lost": "COMM:ERRORS", "reconnected": "COMM:RECONN",
    "message": "COMM:MSG",
}  # fmt: skip
_ARCHIVER_COLUMNS = {"state": "STATE", "age, lag": "LAG", "errors, lost": "LOST", "message": "MSG"}
_SERVER_COLUMNS = {"state": "ARMED", "age, lag": "LAG", "message": "PUTS"}

_NOT_SHOWN = frozenset({"waveform", "aai", "aao", "compress"})
"""Record types that are no single line."""


@dataclass(frozen=True, slots=True)
class Row:
    """One channel, furnace or link: ``cells`` are PVs by column, ``details`` those that are shown when it is chosen.

    ``setting`` and ``switch`` are the PVs that keys write; empty where there are none.
    """

    name: str
    alias: str
    cells: Mapping[str, str]
    trend: str
    details: Sequence[str]
    setting: str = ""
    switch: str = ""

    def pvs(self) -> Iterator[str]:
        """Yield the PVs that are followed all the time."""
        yield from self.cells.values()
        yield self.trend


@dataclass(frozen=True, slots=True)
class Table:
    """A table; ``columns`` are those between name and alarm."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row] = field(default_factory=list)

    @property
    def with_alias(self) -> bool:
        """Whether any of its rows has a second name."""
        return any(row.alias for row in self.rows)


def tables(plant: Plant) -> list[Table]:
    """Return the tables of a site that have rows: channels, furnaces, and links with servers and archiver."""
    channels = [_channel(device, number) for device in plant.devices for number in range(len(device.channels))]
    furnaces = [
        _row(device.name, "", device.records, _FURNACE_COLUMNS, "TEMP", setting="TSET")
        for device in plant.devices
        if device.heats
    ]
    links = [_row(device.name, "", device.records, _LINK_COLUMNS, "COMM:RTT") for device in plant.devices]
    links += [_row(name, "", records, _SERVER_COLUMNS, "LAG") for name, records in plant.servers.items()]
    links += [_row(name, "", records, _ARCHIVER_COLUMNS, "RATE") for name, records in plant.archivers.items()]
    found = [
        Table(CHANNELS, list(_CHANNEL_COLUMNS), channels),
        Table(FURNACES, list(_FURNACE_COLUMNS), furnaces),
        Table(LINKS, list(_LINK_COLUMNS), links),
    ]
    return [table for table in found if table.rows]


def _channel(device: Device, index: int) -> Row:
    channel = device.channels[index]
    name = f"{device.name}.{channel.number}"
    return _row(name, channel.alias, channel.records, _CHANNEL_COLUMNS, "VMON", setting="VSET", switch="ON")


def _row(
    name: str,
    alias: str,
    records: Records,
    columns: Mapping[str, str],
    trend: str,
    setting: str = "",
    switch: str = "",
) -> Row:
    def pv(suffix: str) -> str:
        return records[suffix].name if suffix in records else ""

    cells = {column: pv(suffix) for column, suffix in columns.items() if suffix in records}
    details = [
        record.name
        for suffix, record in records.items()
        if record.rtyp not in _NOT_SHOWN and not suffix.endswith(":CMD")
    ]
    return Row(name, alias, cells, pv(trend) or next(iter(cells.values()), ""), details, pv(setting), pv(switch))
