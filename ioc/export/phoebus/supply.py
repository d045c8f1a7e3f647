"""Screens of high-voltage supplies: a crate with a row for each channel, and the detail of one channel.

They are made of the signals that all supplies share; what a family has beyond them comes from its records.
"""

from __future__ import annotations

from typing import Final

from ioc.export.phoebus import bob, parts
from ioc.export.phoebus.bob import Box, Screen
from ioc.export.plant import Device, Plant, Records

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


def crate_file(device: Device) -> str:
    """Name of the screen of a supply."""
    return f"{device.name}.bob"


def channel_file(device: Device) -> str:
    """Name of the screen of one channel of supplies of this type."""
    return f"hv-channel-{device.kind}.bob"


def crate(plant: Plant, device: Device) -> Screen:
    """Make the screen of one supply: a row for each channel."""
    place = parts.device_place(plant.prefix, device.name)
    to_device = bob.open_display(device_file(device), "Device", place.macros)
    to_plot = bob.open_display(f"{device.name}-plot.bob", "Plot", place.macros)
    name, title = f"{device.name} {device.title}", f"{device.name}: {device.title}"
    screen = parts.new_screen(name, title, ("Plot", to_plot), ("Device", to_device))
    x = 10
    for suffix, text in _strip(device):
        screen.label(text, Box(x, 44, 120, 32), bob.FAINT, "Fine Print", wrap=True)
        parts.value(screen, place, suffix, device.records, Box(x, 78, 120))
        x += 126
    parts.refusals(screen, place, device.records, 108)
    for name, (left, width) in _COLUMNS.items():
        text = _HEADINGS.get(name, "")
        screen.label(text, Box(10 + left, 136, width, 20), bob.FAINT, "Fine Print", bob.RIGHT)
    for index, channel in enumerate(device.channels):
        macros = {**place.macros, "CH": f"{channel.number:02d}", "ALIAS": channel.alias, "TYPE": device.kind}
        screen.embed(ROW_FILE, Box(10, 158 + index * _ROW_HEIGHT, 1260, _ROW_HEIGHT), macros)
    return parts.fitted(screen, 170 + len(device.channels) * _ROW_HEIGHT)


def _strip(device: Device) -> list[tuple[str, str]]:
    """Return what is shown of the supply as a whole: its link, what protects it, who may write."""
    alarms = {suffix: device.records[suffix].fields["DESC"] for suffix in parts.alarms_of(device.records)}
    state = {"COMM:AGE": "Last answer", "DISABLE": "Maintenance", "READONLY": "Read only", "SIM": "Simulated"}
    return list((alarms | state).items())[:10]


