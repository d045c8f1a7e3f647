"""Screens of high-voltage supplies: a crate with a row for each channel, and the detail of one channel.

They are made of the signals that all supplies share; what a family has beyond them comes from its records.
"""

from __future__ import annotations

from typing import Final

from ioc.export.phoebus import bob, parts
from ioc.export.phoebus.bob import Action, Box, Screen
from ioc.export.phoebus.parts import View
from ioc.export.plant import Device, Plant

ROW_FILE: Final = "hv-row.bob"
TRIP_FILE: Final = "hv-trip.bob"
_ROW_HEIGHT: Final = 32
#: Columns of a row: title, x, width.
_COLUMNS: Final = {
    "CH": (0, 66),
    "alias": (70, 190),
    "STATE": (266, 196),
    "VMON": (468, 96),
    "bar": (570, 86),
    "IMON": (662, 106),
    "VSET": (774, 92),
    "ISET": (872, 100),
    "ON": (978, 98),
    "TRIP": (1082, 84),
    "ack": (1172, 44),
    "more": (1220, 36),
}
_HEADINGS: Final = {"VMON": "voltage", "IMON": "current", "VSET": "voltage set", "ISET": "current limit"}
_SHOWN: Final = frozenset({"VMON", "IMON", "STATE", "STAT", "EVT"})
_CHANNEL: Final = "$(DEV):CH$(CH)"
_TITLE: Final = "$(DEV) channel $(CH) $(ALIAS)"


def _to_device(device: Device, **macros: str) -> tuple[str, Action]:
    return "Device", bob.open_display(parts.device_file(device), "Device", macros)


def crate(plant: Plant, device: Device) -> Screen:
    """Make the screen of one supply: a row for each channel."""
    to_plot = bob.open_display(f"{device.name}-plot.bob", "Plot", {"DEV": device.name})
    name, title = f"{device.name} {device.title}", f"{device.name}: {device.title}"
    screen = parts.new_screen(name, title, ("Plot", to_plot), _to_device(device, DEV=device.name))
    view = View(screen, plant.prefix, device.name, device.records)
    # of the supply as a whole: its link, what protects it, who may write
    strip = {suffix: device.records[suffix].fields["DESC"] for suffix in view.alarms}
    strip |= {"COMM:AGE": "Last answer", "DISABLE": "Maintenance", "READONLY": "Read only", "SIM": "Simulated"}
    for number, (suffix, text) in enumerate(list(strip.items())[:10]):
        x = 10 + 126 * number
        screen.caption(text, Box(x, 44, 120, 32), wrap=True)
        view.value(suffix, Box(x, 78, 120))
    view.refusals(108)
    for name, (left, width) in _COLUMNS.items():
        screen.caption(_HEADINGS.get(name, ""), Box(10 + left, 136, width, 20), bob.RIGHT)
    for index, channel in enumerate(device.channels):
        _, macros = parts.screen_of(device, channel)
        box = Box(10, 158 + index * _ROW_HEIGHT, 1260, _ROW_HEIGHT)
        screen.embed(ROW_FILE, box, {**macros, "TYPE": device.kind})
    return parts.fitted(screen, 170 + len(device.channels) * _ROW_HEIGHT)


