"""What screens, plots and alarm trees for Phoebus have in common: the XML of their files, and the colours of traces."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple


class Color(NamedTuple):
    """Name and red, green, blue: where a site's colour file knows the name, its colour is taken."""

    name: str
    red: int
    green: int
    blue: int


class Font(NamedTuple):
    """A font that every Phoebus has by this name, with its size in points."""

    name: str
    style: str
    size: float
    family: str = "Liberation Sans"


TRACES: Final[Sequence[Color]] = (
    Color("Labioc_Trace_1", 90, 170, 255),
    Color("Labioc_Trace_2", 255, 170, 60),
    Color("Labioc_Trace_3", 110, 220, 130),
    Color("Labioc_Trace_4", 240, 110, 170),
    Color("Labioc_Trace_5", 190, 150, 255),
    Color("Labioc_Trace_6", 240, 230, 110),
    Color("Labioc_Trace_7", 100, 220, 220),
    Color("Labioc_Trace_8", 230, 130, 100),
)
"""Colours of curves, distinct on a dark ground."""

Value = str | float | Color | Font | Mapping[str, str | int]


def document(root: ET.Element) -> str:
    """Return a file of XML."""
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def elements(parent: ET.Element, **values: Value) -> None:
    """Add an element for each value; a colour or font is one inside it, a mapping has elements of its own."""
    for tag, value in values.items():
        child = ET.SubElement(parent, tag)
        if isinstance(value, Color):
            name, red, green, blue = map(str, value)
            ET.SubElement(child, "color", name=name, red=red, green=green, blue=blue)
        elif isinstance(value, Font):
            font = {"name": value.name, "family": value.family, "style": value.style, "size": str(value.size)}
            ET.SubElement(child, "font", font)
        elif isinstance(value, Mapping):
            elements(child, **value)
        else:
            child.text = str(value).lower() if isinstance(value, bool) else str(value)
