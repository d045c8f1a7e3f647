"""Write constraints.txt: the versions of all that labioc needs, as they are installed where this runs.

Run it where all extras are installed and all tests have passed: ``.venv/bin/python scripts/constraints.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "labioc"
HEAD = """\
# Versions with which the tests have passed: pip install -c constraints.txt .
# Written by scripts/constraints.py.
"""


def needed(name: str, extras: frozenset[str], seen: dict[tuple[str, str], None]) -> Iterator[tuple[str, str]]:
    """Yield name and version of each package that one needs with these extras, itself included.

    Raises PackageNotFoundError when one is not installed.
    """
    found = distribution(name)
    yield canonicalize_name(name), found.version
    for text in found.requires or ():
        requirement = Requirement(text)
        for extra in ("", *extras):
            key = (extra, f"{name}: {text}")
            if key in seen or not (requirement.marker is None or requirement.marker.evaluate({"extra": extra})):
                continue
            seen[key] = None
            yield from needed(requirement.name, frozenset(requirement.extras), seen)


def constraints() -> str:
    """Return the text of the file."""
    extras = frozenset(distribution(PROJECT).metadata.get_all("Provides-Extra") or ()) - {"bench"}
    versions = dict(needed(PROJECT, extras, {}))
    del versions[PROJECT]
    return HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))


if __name__ == "__main__":
    try:
        (ROOT / "constraints.txt").write_text(constraints(), encoding="ascii")
    except PackageNotFoundError as error:
        raise SystemExit(f"{error.name} is not installed; make lint installs what is needed") from error
