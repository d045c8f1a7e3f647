"""Screens about the whole site: overview, server and links, the list of alarms, groups, and any one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ioc.export.phoebus import bob, parts
from ioc.export.phoebus.bob import Box, Screen
from ioc.export.phoebus.parts import View
from ioc.export.plant import Device, Plant, name_of, states, words_for

_LINK: Final = ("COMM", "COMM:AGE", "COMM:RTT", "COMM:ERRORS", "COMM:RECONN", "SCAN:TIME", "SCAN:LATE", "PUT:REFUSED")
_CELLS: Final = 16
_CELL_WIDTH: Final = 34
_MEMBERS: Final = 8
_MEMBER_WIDTH: Final = 157

_SUPPLY_HEADS: Final = {
    0: "high voltage", 116: "link", 176: "protection", 262: "channels: on", 346: "ramping", 430: "tripped",
    516: "state of each channel (number), press for its screen", 1070: "worst",
}  # fmt: skip
_FURNACE_COLUMNS: Final = {
    "TEMP": (176, 112, "temperature"),
    "TSET:RBV": (296, 112, "setpoint"),
    "TWORK": (416, 112, "working setpoint"),
    "OUT": (536, 112, "output"),
    "MODE:RBV": (656, 92, "mode"),
    "TMR:STATE": (756, 112, "program"),
    "PWR:COUNT": (876, 60, "power failures"),
}
"""Columns of a furnace: x, width and heading."""


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
        y = _headings(screen, _SUPPLY_HEADS, y)
    for device in supplies:
        y = _crate_row(screen, plant, device, y)
    if furnaces:
        programs = any("TMR:STATE" in device.records for device in furnaces)
        columns = {x: text for suffix, (x, _, text) in _FURNACE_COLUMNS.items() if programs or suffix != "TMR:STATE"}
        y = _headings(screen, {0: "furnace", 116: "link", **columns, 1070: "worst"}, y + 10)
    for device in furnaces:
        shown = {s: Box(10 + x, y + 2, width) for s, (x, width, _) in _FURNACE_COLUMNS.items() if s in device.records}
        y = _device_row(screen, plant, device, shown, y)
    for device in others:  # what its template calls the core of it
        core = [suffix for suffix, record in device.records.items() if "core" in record.info][:7]
        shown = {suffix: Box(186 + 120 * index, y + 2, 112) for index, suffix in enumerate(core)}
        y = _device_row(screen, plant, device, shown, y)
    if plant.groups:
        y = _headings(screen, {0: "group"}, y + 10)
    for name in plant.groups:
        y = _group_row(screen, plant, name, y)
    return _ending(screen, plant, y)


def _headings(screen: Screen, texts: Mapping[int, str], y: int) -> int:
    places = [*texts, parts.WIDTH - 20]
    for index, (x, text) in enumerate(texts.items()):
        screen.caption(text, Box(10 + x, y, places[index + 1] - x - 8, 18))
    return y + 22


def _servers(screen: Screen, plant: Plant, y: int) -> int:
    """Add a line for each server; the first one has the button for everything off, where the site has it."""
    for number, (name, records) in enumerate(plant.servers.items()):
        view = View(screen, plant.prefix, name, records)
        screen.label(name, Box(10, y, 110), font=bob.BOLD)
        x = 126
        for suffix, text, width in (
            ("HEARTBEAT", "alive", 90), ("ARMED", "writes", 100), ("LAG", "lag", 90), ("UPTIME", "up", 140),
            ("VERSION", "release", 110),
        ):  # fmt: skip
            screen.caption(text, Box(x, y, 50), bob.RIGHT)
            view.value(suffix, Box(x + 54, y, width))
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


def _name(view: View, device: Device, y: int) -> None:
    """Begin the row of a device: its name, which opens its screen, and its link."""
    view.screen.button(device.name, Box(10, y, 108, 26), parts.opening(device))
    view.value("COMM", Box(126, y + 2, 54))


def _crate_row(screen: Screen, plant: Plant, device: Device, y: int) -> int:
    view = View(screen, plant.prefix, device.name, device.records)
    _name(view, device, y)
    guards = [suffix for suffix in view.alarms if suffix != "COMM"]
    if guards:
        screen.worst([view.pv(suffix) for suffix in guards], Box(186, y + 2, 78))
    channels = [channel.key for channel in device.channels]
    for x, suffix, text, color in (
        (272, "ON:RBV", "on", bob.ON), (356, "MOVING", "ramping", bob.ATTENTION), (440, "TRIP", "tripped", bob.MAJOR),
    ):  # fmt: skip
        screen.count([view.pv(f"{channel}:{suffix}") for channel in channels], text, Box(x, y + 2, 80), color)
    alarms = ["COMM", *guards, *(f"{channel}:{suffix}" for channel in channels for suffix in ("TRIP", "STATE"))]
    screen.worst([view.pv(suffix) for suffix in alarms], Box(1080, y + 2, 80))
    for index, channel in enumerate(device.channels):
        line, column = divmod(index, _CELLS)
        box = Box(526 + column * _CELL_WIDTH, y + line * 30, _CELL_WIDTH - 8, 26)
        screen.cell(str(channel.number), view.pv(f"{channels[index]}:STATE"), box, parts.opening(device, channel),
                    parts.colors(channel.records["STATE"]))  # fmt: skip
    return y + 32 * max(1, -(-len(channels) // _CELLS)) + 2


def _device_row(screen: Screen, plant: Plant, device: Device, shown: Mapping[str, Box], y: int) -> int:
    """Add a device with some of its values, and its worst alarm at the end."""
    view = View(screen, plant.prefix, device.name, device.records)
    _name(view, device, y)
    for suffix, box in shown.items():
        view.value(suffix, box)
    screen.worst([view.pv(suffix) for suffix in view.alarms], Box(1080, y + 2, 80))
    return y + 34


def _group_row(screen: Screen, plant: Plant, name: str, y: int) -> int:
    """Add a group: what it is doing, and a button for each place it can go to.

    That which switches everything off has its button beside the servers.
    """
    view = View(screen, plant.prefix, f"GRP:{name}", plant.groups[name])
    screen.button(name, Box(10, y, 170, 26), bob.open_display(group_file(name), name, {}))
    x = 190
    for suffix in ("STATE", "PROGRESS"):
        if suffix in view.records:
            view.value(suffix, Box(x, y + 2, 110))
            x += 118
    if f"GRP:{name}:GO" not in _all_off(plant):
        x = _go(view, name, Box(x, y, 100, 26))
    if "MSG" in view.records and x < parts.WIDTH - 300:
        view.value("MSG", Box(x, y + 2, parts.WIDTH - 10 - x))
    return y + 34


def _go(view: View, name: str, box: Box) -> int:
    """Add a button for each place that a group can go to; returns the next x."""
    x, pv = box.x, view.pv("GO")
    for number, (text, _) in enumerate(states(view.records["GO"])):
        if text and text != "-":
            action = bob.write_pv(pv, str(number), text)
            area = Box(x, box.y, box.width, box.height)
            view.screen.button(text, area, action, confirm=f"Group {name}: go to {text}?", pv=pv)
            x += box.width + 6
    return x


def group(plant: Plant, name: str) -> Screen:
    """Make the screen of a group: where it goes, what that would do, how far it is, and its members."""
    screen = parts.new_screen(f"Group {name}", f"Group {name}")
    view = View(screen, plant.prefix, f"GRP:{name}", plant.groups[name])
    _go(view, name, Box(10, 52, 120, 34))
    y = view.readings_table([suffix for suffix in view.readings if suffix != "PLAN:MSG"], Box(10, 104, 1260), 220)
    y = view.commands_table(Box(10, y + 6, 1260))
    if "PLAN:MSG" in view.records:
        y = parts.title(screen, view.records["PLAN:MSG"].fields["DESC"], Box(10, y + 6, 600))
        view.value("PLAN:MSG", Box(10, y, 1260, 110))
        y = _members(screen, plant, name, y + 120)
    return parts.fitted(screen, y)


def _members(screen: Screen, plant: Plant, name: str, y: int) -> int:
    """Add a cell for each member of a group in the colour of its state, which opens its screen; returns the next y."""
    members = next((one.members for part in plant.parts for one in part.groups if one.name == name), {})
    y = parts.title(screen, "Members, press for their screens", Box(10, y, 600))
    index = 0
    for device, channel, records in plant.walk():
        base = name_of(device, channel)
        if base not in members:
            continue
        line, column = divmod(index, _MEMBERS)
        box = Box(10 + column * _MEMBER_WIDTH, y + line * 30, _MEMBER_WIDTH - 8, 26)
        shown = "STATE" if "STATE" in records else "SETTLED"
        pv = View(screen, plant.prefix, base, records).pv(shown)
        screen.cell(members[base].title, pv, box, parts.opening(device, channel), parts.colors(records[shown]))
        index += 1
    return y + 30 * -(-index // _MEMBERS)


def _ending(screen: Screen, plant: Plant, y: int) -> Screen:
    """Add interlocks and archivers below everything else."""
    if plant.interlocks:
        titles = {0: "interlock", 180: "condition", 426: "bypassed", 524: "input, value and limit"}
        y = _headings(screen, titles, y + 10)
    for name, records in plant.interlocks.items():
        view = View(screen, plant.prefix, f"ILK:{name}", records)
        screen.label(name, Box(10, y, 170, 26), font=bob.BOLD)
        view.value("OK", Box(190, y + 2, 110))
        view.command("ACK:CMD", Box(308, y, 120, 26), "ACK")
        view.control("BYPASS", Box(436, y, 90, 26))
        view.value("MSG", Box(534, y + 2, parts.WIDTH - 544))
        y += 34
    return parts.fitted(screen, _archivers(screen, plant, y))


def _archivers(screen: Screen, plant: Plant, y: int) -> int:
    """Add the bridges to the databases, where the site has them."""
    for name, records in plant.archivers.items():
        view = View(screen, plant.prefix, name, records)
        shard = name.rpartition(":")[0].lower()
        screen.label(f"archiver {shard}".strip(), Box(10, y + 24, 114), font=bob.BOLD)
        values = [suffix for suffix in records if suffix != "MSG"]
        step = (parts.WIDTH - 136) // len(values)
        for number, suffix in enumerate(values):
            x = 126 + number * step
            screen.caption(suffix.lower(), Box(x, y + 4, step - 8, 18))
            view.value(suffix, Box(x, y + 24, step - 8))
        view.value("MSG", Box(126, y + 52, parts.WIDTH - 136))
        y += 80
    return y


def server(plant: Plant) -> Screen:
    """Make the screen of the servers and of the links to all devices."""
    screen = parts.new_screen(f"{plant.prefix} server", f"{plant.prefix} server and links")
    y = 52
    for name, records in plant.servers.items():
        view = View(screen, plant.prefix, name, records)
        y = parts.title(screen, name, Box(10, y, 600))
        y = _in_three(view, [suffix for suffix in view.readings if suffix != "PUTS"], y)
        screen.caption("Last accepted put", Box(10, y, 130))
        view.value("PUTS", Box(144, y, 820))
        view.control("ARMED", Box(980, y, 150))
        y += 36
    y = parts.title(screen, "Links", Box(10, y, 600))
    heads = ["device", *(plant.devices[0].records[suffix].fields["DESC"] for suffix in _LINK), "Maintenance"]
    for column, text in enumerate(heads):
        screen.caption(text, Box(10 + column * 126, y, 120, 34), wrap=True)
    y += 38
    for device in plant.devices:
        view = View(screen, plant.prefix, device.name, device.records)
        opening = bob.open_display(parts.device_file(device), device.name, {"DEV": device.name})
        screen.button(device.name, Box(10, y, 120, 24), opening)
        for column, suffix in enumerate(_LINK, 1):
            view.value(suffix, Box(10 + column * 126, y + 1, 120))
        view.control("DISABLE", Box(10 + 9 * 126, y + 1, 120))
        y += parts.ROW
    return _ending(screen, plant, y)


def device(plant: Plant, one: Device) -> Screen:
    """Make the screen with everything about devices of this type: link, readings, settings, commands."""
    screen = parts.new_screen("$(DEV)", f"$(DEV): {one.title}")
    view = View(screen, plant.prefix, "$(DEV)", one.records)
    view.refusals()
    view.line("COMM:MSG", "Last link error", 78)
    y = parts.title(screen, "Readings", Box(10, 110, 600))
    y = _in_three(view, [suffix for suffix in view.readings if suffix not in {"PUT:MSG", "COMM:MSG"}], y)
    if view.settings:
        y = parts.title(screen, "Settings", Box(10, y + 8, 600))
        half = -(-len(view.settings) // 2)
        left = view.settings_table(view.settings[:half], Box(10, y, 620))
        y = max(left, view.settings_table(view.settings[half:], Box(650, y, 620)))
    y = view.commands_table(Box(10, y + 8, 1260))
    return parts.fitted(screen, y)


def _in_three(view: View, suffixes: Sequence[str], y: int) -> int:
    """Add readings in three columns, long texts below in full width; returns the next y."""
    long = [suffix for suffix in suffixes if view.records[suffix].rtyp == "lsi"]
    y = view.columns([suffix for suffix in suffixes if suffix not in long], Box(10, y, 1246), 3, 14, 240)
    return view.readings_table(long, Box(10, y, 1246), 240)


def alarm_list(plant: Plant) -> Screen:
    """Make the list of all PVs that an alarm tree has, in the order of the tree."""
    screen = parts.new_screen(f"{plant.prefix} alarms", f"{plant.prefix} alarms")
    views: list[tuple[str, View]] = []
    for name, records in plant.servers.items():
        group, own = plant.all_off(name)
        views.append((name, View(screen, plant.prefix, name, records)))
        views.append((group, View(screen, plant.prefix, f"GRP:{group}", own)))
    for one, channel, records in plant.walk():
        views.append((words_for(one, channel), View(screen, plant.prefix, name_of(one, channel), records)))
    rows = [(name, view, suffix) for name, view in views for suffix in view.alarms]
    height = -(-len(rows) // 3)
    for index, (name, view, suffix) in enumerate(rows):
        column, line = divmod(index, height)
        x, y = 10 + column * 424, 50 + line * 34
        screen.label(f"{name} {suffix}", Box(x, y, 230, 32), font=bob.FINE_PRINT, wrap=True)
        view.value(suffix, Box(x + 234, y + 5, 176))
    return parts.fitted(screen, 50 + height * 34)
