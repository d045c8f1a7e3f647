"""Parts that several screens have: the head, tables of settings and of readings, buttons for commands, switches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ioc.database.dbfile import RecordDef
from ioc.export.phoebus import bob
from ioc.export.phoebus.bob import Action, Box, Screen
from ioc.export.plant import OUTPUTS, Channel, Device, Records, is_setting, states
from ioc.export.traces import Color

WIDTH, HEIGHT = 1280, 770
"""Pixels of a screen: a monitor of 1280 x 800 less the tabs of a window; what needs more rows scrolls."""

TOP: Final = 76
"""Where a screen goes on below its head and the line of the last refused put."""

ROW: Final = 28
_CELL: Final = 22
_GAP: Final = 6
_LABEL: Final = 180
_BY_LABEL: Final[Mapping[str, Color]] = {
    "ON": bob.ON,
    "LOST": bob.SEVERITY_GROUNDS["MAJOR"],
    "RAMPING": bob.ATTENTION,
    "RAMP UP": bob.ATTENTION,
    "RAMP DOWN": bob.ATTENTION,
}
_SETTING_PARTS: Final = (":RBV", ":HI", ":LO", ":RES")
_TEXTS: Final = frozenset({"lsi", "stringin"})
_HARMLESS: Final = (":ACK:CMD",)


def device_file(device: Device) -> str:
    """Name of the screen with everything about devices of this type: link, identification, settings."""
    return f"device-{device.kind}.bob"


def channel_file(device: Device) -> str:
    """Name of the screen of one channel of supplies of this type."""
    return f"hv-channel-{device.kind}.bob"


def main_file(device: Device) -> str:
    """Name of the screen that a device is looked at with."""
    if device.supplies:
        return f"{device.name}.bob"
    return f"furnace-{device.kind}.bob" if device.heats else device_file(device)


def screen_of(device: Device, channel: Channel | None = None) -> tuple[str, dict[str, str]]:
    """Return the screen that shows a device or one of its channels, and the macros to open it with."""
    macros = {"DEV": device.name}
    if channel is not None and device.supplies:
        return channel_file(device), {**macros, "CH": f"{channel.number:02d}", "ALIAS": channel.alias}
    return main_file(device), macros


def opening(device: Device, channel: Channel | None = None) -> Action:
    """Open the screen of a device or of one of its channels."""
    file, macros = screen_of(device, channel)
    return bob.open_display(file, channel.title if channel else device.name, macros)


def prefix_macro(prefix: str) -> str:
    """Return the macro of the prefix with its default, so that a screen can be opened without macros."""
    return f"$(P={prefix})"


def new_screen(name: str, title: str, *buttons: tuple[str, Action]) -> Screen:
    """Make a screen of the usual size with its title, and the ways to other screens, on top."""
    screen = Screen(name, WIDTH, HEIGHT)
    screen.panel("Head", Box(0, 0, WIDTH, 40))
    screen.label(title, Box(10, 6, 700, 28), font=bob.HEADER_2)
    fixed = [
        (text, bob.open_display(file, text, {}, "replace"))
        for text, file in (("Overview", "overview.bob"), ("Alarms", "alarms.bob"), ("Server", "server.bob"))
    ]
    x = WIDTH - 10
    for text, action in reversed([*buttons, *fixed]):
        x -= 100
        screen.button(text, Box(x, 5, 94, 30), action)
    return screen


def fitted(screen: Screen, y: int) -> Screen:
    """Return a screen, made higher where what it holds needs it down to ``y``."""
    screen.resize(max(HEIGHT, y + 10))
    return screen


def title(screen: Screen, text: str, box: Box) -> int:
    """Add the title of a block; returns where it goes on below."""
    screen.label(text, Box(box.x, box.y, box.width), bob.FAINT, bob.HEADER_3)
    return box.y + 26


def colors(record: RecordDef) -> list[Color]:
    """Return the colour of each state: that of its severity, or of what it says; dark where there is nothing to see."""
    return [bob.SEVERITY_GROUNDS.get(severity) or _BY_LABEL.get(label, bob.READ) for label, severity in states(record)]


class View:
    """What a screen shows of a device, channel, group or server: its records, under names that begin with ``base``.

    ``name`` may have macros. Tables return the next y below them.
    """

    def __init__(self, screen: Screen, prefix: str, name: str, records: Records) -> None:
        self.screen = screen
        self.base = f"{prefix_macro(prefix)}:{name}"
        self.records = records
        self.settings = [suffix for suffix, record in records.items() if is_setting(suffix, record)]
        """Settings, without their limits and read-backs, in the order of the templates."""
        self.commands = [suffix for suffix in records if suffix.endswith(":CMD")]
        self.bits = [suffix for suffix in records if suffix.startswith("STAT:")]
        """The bits of the status word."""
        self.alarms = [suffix for suffix, record in records.items() if "alarm" in record.info]
        """What belongs into an alarm tree."""
        parts = {setting + part for setting in self.settings for part in _SETTING_PARTS}
        self.readings = [
            suffix
            for suffix, record in records.items()
            if record.rtyp not in {*OUTPUTS, "waveform"}
            and suffix not in parts
            and not suffix.endswith(":RES")
            and not suffix.startswith(("STAT:", "EVT:"))
        ]
        """What is read only and belongs to no setting, bits of status words left out."""

    def pv(self, suffix: str) -> str:
        """Return the name of a PV, with macros; a long string by the name under which it comes whole."""
        record = self.records.get(suffix)
        return f"{self.base}:{suffix}" + ("$" if record is not None and record.rtyp == "lsi" else "")

    def value(self, suffix: str, box: Box) -> None:
        """Add the value of a PV in the way that fits its record."""
        record = self.records[suffix]
        if states(record):
            self.screen.state(self.pv(suffix), box, colors(record))
        elif record.rtyp in _TEXTS:
            self.screen.readback(self.pv(suffix), box, text=record.rtyp == "lsi", align=bob.LEFT)
        else:
            self.screen.readback(self.pv(suffix), box)

    def control(self, suffix: str, box: Box) -> None:
        """Add what a setting is made with: a field, or a menu of its states, which asks first."""
        if states(self.records[suffix]):
            about = self.records[suffix].fields["DESC"]
            inside = about if about[1:2].isupper() else about[:1].lower() + about[1:]
            self.screen.menu(self.pv(suffix), box, f"Change {inside}?")
        else:
            self.screen.entry(self.pv(suffix), box)

    def command(self, suffix: str, box: Box, text: str = "", color: Color = bob.BUTTON) -> None:
        """Add the button of a command. It asks first, unless it acknowledges a trip or a power interruption."""
        about = self.records[suffix].fields["DESC"]
        question = "" if suffix.endswith(_HARMLESS) else f"{about}: {self.base}?"
        pv = self.pv(suffix)
        self.screen.button(text or about, box, bob.write_pv(pv, "1", about), confirm=question, color=color, pv=pv)

    def switch(self, suffix: str, box: Box, what: str) -> None:
        """Add one button for on and one for off, each of which asks first and writes what its label says."""
        half = (box.width - _GAP) // 2
        pv = self.pv(suffix)
        for number, text in ((1, "ON"), (0, "OFF")):
            area = Box(box.x + (1 - number) * (half + _GAP), box.y, half, box.height)
            self.screen.button(text, area, bob.write_pv(pv, str(number), text), confirm=f"{text}: {what}?", pv=pv)

    def settings_table(self, suffixes: Iterable[str], box: Box) -> int:
        """Add a row for each setting, numbers before choices.

        A row has description, entry or menu, and read-back, of a number also the lowest and highest allowed.
        """
        chosen = list(suffixes)
        numbers = [suffix for suffix in chosen if not states(self.records[suffix])]
        choices = [suffix for suffix in chosen if suffix not in numbers]
        y = box.y
        for part, heads in ((numbers, ("set", "read back", "lowest", "highest")), (choices, ("set", "read back"))):
            if part:
                y = self._settings(part, heads, Box(box.x, y, box.width))
        return y

    def _settings(self, suffixes: Sequence[str], heads: Sequence[str], box: Box) -> int:
        step = (box.width - _LABEL) // len(heads)
        columns = [Box(box.x + _LABEL + number * step, box.y, step - _GAP, 18) for number in range(len(heads))]
        for column, text in zip(columns, heads, strict=True):
            self.screen.caption(text, column, bob.RIGHT)
        y = box.y + 20
        for suffix in suffixes:
            places = [Box(column.x, y, column.width, _CELL) for column in columns]
            about = Box(box.x, y - 3, _LABEL - 4, ROW)
            self.screen.label(self.records[suffix].fields["DESC"], about, font=bob.FINE_PRINT, wrap=True)
            self.control(suffix, places[0])
            for area, part in zip(places[1:], (":RBV", ":LO", ":HI"), strict=False):
                if suffix + part in self.records:
                    self.value(suffix + part, area)
            y += ROW
        return y

    def readings_table(self, suffixes: Sequence[str], box: Box, label: int = 0) -> int:
        """Add a row for each reading: description and value.

        ``label`` is the width of the descriptions, by default that of the longest.
        """
        about = {suffix: self.records[suffix].fields["DESC"] for suffix in suffixes}
        label = label or min(max(map(_fine_print, about.values()), default=0), box.width - 90)
        y = box.y
        for suffix, text in about.items():
            self.screen.label(text, Box(box.x, y, label - 4, _CELL), font=bob.FINE_PRINT)
            self.value(suffix, Box(box.x + label, y, box.width - label, _CELL))
            y += ROW
        return y

    def columns(self, suffixes: Sequence[str], box: Box, count: int, gap: int, label: int = 0) -> int:
        """Add readings in columns of one height, with a gap between them."""
        height = -(-len(suffixes) // count)
        width = (box.width + gap) // count
        return max(
            self.readings_table(
                suffixes[column * height : (column + 1) * height],
                Box(box.x + column * width, box.y, width - gap),
                label,
            )
            for column in range(count)
        )

    def readings_in_two(self, suffixes: Sequence[str], box: Box) -> int:
        """Add readings in two columns, texts below them in full width."""
        texts = [suffix for suffix in suffixes if self.records[suffix].rtyp in _TEXTS]
        y = self.columns([suffix for suffix in suffixes if suffix not in texts], box, 2, 20)
        return self.readings_table(texts, Box(box.x, y, box.width))

    def bits_table(self, box: Box) -> int:
        """Add the bits of the status word, each with its description, in two columns."""
        width = box.width // 2
        return self.columns(self.bits, Box(box.x, box.y, box.width - 8), 2, 8, width - 78)

    def commands_table(self, box: Box) -> int:
        """Add a button for each command, which writes 1."""
        width, x, y = 252, box.x, box.y
        for suffix in self.commands:
            if x + width > box.x + box.width:
                x, y = box.x, y + 34
            self.command(suffix, Box(x, y, width - 6, 28))
            x += width
        return y + 34 if x > box.x else y

    def line(self, suffix: str, about: str, y: int) -> None:
        """Add a long text in the full width of the screen, behind what it is."""
        self.screen.caption(about, Box(10, y, 130))
        self.value(suffix, Box(144, y, WIDTH - 154, 24))

    def refusals(self, y: int = 46) -> None:
        """Add the line with the reason of the last refused put, usually below the head."""
        self.line("PUT:MSG", "Last refused put", y)


def _fine_print(text: str) -> int:
    """Return the pixels that a text takes in the smallest font, with some room."""
    return round(len(text) * 6.3) + 10
