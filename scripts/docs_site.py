"""Hooks of MkDocs: the navigation is that of docs/README.md, and pages may lead to files beside docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("examples/site.toml", "examples/iseg.toml")
"""Files outside docs/ that are part of the site."""

_ITEM = re.compile(r"^- \[(?P<title>[^\]]+)\]\((?P<page>[^)#]+\.md)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the navigation: a tab for each section of docs/README.md, a page for each item of its list."""
    tabs: list[dict[str, Any]] = [{"Overview": "README.md"}]
    for line in (Path(config.docs_dir) / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            tabs.append({line.removeprefix("## "): []})
        elif item := _ITEM.match(line):
            next(iter(tabs[-1].values())).append({item["title"].replace("`", ""): item["page"]})
    config.nav = tabs
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages lead to outside of docs/."""
    for name in BESIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links that leave docs/ to the copies inside the site."""
    return markdown.replace("(../../examples/", "(../examples/")
