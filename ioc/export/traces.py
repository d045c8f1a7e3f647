"""What screens, plots and alarm trees for Phoebus have in common: the XML of their files, and the colours of traces."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Final

Color = tuple[str, int, int, int]
"""Name and red, green, blue: where a site's colour file knows the name, its colour is taken."""

TRACES: Final[Sequence[Color]] = (
    ("Labioc_Trace_1", 90, 170, 255),
    ("Labioc_Trace_2", 255, 170, 60),
    ("Labioc_Trace_3", 110, 220, 130),
    ("Labioc_Trace_4", 240, 110, 170),
    ("Labioc_Trace_5", 190, 150, 255),
    ("Labioc_Trace_6", 240, 230, 110),
    ("Labioc_Trace_7", 100, 220, 220),
    ("Labioc_Trace_8", 230, 130, 100),
)
"""Colours of curves, distinct on a dark ground."""


def document(root: ET.Element) -> str:
    """Return a file of XML."""
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def texts(parent: ET.Element, **elements: str | int) -> None:
    """Add elements that hold a text."""
    for tag, text in elements.items():
        ET.SubElement(parent, tag).text = str(text)
