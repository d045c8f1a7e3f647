"""The documentation builds as a site without a warning, and nothing of its Markdown is left over."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == ""
    return folder


def test_every_page_is_there_and_no_markdown_is_left(site: Path) -> None:
    for page in PAGES:
        html = (site / page.with_name("index.html" if page.name == "README.md" else f"{page.stem}.html")).read_text()
        text = re.sub(r"<(pre|code|script)\b.*?</\1>", "", html, flags=re.DOTALL)
        assert "```" not in text, f"{page}: a block of code is not one"
        assert "|---" not in text, f"{page}: a table is not one"
        assert "<h1" in html, page


def test_words_of_the_field_are_found(site: Path) -> None:
    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    for word in ("IOC", "PV", "Channel Access", "Record", "Alarm severity", "Dead-band"):
        assert any(entry["title"] == word and "glossary" in entry["location"] for entry in entries), word


def test_it_needs_no_network(site: Path) -> None:
    html = (site / "index.html").read_text()
    loaded = re.findall(r"""(?:src|href)=["'](https?://[^"']+)""", html)
    assert [url for url in loaded if "squidfunk" not in url and "zensical" not in url] == []


def test_what_is_beside_the_pages_comes_along(site: Path) -> None:
    assert (site / "examples" / "site.toml").read_text() == (ROOT / "examples" / "site.toml").read_text()
