"""What a self-test has found, and the report of it: text, JSON, HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from ioc.clock import local_time


class Result(IntEnum):
    """How a check ended, the worst last; only FAILED makes the whole test fail."""

    OK = 0
    NOTE = 1
    WARNING = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: ``area`` is what it is about (``link``, ``limits``), ``subject`` the device, PV or file."""

    result: Result
    area: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of a test of a site; ``source`` says how the values were got, ``time`` is Unix time of its begin."""

    site: str
    source: str
    time: float
    findings: Sequence[Finding]

    @property
    def failed(self) -> bool:
        """Whether something is wrong."""
        return any(one.result is Result.FAILED for one in self.findings)

    @property
    def summary(self) -> str:
        """The result in one line."""
        counts = {result: sum(one.result is result for one in self.findings) for result in Result}
        verdict = "FAILED" if self.failed else "passed"
        return (
            f"self-test {verdict}: {counts[Result.FAILED]} failed, {counts[Result.WARNING]} warnings,"
            f" {counts[Result.NOTE]} notes, {counts[Result.OK]} ok"
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        findings = [asdict(one) | {"result": one.result.name.lower()} for one in self.findings]
        return {
            "site": self.site,
            "source": self.source,
            "time": self.time,
            "failed": self.failed,
            "findings": findings,
        }

    def lines(self, everything: bool = False) -> Iterator[str]:
        """Yield it for a terminal, the worst of each area first; what is ok only if ``everything`` is asked for."""
        yield f"{self.site}, {local_time(self.time)}, {self.source}"
        shown = [one for one in self.findings if everything or one.result is not Result.OK]
        width = max((len(one.subject) for one in shown), default=0)
        for one in shown:
            yield f"{one.result.name:8} {one.area:10} {one.subject:{width}}  {one.text}"
        yield self.summary

    def as_html(self) -> str:
        """Return it as a page that needs nothing else."""
        rows = [
            f'<tr class="{one.result.name}"><td>{one.result.name}</td>'
            + "".join(f"<td>{html.escape(text)}</td>" for text in (one.area, one.subject, one.text))
            + "</tr>"
            for one in self.findings
        ]
        head = html.escape(f"Self-test of {self.site}")
        about = html.escape(f"{local_time(self.time)}, {self.source}")
        return _PAGE.format(head=head, about=about, summary=html.escape(self.summary), rows="\n".join(rows))


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{head}</title><style>
body {{ font-family: sans-serif; margin: 2em; }} table {{ border-collapse: collapse; }}
td, th {{ border: 1px solid #ccc; padding: 0.2em 0.6em; text-align: left; vertical-align: top; }}
.FAILED td:first-child {{ background: #f4b6b0; }} .WARNING td:first-child {{ background: #fbe3a1; }}
.NOTE td:first-child {{ background: #d5e3f4; }} .OK td:first-child {{ background: #cdebc8; }}
</style></head><body><h1>{head}</h1><p>{about}</p><p><b>{summary}</b></p>
<table><tr><th>result</th><th>area</th><th>subject</th><th>what was found</th></tr>
{rows}
</table></body></html>
"""
