"""The generated pages are those of the present sources, and the pages hang together."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from ioc.site.config import parse_site
from ioc.site.schema import site_schema
from scripts import generate_reference

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)]*)?\)")
BLOCK = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_generated_pages_are_up_to_date() -> None:
    pages = generate_reference.pages()
    index = generate_reference.INDEX.read_text(encoding="utf-8")
    assert index == generate_reference.index_page(pages), "run scripts/generate_reference.py: the index is out of date"
    for name, text in pages.items():
        page = generate_reference.FOLDER / name
        assert page.exists(), f"run scripts/generate_reference.py: {name} is missing"
        assert page.read_text(encoding="utf-8") == text, f"run scripts/generate_reference.py: {name} is out of date"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        assert (page.parent / match[1]).exists(), f"{page.name} links to {match[1]}"


def test_every_page_is_found_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / match[1]).resolve() for match in LINK.finditer(index.read_text(encoding="utf-8"))}
    missing = {page for page in PAGES if "docs" in page.parts and page != index} - listed
    assert not missing, f"not in docs/README.md: {sorted(page.name for page in missing)}"


WITH_OTHER_FAMILIES = ROOT / "docs" / "how-to" / "add-a-device-family.md"  # followed by a test of its own


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != WITH_OTHER_FAMILIES], ids=lambda page: str(page.relative_to(ROOT))
)
def test_site_files_in_the_pages_are_good(page: Path) -> None:
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        data = tomllib.loads(block)
        if not data.keys() & site_schema()["properties"].keys():
            continue  # the file of another program
        data.setdefault("site", {"prefix": "LAB"})  # a page may show a part of a file
        data.setdefault("device", [{"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:23"}])
        parse_site(data)


def test_every_situation_of_a_put_names_a_test_that_there_is() -> None:
    rows = [line for line in (ROOT / "docs/reference/puts.md").read_text(encoding="utf-8").splitlines() if "`" in line]
    named = {name for row in rows if row.startswith("|") for name in re.findall(r"`([Tt]est\w+)` \|$", row)}
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    missing = {name for name in named if not re.search(rf"(def {name}\b|^{name} =)", sources, re.MULTILINE)}
    assert len(named) >= 25
    assert not missing, f"tests that docs/reference/puts.md names and that do not exist: {sorted(missing)}"
