"""Screens about the whole site: overview, server and links, the list of alarms, groups, and any one device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ioc.export.phoebus import bob, furnace, parts, supply
from ioc.export.phoebus.bob import Box, Screen
from ioc.export.phoebus.parts import Place
from ioc.export.plant import Device, Plant, Records, states

_LINK: Final = ("COMM", "COMM:AGE", "COMM:RTT", "COMM:ERRORS", "COMM:RECONN", "SCAN:TIME", "SCAN:LATE", "PUT:REFUSED")
_CELLS: Final = 16
_CELL_WIDTH: Final = 34
_MEMBERS: Final = 8
_MEMBER_WIDTH: Final = 157


def main_file(device: Device) -> str:
    """Name of the screen that a device is looked at with."""
    if device.supplies:
        return supply.crate_file(device)
    return furnace.file(device) if device.heats else supply.device_file(device)


def group_file(name: str) -> str:
    """Name of the screen of a group."""
    return f"group-{name}.bob"


def overview(plant: Plant) -> Screen:
    """Make the screen to start with: a row for each device, the server, the archiver, and everything off."""
    screen = parts.new_screen(f"{plant.prefix} overview", f"{plant.prefix} overview")
    y = _servers(screen, plant, 48)
    supplies = [device for device in plant.devices if device.supplies]
    furnaces = [device for device in plant.devices if device.heats]
    others = [device for device in plant.devices if device not in supplies and device not in furnaces]
    if supplies:
        heads = {0: "high voltage", 116: "link", 176: "protection", 262: "channels: on", 346: "ramping", 430: "tripped"}
        y = _headings(screen, {**heads, 516: "state of each channel (number), press for its screen", 1070: "worst"}, y)
    for device in supplies:
        y = _crate_row(screen, plant, device, y)
    if furnaces:
        heads = {0: "furnace", 116: "link", 176: "temperature", 296: "setpoint", 416: "working setpoint"}
        heads |= {536: "output", 656: "mode", 876: "power failures", 1070: "worst"}
        if any("TMR:STATE" in device.records for device in furnaces):
            heads[756] = "program"
        y = _headings(screen, dict(sorted(heads.items())), y + 10)
    for device in furnaces:
        y = _furnace_row(screen, plant, device, y)
    for device in others:
        y = _other_row(screen, plant, device, y)
    if plant.groups:
        y = _headings(screen, {0: "group"}, y + 10)
    for name in plant.groups:
        y = _group_row(screen, plant, name, y)
    return _ending(screen, plant, y)


def _headings(screen: Screen, texts: dict[int, str], y: int) -> int:
    places = [*texts, parts.WIDTH - 20]
    for index, (x, text) in enumerate(texts.items()):
        screen.label(text, Box(10 + x, y, places[index + 1] - x - 8, 18), bob.FAINT, "Fine Print")
    return y + 22


def _servers(screen: Screen, plant: Plant, y: int) -> int:
    """Add a line for each server; the first one has the button for everything off, where the site has it."""
    for number, (name, records) in enumerate(plant.servers.items()):
        place = parts.device_place(plant.prefix, name)
        screen.label(name, Box(10, y, 110), font="Default Bold")
        x = 126
        for suffix, text, width in (
            ("HEARTBEAT", "alive", 90), ("ARMED", "writes", 100), ("LAG", "lag", 90), ("UPTIME", "up", 140),
            ("VERSION", "release", 110),
        ):  # fmt: skip
            screen.label(text, Box(x, y, 50), bob.FAINT, "Fine Print", bob.RIGHT)
            parts.value(screen, place, suffix, records, Box(x + 54, y, width))
            x += 62 + width
        if number == 0 and (suffixes := _all_off(plant)):
            pvs = [f"{parts.prefix_macro(plant.prefix)}:{suffix}" for suffix in suffixes]
            actions = [bob.write_pv(pv, "0", "HV OFF ALL") for pv in pvs]
            screen.button("HV OFF ALL", Box(1110, y - 2, 160, 34), *actions, together=True,
                          confirm="Switch every high-voltage output of the site off?", color=bob.DANGER)  # fmt: skip
        y += 28
    return y + 12


def _all_off(plant: Plant) -> list[str]:
    """Return the PV of each server that switches all its outputs off, without the prefix."""
    groups = (plant.all_off(server) for server in plant.servers)
    return [f"GRP:{name}:GO" for name, records in groups if records]


def _name(screen: Screen, plant: Plant, device: Device, y: int) -> Place:
    place = parts.device_place(plant.prefix, device.name)
    screen.button(device.name, Box(10, y, 108, 26), bob.open_display(main_file(device), device.name, place.macros))
    parts.value(screen, place, "COMM", device.records, Box(126, y + 2, 54))
    return place


def _crate_row(screen: Screen, plant: Plant, device: Device, y: int) -> int:
    place = _name(screen, plant, device, y)
    guards = [suffix for suffix in parts.alarms_of(device.records) if suffix != "COMM"]
    if guards:
        screen.worst([place.pv(suffix) for suffix in guards], Box(186, y + 2, 78))
    channels = [f"CH{channel.number:02d}" for channel in device.channels]
    for x, suffix, text, color in (
        (272, "ON:RBV", "on", bob.ON), (356, "MOVING", "ramping", bob.ATTENTION), (440, "TRIP", "tripped", bob.MAJOR),
    ):  # fmt: skip
        screen.count([place.pv(f"{channel}:{suffix}") for channel in channels], text, Box(x, y + 2, 80), color)
    alarms = ["COMM", *guards, *(f"{channel}:{suffix}" for channel in channels for suffix in ("TRIP", "STATE"))]
    screen.worst([place.pv(suffix) for suffix in alarms], Box(1080, y + 2, 80))
    for index, channel in enumerate(device.channels):
        line, column = divmod(index, _CELLS)
        box = Box(526 + column * _CELL_WIDTH, y + line * 30, _CELL_WIDTH - 8, 26)
        macros = {**place.macros, "CH": f"{channel.number:02d}", "ALIAS": channel.alias}
        action = bob.open_display(supply.channel_file(device), channel.title, macros)
        screen.cell(str(channel.number), place.pv(f"{channels[index]}:STATE"), box, action,
                    parts.colors(channel.records["STATE"]))  # fmt: skip
    return y + 32 * max(1, -(-len(channels) // _CELLS)) + 2


def _furnace_row(screen: Screen, plant: Plant, device: Device, y: int) -> int:
    place = _name(screen, plant, device, y)
    columns = {"TEMP": (186, 112), "TSET:RBV": (306, 112), "TWORK": (426, 112), "OUT": (546, 112),
               "MODE:RBV": (666, 92), "TMR:STATE": (766, 112), "PWR:COUNT": (886, 60)}  # fmt: skip
    for suffix, (x, width) in columns.items():
        if suffix in device.records:
            parts.value(screen, place, suffix, device.records, Box(x, y + 2, width))
    return _worst(screen, place, device, y)


def _worst(screen: Screen, place: Place, device: Device, y: int) -> int:
    """Add the worst alarm of a device at the end of its row; returns the next y."""
    screen.worst([place.pv(suffix) for suffix in parts.alarms_of(device.records)], Box(1080, y + 2, 80))
    return y + 34


def _other_row(screen: Screen, plant: Plant, device: Device, y: int) -> int:
    """Add a device that is neither supply nor furnace: what its template calls the core of it."""
    place = _name(screen, plant, device, y)
    x = 186
    for suffix, record in device.records.items():
        if "core" in record.info and x < 1000:
            parts.value(screen, place, suffix, device.records, Box(x, y + 2, 112))
            x += 120
    return _worst(screen, place, device, y)


def _group_row(screen: Screen, plant: Plant, name: str, y: int) -> int:
    """Add a group: what it is doing, and a button for each place it can go to.

    That which switches everything off has its button beside the servers.
    """
    records = plant.groups[name]
    place = parts.device_place(plant.prefix, f"GRP:{name}")
    opening = bob.open_display(group_file(name), name, {})
    screen.button(name, Box(10, y, 170, 26), opening)
    x = 190
    for suffix in ("STATE", "PROGRESS"):
        if suffix in records:
            parts.value(screen, place, suffix, records, Box(x, y + 2, 110))
            x += 118
    if f"GRP:{name}:GO" not in _all_off(plant):
        x = _go(screen, place, records, name, Box(x, y, 100, 26))
    if "MSG" in records and x < parts.WIDTH - 300:
        message = Box(x, y + 2, parts.WIDTH - 10 - x)
        screen.readback(place.text_pv("MSG", records), message, text=True, align=bob.LEFT)
    return y + 34


def _go(screen: Screen, place: Place, records: Records, name: str, box: Box) -> int:
    """Add a button for each place that a group can go to; returns the next x."""
    x = box.x
    for number, (text, _) in enumerate(states(records["GO"])):
        if text and text != "-":
            action = bob.write_pv(place.pv("GO"), str(number), text)
            area = Box(x, box.y, box.width, box.height)
            screen.button(text, area, action, confirm=f"Group {name}: go to {text}?", pv=place.pv("GO"))
            x += box.width + 6
    return x


def group(plant: Plant, name: str) -> Screen:
    """Make the screen of a group: where it goes, what that would do, how far it is, and its members."""
    records = plant.groups[name]
    place = parts.device_place(plant.prefix, f"GRP:{name}")
    screen = parts.new_screen(f"Group {name}", f"Group {name}")
    _go(screen, place, records, name, Box(10, 52, 120, 34))
    readings = [suffix for suffix in parts.readings_of(records) if suffix != "PLAN:MSG"]
    y = parts.readings_table(screen, place, records, readings, Box(10, 104, 1260), 220)
    y = parts.commands(screen, place, records, parts.commands_of(records), Box(10, y + 6, 1260))
    if "PLAN:MSG" in records:
        y = parts.title(screen, records["PLAN:MSG"].fields["DESC"], Box(10, y + 6, 600))
        screen.readback(place.text_pv("PLAN:MSG", records), Box(10, y, 1260, 110), text=True, align=bob.LEFT)
        y = _members(screen, plant, name, y + 120)
    return parts.fitted(screen, y)


def _members(screen: Screen, plant: Plant, name: str, y: int) -> int:
    """Add a cell for each member of a group in the colour of its state, which opens its screen; returns the next y."""
    members = next((one.members for part in plant.parts for one in part.groups if one.name == name), {})
    y = parts.title(screen, "Members, press for their screens", Box(10, y, 600))
    index = 0
    for device, channel, records in plant.walk():
        base = f"{device.name}:CH{channel.number:02d}" if channel is not None else device.name
        if base not in members:
            continue
        line, column = divmod(index, _MEMBERS)
        box = Box(10 + column * _MEMBER_WIDTH, y + line * 30, _MEMBER_WIDTH - 8, 26)
        place = parts.device_place(plant.prefix, base)
        macros = {"DEV": device.name}
        if channel is None:
            action = bob.open_display(main_file(device), base, macros)
        else:
            macros |= {"CH": f"{channel.number:02d}", "ALIAS": channel.alias}
            action = bob.open_display(supply.channel_file(device), channel.title, macros)
        shown = "STATE" if "STATE" in records else "SETTLED"
        screen.cell(members[base].title, place.pv(shown), box, action, parts.colors(records[shown]))
        index += 1
    return y + 30 * -(-index // _MEMBERS)


def _ending(screen: Screen, plant: Plant, y: int) -> Screen:
    """Add interlocks and archivers below everything else."""
    if plant.interlocks:
        titles = {0: "interlock", 180: "condition", 426: "bypassed", 524: "input, value and limit"}
        y = _headings(screen, titles, y + 10)
    for name in plant.interlocks:
        y = _interlock_row(screen, plant, name, y)
    return parts.fitted(screen, _archivers(screen, plant, y))


def _interlock_row(screen: Screen, plant: Plant, name: str, y: int) -> int:
    """Add an interlock: whether it is OK and why not, its acknowledgement and its bypass."""
    records = plant.interlocks[name]
    place = parts.device_place(plant.prefix, f"ILK:{name}")
    screen.label(name, Box(10, y, 170, 26), font="Default Bold")
    parts.value(screen, place, "OK", records, Box(190, y + 2, 110))
    parts.command_button(screen, place, "ACK:CMD", records, Box(308, y, 120, 26), "ACK")
    parts.control(screen, place, "BYPASS", records, Box(436, y, 90, 26))
    screen.readback(place.text_pv("MSG", records), Box(534, y + 2, parts.WIDTH - 544), text=True, align=bob.LEFT)
    return y + 34


def _archivers(screen: Screen, plant: Plant, y: int) -> int:
    """Add the bridges to the databases, where the site has them."""
    for name, records in plant.archivers.items():
        place = parts.device_place(plant.prefix, name)
        shard = name.rpartition(":")[0].lower()
        screen.label(f"archiver {shard}".strip(), Box(10, y + 24, 114), font="Default Bold")
        values = [suffix for suffix in records if suffix != "MSG"]
        step = (parts.WIDTH - 136) // len(values)
        for number, suffix in enumerate(values):
            x = 126 + number * step
            screen.label(suffix.lower(), Box(x, y + 4, step - 8, 18), bob.FAINT, "Fine Print")
            parts.value(screen, place, suffix, records, Box(x, y + 24, step - 8))
        message = Box(126, y + 52, parts.WIDTH - 136)
        screen.readback(place.text_pv("MSG", records), message, text=True, align=bob.LEFT)
        y += 80
    return y


def server(plant: Plant) -> Screen:
    """Make the screen of the servers and of the links to all devices."""
    screen = parts.new_screen(f"{plant.prefix} server", f"{plant.prefix} server and links")
    y = 52
    for name, records in plant.servers.items():
        place = parts.device_place(plant.prefix, name)
        y = parts.title(screen, name, Box(10, y, 600))
        y = _columns(screen, place, records, [s for s in parts.readings_of(records) if s != "PUTS"], y, 3)
        screen.label("Last accepted put", Box(10, y, 130), bob.FAINT, "Fine Print")
        screen.readback(place.text_pv("PUTS", records), Box(144, y, 820), text=True, align=bob.LEFT)
        parts.control(screen, place, "ARMED", records, Box(980, y, 150))
        y += 36
    y = parts.title(screen, "Links", Box(10, y, 600))
    heads = ["device", *(plant.devices[0].records[suffix].fields["DESC"] for suffix in _LINK), "Maintenance"]
    for column, text in enumerate(heads):
        screen.label(text, Box(10 + column * 126, y, 120, 34), bob.FAINT, "Fine Print", wrap=True)
    y += 38
    for device in plant.devices:
        place = parts.device_place(plant.prefix, device.name)
        opening = bob.open_display(supply.device_file(device), device.name, place.macros)
        screen.button(device.name, Box(10, y, 120, 24), opening)
        for column, suffix in enumerate(_LINK, 1):
            parts.value(screen, place, suffix, device.records, Box(10 + column * 126, y + 1, 120))
        parts.control(screen, place, "DISABLE", device.records, Box(10 + 9 * 126, y + 1, 120))
        y += parts.ROW
    return _ending(screen, plant, y)


def device(plant: Plant, one: Device) -> Screen:
    """Make the screen with everything about devices of this type: link, readings, settings, commands."""
    records = one.records
    place = parts.device_place(plant.prefix)
    screen = parts.new_screen("$(DEV)", f"$(DEV): {one.title}")
    parts.refusals(screen, place, records)
    screen.label("Last link error", Box(10, 78, 130), bob.FAINT, "Fine Print")
    screen.readback(place.text_pv("COMM:MSG", records), Box(144, 78, 1126, 24), text=True, align=bob.LEFT)
    texts = {"PUT:MSG", "COMM:MSG"}
    y = parts.title(screen, "Readings", Box(10, 110, 600))
    y = _columns(screen, place, records, [s for s in parts.readings_of(records) if s not in texts], y, 3)
    settings = parts.settings_of(records)
    if settings:
        y = parts.title(screen, "Settings", Box(10, y + 8, 600))
        half = -(-len(settings) // 2)
        sides = (settings[:half], settings[half:])
        y = max(parts.settings_table(screen, place, records, part, Box(10 + side * 640, y, 620))
                for side, part in enumerate(sides) if part)  # fmt: skip
    y = parts.commands(screen, place, records, parts.commands_of(records), Box(10, y + 8, 1260))
    return parts.fitted(screen, y)


def _columns(screen: Screen, place: Place, records: Records, suffixes: Sequence[str], y: int, columns: int) -> int:
    """Add readings in columns, long texts below in full width; returns the next y."""
    long = [suffix for suffix in suffixes if records[suffix].rtyp == "lsi"]
    short = [suffix for suffix in suffixes if suffix not in long]
    height = -(-len(short) // columns)
    width = 1260 // columns
    for column in range(columns):
        part = short[column * height : (column + 1) * height]
        parts.readings_table(screen, place, records, part, Box(10 + column * width, y, width - 14), 240)
    return parts.readings_table(screen, place, records, long, Box(10, y + height * parts.ROW, 1246), 240)


def alarm_list(plant: Plant) -> Screen:
    """Make the list of all PVs that an alarm tree has, in the order of the tree."""
    screen = parts.new_screen(f"{plant.prefix} alarms", f"{plant.prefix} alarms")
    rows: list[tuple[str, Place, str, Records]] = []
    for name, records in plant.servers.items():
        place = parts.device_place(plant.prefix, name)
        rows += [(name, place, suffix, records) for suffix in parts.alarms_of(records)]
        group, own = plant.all_off(name)
        place = parts.device_place(plant.prefix, f"GRP:{group}")
        rows += [(group, place, suffix, own) for suffix in parts.alarms_of(own)]
    for one, channel, records in plant.walk():
        inner = f"{one.name}:CH{channel.number:02d}" if channel else one.name
        place = parts.device_place(plant.prefix, inner)
        name = f"{one.name} {channel.title}" if channel else one.name
        rows += [(name, place, suffix, records) for suffix in parts.alarms_of(records)]
    height = -(-len(rows) // 3)
    for index, (name, place, suffix, records) in enumerate(rows):
        column, line = divmod(index, height)
        x, y = 10 + column * 424, 50 + line * 34
        screen.label(f"{name} {suffix}", Box(x, y, 230, 32), font="Fine Print", wrap=True)
        parts.value(screen, place, suffix, records, Box(x + 234, y + 5, 176))
    return parts.fitted(screen, 50 + height * 34)
