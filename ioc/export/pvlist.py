"""All PVs of a site as Markdown tables, one for the server and one for each device and channel."""

from __future__ import annotations

from collections.abc import Iterator

from ioc.export.plant import Plant, Records, states

_HEAD = ("PV", "unit or states", "who", "archived", "meaning and what to do")


def write(plant: Plant) -> dict[str, str]:
    """Return the page."""
    lines = [f"# PVs of {plant.prefix}", "", "who may write: R none, O operators and experts, E experts.", ""]
    for name, records in plant.servers.items():
        lines += [f"## {name}", "", *_table(records), ""]
    for device, channel, records in plant.walk():
        name = f"### {device.name} {channel.title}" if channel else f"## {device.name}: {device.title}"
        lines += [name, "", *_table(records), ""]
    for name, records in plant.groups.items():
        lines += [f"## Group {name}", "", *_table(records), ""]
    for name, records in plant.interlocks.items():
        lines += [f"## Interlock {name}", "", *_table(records), ""]
    return {"pvs.md": "\n".join(lines)}


def _table(records: Records) -> Iterator[str]:
    yield f"| {' | '.join(_HEAD)} |"
    yield "|---" * len(_HEAD) + "|"
    for record in records.values():
        unit = record.fields.get("EGU", "") or ", ".join(text for text, _ in states(record) if text)
        names = "<br>".join(f"`{name}`" for name in (record.name, *record.aliases))
        text = ". ".join(filter(None, (record.fields.get("DESC", ""), record.info.get("guidance", ""))))
        cells = names, unit, record.info.get("access", ""), record.info.get("archive", "-"), text
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
