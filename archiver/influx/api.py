"""How InfluxDB v1, v2, v3 and what else takes line protocol are written to, and what their answers mean.

Facts are those of the InfluxData documentation (1.8 "InfluxDB API reference", 2.x "Troubleshoot issues writing
data", 3 Core "Use the v3 write_lp API") and of an InfluxDB 1.6.7 that was asked: a missing database is its 404, a
missing retention policy a 500 with words, a refused point a 400 whose other points were stored, except when all were
refused; its ``dropped=`` counts only the points of the last reason. InfluxDB 2.0 answers a field type conflict with a
500, later releases of 2 with a 422, and some with a 500 that begins with ``engine:``.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

from archiver.config import ServerConfig
from archiver.influx.http import Answer, HttpClient

LONGEST_RETRY_AFTER = 300.0
"""Seconds; a server that wants to be left alone for longer is asked again after this."""

_CONFIGURATION = re.compile(
    r"database is required|database not found|retention policy not found"
    r"|(?:organization|bucket)\b.*\bnot found|authorization failed|unauthorized",
    re.IGNORECASE,
)
"""How such an error begins; further on the words may be those of a point."""

_ABOUT_POINTS = re.compile(r"partial write|field type conflict", re.IGNORECASE)
"""What an error is about the points with, whatever its status: InfluxDB 2.0 answers a type conflict with 500."""


class Outcome(Enum):
    """What an answer to a write means for the points in it."""

    STORED = "stored"
    REFUSED = "refused"  # at least one point; the others may be stored or not
    BUSY = "busy"  # nothing is known about the points, ask again later
    MISCONFIGURED = "misconfigured"  # it will be so until it is configured otherwise


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, the server's words, and how many seconds it wants to be left alone (None: it does not say)."""

    outcome: Outcome
    reason: str = ""
    retry_after: float | None = None
    repeated: str = ""
    """Of a server error, what stays the same when the same points cause it again; else empty."""


def connect(server: ServerConfig) -> HttpClient:
    """Return the client for a server. Raises OSError when its certificates cannot be read."""
    try:
        return HttpClient(server.url, server.timeout, server.ca_file, server.verify)
    except OSError as error:
        raise OSError(f"{server.name}: ca_file {server.ca_file} cannot be used: {error}") from error


def write_request(server: ServerConfig) -> tuple[str, dict[str, str]]:
    """Return path and query of a write; an empty setting is left out."""
    if server.version == 2:
        return "/api/v2/write", {"org": server.org, "bucket": server.bucket, "precision": "ns"}
    if server.version == 3:
        return "/api/v3/write_lp", {"db": server.database, "precision": "nanosecond"}
    query = {"db": server.database, "rp": server.retention_policy, "precision": "ns"}
    return "/write", {key: value for key, value in query.items() if value}


def authorization(server: ServerConfig) -> dict[str, str]:
    """Return the header that says who writes, if the settings say it."""
    if server.token:
        return {"Authorization": f"{'Bearer' if server.version == 3 else 'Token'} {server.token}"}
    if server.username:
        credentials = f"{server.username}:{server.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}
    return {}


def judge(answer: Answer, now: datetime | None = None) -> Verdict:
    """Say what the answer to a write means. Only 204 is a success: a proxy's page may well come with a 200."""
    status = answer.status
    if status == 204:
        return Verdict(Outcome.STORED)
    words, from_database = _words(answer)
    reason = f"{status} {words}".strip()
    if status in (401, 403, 404) or (status in (400, 500) and _CONFIGURATION.match(words)):
        return Verdict(Outcome.MISCONFIGURED, reason)
    if status >= 500 and _ABOUT_POINTS.search(words):
        return Verdict(Outcome.REFUSED, reason)
    if status in (400, 422) and not from_database:
        # A proxy, or http where https is wanted: every point would become a dead letter.
        return Verdict(Outcome.MISCONFIGURED, f"{reason} (no database says so: is the address right?)")
    if status in (400, 413, 422):
        return Verdict(Outcome.REFUSED, reason)
    if status in (408, 425, 429) or status >= 500:
        repeated = re.sub("[0-9]+", "#", reason) if status >= 500 else ""
        return Verdict(Outcome.BUSY, reason, _retry_after(answer, now), repeated)
    return Verdict(Outcome.MISCONFIGURED, f"{reason} (204 expected: is this the address of a database?)")


def _words(answer: Answer) -> tuple[str, bool]:
    """Return the text of an error, and whether it has the form in which databases tell one.

    That is JSON: v1 and v3 say ``error``, v2 ``message``; v3 adds what is wrong with which line.
    """
    text = answer.body.decode("utf-8", "replace").strip()
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return " ".join(text.split())[:500], False
    words = str(data.get("error") or data.get("message") or text)
    details = data.get("data")
    if isinstance(details, list) and details and isinstance(details[0], dict):
        words += f": {details[0].get('error_message', details[0])}"
    return " ".join(words.split())[:500], True


def _retry_after(answer: Answer, now: datetime | None) -> float | None:
    """Read Retry-After, seconds or a date; None when there is none or it can't be read."""
    text = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - (now or datetime.now(UTC))).total_seconds(), 0.0), LONGEST_RETRY_AFTER)
