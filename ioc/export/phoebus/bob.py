"""Widgets of Phoebus' Display Builder, written as ``.bob`` files: one function for each kind that the screens use.

Types, versions, properties and their defaults are those of Phoebus 5 (github.com/ControlSystemStudio/phoebus,
``app/display/model``); a property at its default is left out. Enumerated properties are written by position. Only
widgets and rules that web runtimes know too are used; there are no scripts.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ioc.export.traces import TRACES, Color, Font, Value, document, elements

# Severities and states by the names that every Phoebus has, so that a site's own colours show here too.
MINOR: Final = Color("MINOR", 255, 128, 0)
MAJOR: Final = Color("MAJOR", 255, 0, 0)
INVALID: Final = Color("INVALID", 255, 0, 255)
ON: Final = Color("On", 0, 255, 0)
ATTENTION: Final = Color("Attention", 255, 160, 0)
# Colours of these screens, for a dark room.
BACKGROUND: Final = Color("Labioc_Background", 27, 31, 38)
PANEL: Final = Color("Labioc_Panel", 38, 44, 54)
TEXT: Final = Color("Labioc_Text", 220, 226, 234)
FAINT: Final = Color("Labioc_Faint", 150, 160, 174)
READ: Final = Color("Labioc_Read", 18, 21, 27)
WRITE: Final = Color("Labioc_Write", 48, 72, 104)
BUTTON: Final = Color("Labioc_Button", 72, 82, 98)
DANGER: Final = Color("Labioc_Danger", 150, 30, 30)
BLACK: Final = Color("Labioc_Dark_Text", 0, 0, 0)
BAR: Final = Color("Labioc_Bar", 70, 130, 180)
SEVERITY_GROUNDS: Final[Mapping[str, Color]] = {
    "MINOR": Color("Labioc_Minor", 110, 60, 0),
    "MAJOR": Color("Labioc_Major", 110, 0, 0),
    "INVALID": Color("Labioc_Invalid", 100, 0, 100),
}
"""Behind a text in alarm; the alarm itself is the frame of the widget."""
OWN_COLORS: Final = (
    *(BACKGROUND, PANEL, TEXT, FAINT, READ, WRITE, BUTTON, DANGER, BLACK, BAR),
    *SEVERITY_GROUNDS.values(),
)

DEFAULT: Final = Font("Default", "REGULAR", 14.0)
BOLD: Final = Font("Default Bold", "BOLD", 14.0)
HEADER_1: Final = Font("Header 1", "BOLD", 22.0)
HEADER_2: Final = Font("Header 2", "BOLD", 18.0)
HEADER_3: Final = Font("Header 3", "BOLD", 16.0)
FINE_PRINT: Final = Font("Fine Print", "REGULAR", 12.0)

LEFT, CENTER, RIGHT = 0, 1, 2
_MIDDLE: Final = 1
_STRING: Final = 6
_VERSIONS: Final = {"action_button": "3.0.0", "textentry": "3.0.0", "group": "3.0.0", "xyplot": "3.0.0"}


@dataclass(frozen=True, slots=True)
class Box:
    """Place and size of a widget in pixels."""

    x: int
    y: int
    width: int
    height: int = 22


Action = tuple[str, Mapping[str, str | Mapping[str, str]]]
"""Type of an action and its elements; a mapping is for macros."""


def write_pv(pv: str, value: str, text: str) -> Action:
    """Write one value to one PV."""
    return "write_pv", {"description": text, "pv_name": pv, "value": value}


def open_display(file: str, text: str, macros: Mapping[str, str], target: str = "tab") -> Action:
    """Open another screen with these macros."""
    return "open_display", {"description": text, "file": file, "macros": macros, "target": target}


class Screen:
    """One ``.bob`` file that widgets are added to, later ones on top."""

    def __init__(self, name: str, width: int, height: int) -> None:
        self.root = ET.Element("display", version="2.0.0")
        elements(self.root, name=name, width=width, height=height, background_color=BACKGROUND)
        self._names: dict[str, int] = {}

    def text(self) -> str:
        """Return the file."""
        return document(self.root)

    def resize(self, height: int) -> None:
        """Make the screen as high as its widgets turned out to need."""
        for element in self.root.findall("height"):
            element.text = str(height)

    def _widget(self, kind: str, name: str, box: Box, **properties: Value) -> ET.Element:
        widget = ET.SubElement(self.root, "widget", type=kind, version=_VERSIONS.get(kind, "2.0.0"))
        count = self._names[name] = self._names.get(name, 0) + 1
        elements(widget, name=name if count == 1 else f"{name} {count}", x=box.x, y=box.y)
        elements(widget, width=box.width, height=box.height, **properties)
        return widget

    def label(
        self, text: str, box: Box, color: Color = TEXT, font: Font = DEFAULT, align: int = LEFT, wrap: bool = False
    ) -> ET.Element:
        """Add a fixed text, which wraps only where that is asked for."""
        return self._widget(
            "label", text[:40] or "Label", box, text=text, horizontal_alignment=align, vertical_alignment=_MIDDLE,
            wrap_words=wrap, font=font, foreground_color=color,
        )  # fmt: skip

    def caption(self, text: str, box: Box, align: int = LEFT, wrap: bool = False) -> None:
        """Add a small text that says what is beside or below it."""
        self.label(text, box, FAINT, FINE_PRINT, align, wrap)

    def panel(self, name: str, box: Box) -> None:
        """Add a plain area behind other widgets."""
        self._widget("rectangle", name, box, line_width=0, background_color=PANEL)

    def readback(
        self, pv: str, box: Box, *, text: bool = False, align: int = RIGHT, font: Font = DEFAULT
    ) -> ET.Element:
        """Add the value of a PV with its unit; ``text`` is for long strings, which are arrays of characters."""
        form = {"format": _STRING} if text else {}
        return self._widget(
            "textupdate", pv, box, pv_name=pv, horizontal_alignment=align, vertical_alignment=_MIDDLE,
            wrap_words=text, **form, font=font, foreground_color=TEXT, background_color=READ,
        )  # fmt: skip

    def state(self, pv: str, box: Box, colors: Sequence[Color]) -> None:
        """Add an enumerated PV: its text on the colour of its state."""
        _follow_state(self.readback(pv, box, align=CENTER, font=BOLD), pv, colors)

    def entry(self, pv: str, box: Box) -> None:
        """Add a field to write a PV with; Enter sends it."""
        self._widget(
            "textentry", pv, box, pv_name=pv, horizontal_alignment=RIGHT, vertical_alignment=_MIDDLE,
            font=DEFAULT, foreground_color=TEXT, background_color=WRITE,
        )  # fmt: skip

    def menu(self, pv: str, box: Box, confirm: str) -> None:
        """Add a choice among the states of a PV, which asks before it writes."""
        self._widget(
            "combo", pv, box, pv_name=pv, show_confirm_dialog=True, confirm_message=confirm,
            font=DEFAULT, foreground_color=TEXT, background_color=BUTTON,
        )  # fmt: skip

    def button(
        self,
        text: str,
        box: Box,
        *actions: Action,
        confirm: str = "",
        color: Color = BUTTON,
        pv: str = "",
        together: bool = False,
    ) -> ET.Element:
        """Add a button with the actions of its label; ``confirm`` is the question first.

        With several actions it is a menu, unless they are done ``together``.
        """
        widget = self._widget("action_button", text, box)
        holder = ET.SubElement(widget, "actions")
        if together and len(actions) > 1:
            holder.set("execute_as_one", "true")
        for kind, about in actions:
            elements(ET.SubElement(holder, "action", type=kind), **about)
        elements(widget, text=text)
        if pv:
            elements(widget, pv_name=pv)
        if confirm:
            elements(widget, show_confirm_dialog=True, confirm_message=confirm)
        elements(widget, font=DEFAULT, foreground_color=TEXT, background_color=color)
        return widget

    def cell(self, text: str, pv: str, box: Box, action: Action, colors: Sequence[Color]) -> None:
        """Add a button in the colour of the state of a PV, and with its alarm, that opens something."""
        _follow_state(self.button(text, box, action, color=READ, pv=pv), pv, colors)

    def bar(self, pv: str, box: Box) -> None:
        """Add a bar over the display range of a PV."""
        self._widget("progressbar", pv, box, pv_name=pv, fill_color=BAR, background_color=READ)

    def embed(self, file: str, box: Box, macros: Mapping[str, str]) -> None:
        """Add another screen inside this one."""
        self._widget("embedded", file, box, file=file, transparent=True, macros=macros)

    def plot(self, file: str, box: Box) -> None:
        """Add a Data Browser plot."""
        self._widget("databrowser", file, box, file=file)

    def traces(self, title: str, box: Box, x: tuple[str, str], ys: Sequence[tuple[str, str]]) -> None:
        """Add a plot of arrays, each with the axis of its own title; ``x`` is the title and PV of the abscissa."""
        widget = self._widget("xyplot", title, box, title=title, background_color=READ, foreground_color=TEXT)
        elements(widget, x_axis=_axis(x[0]))
        axes, traces = ET.SubElement(widget, "y_axes"), ET.SubElement(widget, "traces")
        for number, (name, pv) in enumerate(ys):
            color = TRACES[number % len(TRACES)]
            elements(ET.SubElement(axes, "y_axis"), **_axis(name), color=color)
            elements(ET.SubElement(traces, "trace"), name=name, x_pv=x[1], y_pv=pv, axis=number, color=color)

    def count(self, pvs: Sequence[str], text: str, box: Box, color: Color) -> None:
        """Add how many of some two-state PVs are 1, in words: ``3 on``; ``color`` is that of any number but 0."""
        total = " + ".join(f"pvInt{number}" for number in range(len(pvs)))
        rules: dict[str, list[tuple[str, Color | str]]] = {
            "text": [(f"{total} == {count}", f"{count} {text}") for count in range(len(pvs) + 1)],
            "foreground_color": [(f"{total} > 0", color)],
        }
        _rules(self.label(f"? {text}", box, FAINT, align=CENTER), rules, pvs)

    def worst(self, pvs: Sequence[str], box: Box) -> None:
        """Add the highest severity of some PVs, as a word on its colour: ``?`` until all are connected."""
        widget = self.label("?", box, FAINT, BOLD, CENTER)
        elements(widget, transparent=False, background_color=READ)
        numbers = range(len(pvs))
        major, invalid, minor = (
            " || ".join(f"pvSev{number} {level}" for number in numbers) for level in ("== 2", ">= 3", "== 1")
        )
        # without a value Phoebus shows the text of the label, so that text must not be OK
        all_well = " && ".join(f"pvSev{number} == 0" for number in numbers)
        # an alarm is worse news than a value that is not known
        ordered = (major, "MAJOR", MAJOR), (invalid, "INVALID", INVALID), (minor, "MINOR", MINOR)
        rules: dict[str, list[tuple[str, Color | str]]] = {
            "text": [*((condition, word) for condition, word, _ in ordered), (all_well, "OK")],
            "background_color": [(condition, color) for condition, _, color in ordered],
            "foreground_color": [(f"{minor} || {major} || {invalid}", BLACK)],
        }
        _rules(widget, rules, pvs)


def _axis(title: str) -> dict[str, str | int]:
    return {"title": title, "autoscale": True, "show_grid": True}


def _follow_state(widget: ET.Element, pv: str, colors: Sequence[Color]) -> None:
    """Give a widget the colour of the state of a PV, and a text that is read on it."""
    by_color: dict[Color, list[int]] = {}
    for index, color in enumerate(colors):
        by_color.setdefault(color, []).append(index)
    background = [(_any_of(indices), color) for color, indices in by_color.items()]
    light = [index for index, color in enumerate(colors) if color in {ON, ATTENTION}]
    text = [(_any_of(light), BLACK)] if light else []
    _rules(widget, {"background_color": background, "foreground_color": text}, [pv])


def _any_of(indices: Iterable[int]) -> str:
    return " || ".join(f"pvInt0 == {index}" for index in indices)


def _rules(widget: ET.Element, rules: Mapping[str, Sequence[tuple[str, Color | str]]], pvs: Sequence[str]) -> None:
    """Let properties follow PVs: the value of the first condition that holds."""
    holder = ET.SubElement(widget, "rules")
    for prop, cases in rules.items():
        if not cases:
            continue
        rule = ET.SubElement(holder, "rule", name=prop, prop_id=prop, out_exp="false")
        for condition, value in cases:
            elements(ET.SubElement(rule, "exp", bool_exp=condition), value=value)
        for pv in pvs:
            elements(rule, pv_name=pv)
