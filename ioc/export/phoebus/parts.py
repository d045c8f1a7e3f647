"""Parts that several screens have: the head, tables of settings and of readings, buttons for commands, switches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ioc.database.dbfile import RecordDef
from ioc.export.phoebus import bob
from ioc.export.phoebus.bob import Action, Box, Screen
from ioc.export.plant import OUTPUTS, Records, is_setting, states
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
_HARMLESS: Final = (":ACK:CMD",)


@dataclass(frozen=True, slots=True)
class Place:
    """How the PVs of a device or channel are named inside a screen, and the macros that a screen opened from it needs.

    Macros of the screen itself need not be named: what it opens or embeds inherits them.
    """

    base: str
    macros: Mapping[str, str]

    def pv(self, suffix: str) -> str:
        """Return the name of a PV, with macros."""
        return f"{self.base}:{suffix}"

    def text_pv(self, suffix: str, records: Records) -> str:
        """Return the name under which a long string comes as characters, and not cut."""
        return self.pv(suffix) + ("$" if records[suffix].rtyp in {"lsi", "lso"} else "")


def prefix_macro(prefix: str) -> str:
    """Return the macro of the prefix with its default, so that a screen can be opened without macros."""
    return f"$(P={prefix})"


def device_place(prefix: str, device: str = "$(DEV)") -> Place:
    """Return the names of the PVs of a device."""
    return Place(f"{prefix_macro(prefix)}:{device}", {} if device.startswith("$") else {"DEV": device})


def channel_place(prefix: str) -> Place:
    """Return the names of the PVs of a channel."""
    return Place(f"{prefix_macro(prefix)}:$(DEV):CH$(CH)", {})


def new_screen(name: str, title: str, *buttons: tuple[str, Action]) -> Screen:
    """Make a screen of the usual size with its title, and the ways to other screens, on top."""
    screen = Screen(name, WIDTH, HEIGHT)
    screen.panel("Head", Box(0, 0, WIDTH, 40))
    screen.label(title, Box(10, 6, 700, 28), font="Header 2")
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
    screen.resize(WIDTH, max(HEIGHT, y + 10))
    return screen


def title(screen: Screen, text: str, box: Box) -> int:
    """Add the title of a block; returns where it goes on below."""
    screen.label(text, Box(box.x, box.y, box.width, 22), bob.FAINT, "Header 3")
    return box.y + 26


def colors(record: RecordDef) -> list[Color]:
    """Return the colour of each state: that of its severity, or of what it says; dark where there is nothing to see."""
    return [bob.SEVERITY_GROUNDS.get(severity) or _BY_LABEL.get(label, bob.READ) for label, severity in states(record)]


def value(screen: Screen, place: Place, suffix: str, records: Records, box: Box) -> None:
    """Add the value of a PV in the way that fits its record."""
    record = records[suffix]
    if states(record):
        screen.state(place.pv(suffix), box, colors(record))
    elif record.rtyp in {"lsi", "stringin"}:
        long = record.rtyp == "lsi"
        screen.readback(place.text_pv(suffix, records), box, text=long, align=bob.LEFT)
    else:
        screen.readback(place.pv(suffix), box)


def control(screen: Screen, place: Place, suffix: str, records: Records, box: Box) -> None:
    """Add what a setting is made with: a field, or a menu of its states, which asks first."""
    if states(records[suffix]):
        screen.menu(place.pv(suffix), box, f"Change {words(records[suffix])}?")
    else:
        screen.entry(place.pv(suffix), box)


def words(record: RecordDef) -> str:
    """Return the description of a record for the middle of a sentence."""
    text = record.fields["DESC"]
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def settings_table(screen: Screen, place: Place, records: Records, suffixes: Iterable[str], box: Box) -> int:
    """Add a row for each setting, numbers before choices; returns the next y.

    A row has description, entry or menu, and read-back, of a number also the lowest and highest allowed.
    """
    chosen = list(suffixes)
    numbers = [suffix for suffix in chosen if not states(records[suffix])]
    choices = [suffix for suffix in chosen if suffix not in numbers]
    y = box.y
    for part, heads in ((numbers, ("set", "read back", "lowest", "highest")), (choices, ("set", "read back"))):
        if part:
            y = _settings(screen, place, records, part, heads, Box(box.x, y, box.width))
    return y


def _settings(
    screen: Screen, place: Place, records: Records, suffixes: Sequence[str], heads: Sequence[str], box: Box
) -> int:
    step = (box.width - _LABEL) // len(heads)
    columns = [Box(box.x + _LABEL + number * step, box.y, step - _GAP, 18) for number in range(len(heads))]
    for column, text in zip(columns, heads, strict=True):
        screen.label(text, column, bob.FAINT, "Fine Print", bob.RIGHT)
    y = box.y + 20
    for suffix in suffixes:
        places = [Box(column.x, y, column.width, _CELL) for column in columns]
        about = Box(box.x, y - 3, _LABEL - 4, ROW)
        screen.label(records[suffix].fields["DESC"], about, font="Fine Print", wrap=True)
        control(screen, place, suffix, records, places[0])
        for area, part in zip(places[1:], (":RBV", ":LO", ":HI"), strict=False):
            if suffix + part in records:
                value(screen, place, suffix + part, records, area)
        y += ROW
    return y


def readings_table(
    screen: Screen, place: Place, records: Records, suffixes: Sequence[str], box: Box, label: int = 0
) -> int:
    """Add a row for each reading: description and value; returns the next y.

    ``label`` is the width of the descriptions, by default that of the longest.
    """
    y = box.y
    label = label or min(max((fine_print(records[s].fields["DESC"]) for s in suffixes), default=0), box.width - 90)
    for suffix in suffixes:
        screen.label(records[suffix].fields["DESC"], Box(box.x, y, label - 4, _CELL), font="Fine Print")
        value(screen, place, suffix, records, Box(box.x + label, y, box.width - label, _CELL))
        y += ROW
    return y


def fine_print(text: str) -> int:
    """Return the pixels that a text takes in the smallest font, with some room."""
    return round(len(text) * 6.3) + 10


def readings_in_two(screen: Screen, place: Place, records: Records, suffixes: Sequence[str], box: Box) -> int:
    """Add readings in two columns, texts below them in full width; returns the next y."""
    texts = [suffix for suffix in suffixes if records[suffix].rtyp in {"stringin", "lsi"}]
    values = [suffix for suffix in suffixes if suffix not in texts]
    half = -(-len(values) // 2)
    width = box.width // 2 - 10
    y = max(
        readings_table(screen, place, records, part, Box(box.x + index * (width + 20), box.y, width))
        for index, part in enumerate((values[:half], values[half:]))
    )
    return readings_table(screen, place, records, texts, Box(box.x, y, box.width))


def bits_table(screen: Screen, place: Place, records: Records, suffixes: Sequence[str], box: Box, columns: int) -> int:
    """Add the bits of a status word, each with its description, in columns; returns the next y."""
    per_column = -(-len(suffixes) // columns)
    width = box.width // columns
    bottom = box.y
    for column in range(columns):
        part = suffixes[column * per_column : (column + 1) * per_column]
        area = Box(box.x + column * width, box.y, width - 8)
        bottom = max(bottom, readings_table(screen, place, records, part, area, width - 78))
    return bottom


def commands(screen: Screen, place: Place, records: Records, suffixes: Iterable[str], box: Box) -> int:
    """Add a button for each command, which writes 1; returns the next y."""
    width, x, y = 252, box.x, box.y
    for suffix in suffixes:
        if x + width > box.x + box.width:
            x, y = box.x, y + 34
        command_button(screen, place, suffix, records, Box(x, y, width - 6, 28))
        x += width
    return y + 34 if x > box.x else y


def command_button(
    screen: Screen, place: Place, suffix: str, records: Records, box: Box, text: str = "", color: Color = bob.BUTTON
) -> None:
    """Add the button of a command. It asks first, unless it acknowledges a trip or a power interruption."""
    about = records[suffix].fields["DESC"]
    question = "" if suffix.endswith(_HARMLESS) else f"{about}: {place.base}?"
    pv = place.pv(suffix)
    screen.button(text or about, box, bob.write_pv(pv, "1", about), confirm=question, color=color, pv=pv)


def switch(screen: Screen, place: Place, suffix: str, box: Box, what: str) -> None:
    """Add one button for on and one for off, each of which asks first and writes what its label says."""
    half = (box.width - _GAP) // 2
    pv = place.pv(suffix)
    for number, text in ((1, "ON"), (0, "OFF")):
        area = Box(box.x + (1 - number) * (half + _GAP), box.y, half, box.height)
        screen.button(text, area, bob.write_pv(pv, str(number), text), confirm=f"{text}: {what}?", pv=pv)


def refusals(screen: Screen, place: Place, records: Records, y: int = 46) -> None:
    """Add the line with the reason of the last refused put, usually below the head."""
    box = Box(10, y, WIDTH - 20, 24)
    screen.label("Last refused put", Box(box.x, box.y, 130, _CELL), bob.FAINT, "Fine Print")
    area = Box(box.x + 134, box.y, box.width - 134, box.height)
    screen.readback(place.text_pv("PUT:MSG", records), area, text=True, align=bob.LEFT)


def settings_of(records: Records, where: Callable[[str], bool] = lambda _: True) -> list[str]:
    """Return the settings, without their limits and read-backs, in the order of the templates."""
    return [suffix for suffix, record in records.items() if is_setting(suffix, record) and where(suffix)]


def readings_of(records: Records) -> list[str]:
    """Return what is read only and belongs to no setting, bits of status words left out."""
    parts = {setting + part for setting in settings_of(records) for part in _SETTING_PARTS}
    return [
        suffix
        for suffix, record in records.items()
        if record.rtyp not in OUTPUTS
        and suffix not in parts
        and not suffix.endswith(":RES")
        and record.rtyp != "waveform"
        and not suffix.startswith(("STAT:", "EVT:"))
    ]


def commands_of(records: Records) -> list[str]:
    """Return the commands."""
    return [suffix for suffix in records if suffix.endswith(":CMD")]


def bits_of(records: Records) -> list[str]:
    """Return the bits of the status word."""
    return [suffix for suffix in records if suffix.startswith("STAT:")]


def alarms_of(records: Records) -> list[str]:
    """Return what belongs into an alarm tree."""
    return [suffix for suffix, record in records.items() if "alarm" in record.info]
