"""The screen of a furnace: temperature, setpoints, output, program, alarms, power interruptions, the safe state."""

from __future__ import annotations

from typing import Final

from ioc.export.phoebus import bob, parts, supply
from ioc.export.phoebus.bob import Box, Screen
from ioc.export.plant import Device, Plant, Records

_SETTINGS: Final = ("TSET", "RATE", "MODE", "MOUT", "REMOTE")
_BIG: Final = (("TEMP", "Temperature"), ("TWORK", "Working setpoint"), ("OUT", "Output"))


def file(device: Device) -> str:
    """Name of the screen of furnaces of this type."""
    return f"furnace-{device.kind}.bob"


def furnace(plant: Plant, device: Device) -> Screen:
    """Make the screen of furnaces of this type."""
    records = device.records
    place = parts.device_place(plant.prefix)
    to_device = bob.open_display(supply.device_file(device), "All settings", place.macros)
    screen = parts.new_screen("$(DEV) furnace", "$(DEV): furnace", ("Settings", to_device))
    parts.refusals(screen, place, records)
    _big(screen, place, records)
    y = parts.title(screen, "Settings", Box(10, parts.TOP + 118, 620))
    settings = [suffix for suffix in _SETTINGS if suffix in records]
    y = parts.settings_table(screen, place, records, settings, Box(10, y, 620))
    y = _block(screen, place, records, "Program", "TMR:", Box(10, y + 4, 620))
    y = _block(screen, place, records, "Power interruptions", "PWR:", Box(10, y + 4, 620))
    screen.resize(parts.WIDTH, max(parts.HEIGHT, y))
    screen.plot("furnace.plt", Box(650, parts.TOP, 620, 300))
    y = parts.title(screen, "Alarms of the controller", Box(650, parts.TOP + 306, 620))
    y = parts.bits_table(screen, place, records, parts.bits_of(records), Box(650, y, 620), 2)
    if "ACK:CMD" in records:
        parts.command_button(screen, place, "ACK:CMD", records, Box(650, y + 2, 260, 28))
    _safe(screen, place, records, Box(650, y + 40, 620))
    return screen


def _big(screen: Screen, place: parts.Place, records: Records) -> None:
    """Add what is looked at from afar, with bars, and how far it is from where it should be."""
    for number, (suffix, text) in enumerate((s, t) for s, t in _BIG if s in records):
        x = 10 + number * 210
        screen.label(text, Box(x, parts.TOP - 2, 200, 20), bob.FAINT, "Fine Print")
        screen.readback(place.pv(suffix), Box(x, parts.TOP + 20, 200, 34), font="Header 1")
    small = [suffix for suffix in ("TDIFF", "SLOPE", "SETTLED") if suffix in records]
    for number, suffix in enumerate(small):
        area = Box(10 + number % 2 * 315, parts.TOP + 62 + number // 2 * parts.ROW, 300)
        parts.readings_table(screen, place, records, [suffix], area)


def _block(screen: Screen, place: parts.Place, records: Records, name: str, start: str, box: Box) -> int:
    """Add what belongs together by its name: readings in two columns, then commands; returns the next y."""
    own = {suffix: record for suffix, record in records.items() if suffix.startswith(start)}
    if not own:
        return box.y
    y = parts.title(screen, name, box)
    texts = [suffix for suffix in parts.readings_of(own) if own[suffix].rtyp == "lsi"]
    y = parts.readings_in_two(
        screen, place, own, [s for s in parts.readings_of(own) if s not in texts], Box(box.x, y, box.width)
    )
    for suffix in texts:
        screen.readback(place.text_pv(suffix, own), Box(box.x, y, box.width, 58), text=True, align=bob.LEFT)
        y += 64
    return parts.commands(screen, place, own, parts.commands_of(own), Box(box.x, y, box.width))


def _safe(screen: Screen, place: parts.Place, records: Records, box: Box) -> None:
    """Add the way to the safe temperature, and what became of it."""
    if "SAFE:CMD" not in records:
        return
    area = Box(box.x, box.y, 260, 34)
    parts.command_button(screen, place, "SAFE:CMD", records, area, "Go to the safe temperature", bob.DANGER)
    if "SAFE:STATE" in records:
        parts.value(screen, place, "SAFE:STATE", records, Box(box.x + 270, box.y + 4, 120, 26))
    if "SAFE:MSG" in records:
        message = Box(box.x + 400, box.y, box.width - 400, 34)
        screen.readback(place.text_pv("SAFE:MSG", records), message, text=True, align=bob.LEFT)
