"""How commands print: tables, and what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_WIDEST = 60
"""Characters of a cell that the others are aligned with; a name has no more."""


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table; a very long text moves what stands behind it, and not the columns of all rows."""
    widths = [max(len(cell) for cell in (*column, "") if len(cell) <= _WIDEST) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def complain(text: str) -> None:
    """Write to standard error what went wrong."""
    print(f"labioc: {text}", file=sys.stderr, flush=True)