def row(plant: Plant, device: Device) -> Screen:
    """Make the row of one channel, which crate screens embed; it has the signals that all supplies share."""
    screen = Screen("HV row $(DEV) $(CH)", 1260, _ROW_HEIGHT)
    view = View(screen, plant.prefix, _CHANNEL, device.channels[0].records)
    voltage, current = view.pv("VMON"), view.pv("IMON")
    detail = bob.open_display("hv-channel-$(TYPE).bob", "Channel $(CH)", {})
    plot = "open_data_browser", {
        "description": "Plot of one hour", "timeframe": "1 hour", "pv_name": f"{voltage},{current}",
    }  # fmt: skip

    def box(name: str, height: int = 22) -> Box:
        left, width = _COLUMNS[name]
        return Box(left, (_ROW_HEIGHT - height) // 2, width, height)

    screen.button("CH $(CH)", box("CH", 26), detail)
    screen.label("$(ALIAS)", box("alias", 30), font=bob.FINE_PRINT, wrap=True)
    view.value("STATE", box("STATE"))
    screen.readback(voltage, box("VMON"))
    screen.bar(voltage, box("bar", 14))
    screen.readback(current, box("IMON"))
    screen.entry(view.pv("VSET"), box("VSET", 24))
    screen.entry(view.pv("ISET"), box("ISET", 24))
    view.switch("ON", box("ON", 26), _TITLE)
    view.value("TRIP", box("TRIP"))
    view.command("TRIP:ACK:CMD", box("ack", 26), "Ack")
    screen.button("...", box("more", 26), detail, plot)
    return screen


def channel(plant: Plant, device: Device) -> Screen:
    """Make the screen of one channel of supplies of this type."""
    to_trip = bob.open_display(TRIP_FILE, "Last trip", {})
    screen = parts.new_screen(_TITLE, _TITLE, ("Last trip", to_trip), _to_device(device))
    view = View(screen, plant.prefix, _CHANNEL, device.channels[0].records)
    View(screen, plant.prefix, "$(DEV)", device.records).refusals()
    _output(view)
    y = parts.title(screen, "Settings", Box(10, parts.TOP + 122, 620))
    settings = [s for s in view.settings if s != "ON" and "MASK" not in s and not s.startswith("REC:")]
    y = view.settings_table(settings, Box(10, y, 620))
    y = parts.title(screen, "Trips", Box(10, y + 6, 620))
    trips = [suffix for suffix in view.readings if suffix == "TRIP" or suffix.startswith("TRIP:")]
    y = view.readings_in_two(trips, Box(10, y, 620))
    view.commands_table(Box(10, y + 4, 620))
    screen.plot("hv-channel.plt", Box(650, parts.TOP, 620, 290))
    y = parts.title(screen, "Status", Box(650, parts.TOP + 296, 620))
    y = view.bits_table(Box(650, y, 620))
    rest = [s for s in view.readings if s not in {*trips, *_SHOWN} and not s.startswith("REC:")]
    view.readings_in_two(rest, Box(650, y, 620))
    return screen


def _output(view: View) -> None:
    """Add what the output does, and its switch."""
    view.value("STATE", Box(10, parts.TOP, 240, 30))
    view.switch("ON", Box(260, parts.TOP, 160, 30), _TITLE)
    for x, suffix, text in ((10, "VMON", "Voltage"), (320, "IMON", "Current")):
        view.screen.label(text, Box(x, parts.TOP + 40, 90, 30), font=bob.HEADER_3)
        view.screen.readback(view.pv(suffix), Box(x + 90, parts.TOP + 40, 200, 34), font=bob.HEADER_1)
        view.screen.bar(view.pv(suffix), Box(x, parts.TOP + 82, 290, 16))


def trip(plant: Plant, device: Device) -> Screen:
    """Make the screen of the last trip of a channel, with what was read around it, and of the recovery from trips."""
    screen = parts.new_screen(f"{_TITLE} last trip", f"{_TITLE}: the last trip")
    view = View(screen, plant.prefix, _CHANNEL, device.channels[0].records)
    seen = [suffix for suffix in view.records if suffix.startswith("TRIP:") and not suffix.endswith(":CMD")]
    y = view.readings_in_two(seen, Box(10, parts.TOP, parts.WIDTH - 20))
    y = parts.title(screen, "Recovery", Box(10, y + 6, parts.WIDTH - 20))
    recovery = [suffix for suffix in view.settings if suffix.startswith("REC:")]
    below = view.settings_table(recovery, Box(10, y, 620))
    found = [suffix for suffix in view.readings if suffix.startswith("REC:")]
    y = max(below, view.readings_table(found, Box(650, y, 620)))
    screen.traces("Seconds from the trip", Box(10, y + 6, parts.WIDTH - 20, parts.HEIGHT - y - 16),
                  ("s", view.pv("BBOX:T")), [("V", view.pv("BBOX:V")), ("uA", view.pv("BBOX:I"))])  # fmt: skip
    return screen


def plots(device: Device) -> Screen:
    """Make the screen with voltages and currents of all channels over time."""
    screen = parts.new_screen(f"{device.name} plot", f"{device.name}: voltages and currents")
    screen.plot(f"{device.name}.plt", Box(0, 44, parts.WIDTH, parts.HEIGHT - 44))
    return screen