def row(plant: Plant) -> Screen:
    """Make the row of one channel, which crate screens embed; it has the signals that all supplies share."""
    records = next(device.channels[0].records for device in plant.devices if device.supplies)
    place = parts.channel_place(plant.prefix)
    screen = Screen("HV row $(DEV) $(CH)", 1260, _ROW_HEIGHT)
    detail = bob.open_display("hv-channel-$(TYPE).bob", "Channel $(CH)", place.macros)

    def box(name: str, height: int = 22) -> Box:
        left, width = _COLUMNS[name]
        return Box(left, (_ROW_HEIGHT - height) // 2, width, height)

    screen.button("CH $(CH)", box("CH", 26), detail)
    screen.label("$(ALIAS)", box("alias", 30), font="Fine Print", wrap=True)
    parts.value(screen, place, "STATE", records, box("STATE"))
    screen.readback(place.pv("VMON"), box("VMON"))
    screen.bar(place.pv("VMON"), box("bar", 14))
    screen.readback(place.pv("IMON"), box("IMON"))
    screen.entry(place.pv("VSET"), box("VSET", 24))
    screen.entry(place.pv("ISET"), box("ISET", 24))
    parts.switch(screen, place, "ON", box("ON", 26), "$(DEV) channel $(CH) $(ALIAS)")
    parts.value(screen, place, "TRIP", records, box("TRIP"))
    parts.command_button(screen, place, "TRIP:ACK:CMD", records, box("ack", 26), "Ack")
    plot = ("open_data_browser", {"description": "Plot of one hour", "timeframe": "1 hour",
                                  "pv_name": f"{place.pv('VMON')},{place.pv('IMON')}"})  # fmt: skip
    screen.button("...", box("more", 26), detail, plot)
    return screen


def channel(plant: Plant, device: Device) -> Screen:
    """Make the screen of one channel of supplies of this type."""
    records = device.channels[0].records
    place = parts.channel_place(plant.prefix)
    about = parts.device_place(plant.prefix)
    to_device = bob.open_display(device_file(device), "Device", about.macros)
    to_trip = bob.open_display(TRIP_FILE, "Last trip", place.macros)
    title = "$(DEV) channel $(CH) $(ALIAS)"
    screen = parts.new_screen(title, title, ("Last trip", to_trip), ("Device", to_device))
    parts.refusals(screen, about, device.records)
    _output(screen, place, records)
    y = parts.title(screen, "Settings", Box(10, parts.TOP + 122, 620))
    settings = parts.settings_of(
        records, lambda suffix: suffix != "ON" and "MASK" not in suffix and not suffix.startswith("REC:")
    )
    y = parts.settings_table(screen, place, records, settings, Box(10, y, 620))
    y = parts.title(screen, "Trips", Box(10, y + 6, 620))
    trips = [s for s in parts.readings_of(records) if s == "TRIP" or s.startswith("TRIP:")]
    y = parts.readings_in_two(screen, place, records, trips, Box(10, y, 620))
    y = parts.commands(screen, place, records, parts.commands_of(records), Box(10, y + 4, 620))
    screen.plot("hv-channel.plt", Box(650, parts.TOP, 620, 290))
    y = parts.title(screen, "Status", Box(650, parts.TOP + 296, 620))
    y = parts.bits_table(screen, place, records, parts.bits_of(records), Box(650, y, 620), 2)
    rest = [s for s in parts.readings_of(records) if s not in {*trips, *_SHOWN} and not s.startswith("REC:")]
    parts.readings_in_two(screen, place, records, rest, Box(650, y, 620))
    return screen


def trip(plant: Plant) -> Screen:
    """Make the screen of the last trip of a channel, with what was read around it, and of the recovery from trips."""
    records = next(device.channels[0].records for device in plant.devices if device.supplies)
    place = parts.channel_place(plant.prefix)
    title = "$(DEV) channel $(CH) $(ALIAS)"
    screen = parts.new_screen(f"{title} last trip", f"{title}: the last trip")
    seen = [suffix for suffix in records if suffix.startswith("TRIP:") and not suffix.endswith(":CMD")]
    y = parts.readings_in_two(screen, place, records, seen, Box(10, parts.TOP, parts.WIDTH - 20))
    y = parts.title(screen, "Recovery", Box(10, y + 6, parts.WIDTH - 20))
    settings = [suffix for suffix in parts.settings_of(records) if suffix.startswith("REC:")]
    below = parts.settings_table(screen, place, records, settings, Box(10, y, 620))
    found = [suffix for suffix in parts.readings_of(records) if suffix.startswith("REC:")]
    y = max(below, parts.readings_table(screen, place, records, found, Box(650, y, 620)))
    screen.traces("Seconds from the trip", Box(10, y + 6, parts.WIDTH - 20, parts.HEIGHT - y - 16),
                  ("s", place.pv("BBOX:T")), [("V", place.pv("BBOX:V")), ("uA", place.pv("BBOX:I"))])  # fmt: skip
    return screen


_SHOWN: Final = frozenset({"VMON", "IMON", "STATE", "STAT", "EVT"})


def _output(screen: Screen, place: parts.Place, records: Records) -> None:
    """Add what the output does, and its switch."""
    parts.value(screen, place, "STATE", records, Box(10, parts.TOP, 240, 30))
    parts.switch(screen, place, "ON", Box(260, parts.TOP, 160, 30), "$(DEV) channel $(CH) $(ALIAS)")
    for number, (suffix, unit) in enumerate((("VMON", "Voltage"), ("IMON", "Current"))):
        x = 10 + number * 310
        screen.label(unit, Box(x, parts.TOP + 40, 90, 30), font="Header 3")
        screen.readback(place.pv(suffix), Box(x + 90, parts.TOP + 40, 200, 34), font="Header 1")
        screen.bar(place.pv(suffix), Box(x, parts.TOP + 82, 290, 16))


def device_file(device: Device) -> str:
    """Name of the screen with everything about devices of this type: link, identification, settings."""
    return f"device-{device.kind}.bob"


def plots(device: Device) -> Screen:
    """Make the screen with voltages and currents of all channels over time."""
    screen = parts.new_screen(f"{device.name} plot", f"{device.name}: voltages and currents")
    screen.plot(f"{device.name}.plt", Box(0, 44, parts.WIDTH, parts.HEIGHT - 44))
    return screen
