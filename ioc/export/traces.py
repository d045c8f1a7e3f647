"""Colours of traces, the same on the screens and in the plots."""

from __future__ import annotations

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
