"""Settings to save and restore, as configurations that Phoebus imports (CSV), two for each device.

A restore writes everything at once and in no order. Therefore limits and other settings of experts are in a first set,
and what operators set, which has to be within those limits, in a second. Power, ``ARMED`` and ``DISABLE`` are in none:
their records have the tag ``saveset`` with the value ``-``.
"""

from __future__ import annotations

from collections.abc import Iterator

from ioc.export.plant import Device, Plant, settings

_SETS = (("1-limits", "E", "Limits, ramps and protections: restore these first"),
         ("2-values", "O", "What operators set: restore these when the limits are in force"))  # fmt: skip


def write(plant: Plant) -> dict[str, str]:
    """Return the configurations by file name; a device without such settings has none."""
    files = {}
    for device in plant.devices:
        for name, access, about in _SETS:
            rows = list(_rows(plant, device, access))
            if rows:
                head = [f"{device.name} {name}", "# Description:", about, "# Hierarchy:", f"labioc/{plant.prefix}"]
                lines = ["# SaveSet name:", *(line if line.startswith("#") else f"# {line}" for line in head)]
                text = "\n".join([*lines, "PV,READBACK,READ_ONLY", *rows])
                files[f"{device.name}-{name}.csv"] = text + "\n"
    return files


def _rows(plant: Plant, device: Device, access: str) -> Iterator[str]:
    for one in settings(plant):
        if one.device is device and one.restored and one.record.info.get("access") == access:
            yield f"{one.record.name},{one.readback.name if one.readback else ''},0"
