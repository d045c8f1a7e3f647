"""Fragments of the changelog, and the changelog that they become."""

from __future__ import annotations

import pytest

from scripts.changelog import FragmentError, assembled, main, read

OLD = """# Changes

Read this.

## 0.1.0

### Added

- Everything.

### Fixed

- Nothing.
"""


def test_every_fragment_of_the_tree_can_be_taken():
    assert main(["--check"]) == 0


def test_a_release_of_its_own_goes_before_the_others():
    fragments = {"b.md": "One line\n  goes on.\nAnother.\n", "a.md": "### Added\n\n- New `words`.\n"}
    assert assembled(OLD, "0.2.0", fragments) == OLD.replace(
        "## 0.1.0",
        "## 0.2.0\n\n### Added\n\n- New `words`.\n\n### Changed\n\n- One line goes on.\n- Another.\n\n## 0.1.0",
    )


def test_a_release_that_is_there_gets_more_items():
    text = assembled(OLD, "0.1.0", {"a.md": "### Fixed\n- More.", "b.md": "- " + "word " * 40})
    assert text.endswith("### Fixed\n\n- Nothing.\n- More.\n")
    assert "### Added\n\n- Everything.\n\n### Changed\n\n- word word" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("text", ["", "\n", "### Nonsense\n- x", "### Fixed\n"])
def test_a_fragment_that_says_nothing_is_named(text: str):
    with pytest.raises(FragmentError, match=r"^changes/x\.md: found "):
        read("x.md", text)


def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str]):
    assert main(["next"]) == 2
    assert "0.2.0" in capsys.readouterr().err


def test_what_stands_in_front_of_the_headings_of_a_release_stays() -> None:
    before = "# Changes\n\n## 0.1.0\n\n- **First.** Read this.\n\n### Added\n\n- A.\n"
    assert "- **First.** Read this.\n\n### Added\n\n- A.\n" in assembled(before, "0.1.0", {"x.md": "B.\n"})
