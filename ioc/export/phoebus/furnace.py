"""The screen of a furnace: temperature, setpoints, output, program, alarms, power interruptions, the safe state."""

from __future__ import annotations

from typing import Final

from ioc.export.phoebus import bob, parts
from ioc.export.phoebus.bob import Box, Screen
from ioc.export.phoebus.parts import View
from ioc.export.plant import Device, Plant

_SETTINGS: Final = ("TSET", "RATE", "MODE", "MOUT", "REMOTE")
_BIG: Final = {"TEMP": "Temperature", "TWORK": "Working setpoint", "OUT": "Output"}
_SMALL: Final = ("TDIFF", "SLOPE", "SETTLED")


def furnace(plant: Plant, device: Device) -> Screen:
    """Make the screen of furnaces of this type."""
    to_device = bob.open_display(parts.device_file(device), "All settings", {})
    screen = parts.new_screen("$(DEV) furnace", "$(DEV): furnace", ("Settings", to_device))
    view = View(screen, plant.prefix, "$(DEV)", device.records)
    view.refusals()
    _big(view)
    y = parts.title(screen, "Settings", Box(10, parts.TOP + 118, 620))
    y = view.settings_table([suffix for suffix in _SETTINGS if suffix in view.records], Box(10, y, 620))
    for name, start in (("Program", "TMR:"), ("Power interruptions", "PWR:")):
        own = {suffix: record for suffix, record in view.records.items() if suffix.startswith(start)}
        y = _block(View(screen, plant.prefix, "$(DEV)", own), name, Box(10, y + 4, 620))
    screen.resize(max(parts.HEIGHT, y))
    screen.plot("furnace.plt", Box(650, parts.TOP, 620, 300))
    y = parts.title(screen, "Alarms of the controller", Box(650, parts.TOP + 306, 620))
    y = view.bits_table(Box(650, y, 620))
    if "ACK:CMD" in view.records:
        view.command("ACK:CMD", Box(650, y + 2, 260, 28))
    _safe(view, Box(650, y + 40, 620))
    return screen


def _big(view: View) -> None:
    """Add what is looked at from afar, and below it how far it is from where it should be."""
    for number, suffix in enumerate(suffix for suffix in _BIG if suffix in view.records):
        x = 10 + number * 210
        view.screen.caption(_BIG[suffix], Box(x, parts.TOP - 2, 200, 20))
        view.screen.readback(view.pv(suffix), Box(x, parts.TOP + 20, 200, 34), font=bob.HEADER_1)
    for number, suffix in enumerate(suffix for suffix in _SMALL if suffix in view.records):
        area = Box(10 + number % 2 * 315, parts.TOP + 62 + number // 2 * parts.ROW, 300)
        view.readings_table([suffix], area)


def _block(view: View, name: str, box: Box) -> int:
    """Add what belongs together: readings in two columns, then commands; returns the next y."""
    if not view.records:
        return box.y
    y = parts.title(view.screen, name, box)
    texts = [suffix for suffix in view.readings if view.records[suffix].rtyp == "lsi"]
    values = [suffix for suffix in view.readings if suffix not in texts]
    y = view.readings_in_two(values, Box(box.x, y, box.width))
    for suffix in texts:
        view.value(suffix, Box(box.x, y, box.width, 58))
        y += 64
    return view.commands_table(Box(box.x, y, box.width))


def _safe(view: View, box: Box) -> None:
    """Add the way to the safe temperature, and what became of it."""
    if "SAFE:CMD" not in view.records:
        return
    view.command("SAFE:CMD", Box(box.x, box.y, 260, 34), "Go to the safe temperature", bob.DANGER)
    if "SAFE:STATE" in view.records:
        view.value("SAFE:STATE", Box(box.x + 270, box.y + 4, 120, 26))
    if "SAFE:MSG" in view.records:
        view.value("SAFE:MSG", Box(box.x + 400, box.y, box.width - 400, 34))
