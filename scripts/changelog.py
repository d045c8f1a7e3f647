"""Move the fragments of ``changes/`` into CHANGELOG.md under the heading of a release.

    python scripts/changelog.py 0.2.0              under the heading of that version, which is added when missing
    python scripts/changelog.py --check            whether every fragment can be taken, exit status 1 when one cannot

A fragment is a file ``changes/SLUG.md`` with lines for users; each that does not begin with a space is an item.
One that begins with ``### Added``, ``### Fixed`` or ``### Removed`` goes under that heading of the release, any other
under ``### Changed``.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG, FOLDER = ROOT / "CHANGELOG.md", ROOT / "changes"
WIDTH = 120
KINDS = ("Added", "Changed", "Fixed", "Removed")
_KIND = re.compile(r"### (\w+)\n+")


class FragmentError(Exception):
    """A fragment that is empty, or names a heading that there is not."""


def read(name: str, text: str) -> tuple[str, str]:
    """Return the heading that a fragment belongs under, and its items. Raises FragmentError."""
    match = _KIND.match(text)
    kind, items = (match[1], text[match.end() :]) if match else ("Changed", text)
    if kind not in KINDS:
        raise FragmentError(f"changes/{name}: found heading {kind!r}, allowed: {', '.join(KINDS)}")
    texts = [re.sub(r"\s+", " ", text).removeprefix("- ") for text in re.split(r"\n+(?=\S)", items.strip())]
    if not all(texts):
        raise FragmentError(f"changes/{name}: found an empty fragment, allowed: lines for users")
    return kind, "\n".join(_item(text) for text in texts)


def _item(text: str) -> str:
    return textwrap.fill(
        f"- {text.strip()}", WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def assembled(changelog: str, version: str, fragments: Mapping[str, str]) -> str:
    """Return the text of the changelog with the fragments, by file name, in it. Raises FragmentError."""
    heading = f"## {version}"
    if not re.search(rf"^{re.escape(heading)}\b", changelog, re.MULTILINE):
        first = re.search(r"^## ", changelog, re.MULTILINE)
        at = first.start() if first else len(changelog)
        changelog = f"{changelog[:at].rstrip()}\n\n{heading}\n\n{changelog[at:]}"
    at = re.search(rf"^{re.escape(heading)}\b.*\n", changelog, re.MULTILINE)
    assert at is not None
    following = re.search(r"^## ", changelog[at.end() :], re.MULTILINE)
    end = at.end() + following.start() if following else len(changelog)
    sections = _sections(changelog[at.end() : end])
    for name, text in sorted(fragments.items()):
        kind, items = read(name, text)
        sections[kind] = f"{sections[kind]}\n{items}".strip() if kind in sections else items
    intro = re.split(r"^### ", changelog[at.end() : end], maxsplit=1, flags=re.MULTILINE)[0].strip()
    body = f"\n{intro}\n" if intro else ""
    body += "".join(f"\n### {kind}\n\n{sections[kind]}\n" for kind in KINDS if sections.get(kind))
    rest = changelog[end:]
    return changelog[: at.end()] + body + (f"\n{rest}" if rest else "")


def _sections(text: str) -> dict[str, str]:
    parts = re.split(r"^### (\w+)\n", text, flags=re.MULTILINE)
    return {kind: body.strip() for kind, body in zip(parts[1::2], parts[2::2], strict=True)}


def main(arguments: list[str]) -> int:
    """Run the script and return the exit status."""
    files = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
    fragments = {path.name: path.read_text(encoding="utf-8") for path in files}
    try:
        if arguments == ["--check"]:
            for name, text in fragments.items():
                read(name, text)
            return 0
        if len(arguments) != 1 or not re.fullmatch(r"\d+\.\d+\.\d+", arguments[0]):
            print("usage: changelog.py VERSION, 0.2.0 for example, or --check", file=sys.stderr)
            return 2
        text = assembled(CHANGELOG.read_text(encoding="utf-8"), arguments[0], fragments)
    except FragmentError as error:
        print(error, file=sys.stderr)
        return 1
    CHANGELOG.write_text(text, encoding="utf-8")
    for path in files:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
