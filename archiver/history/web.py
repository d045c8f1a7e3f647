"""The archive over HTTP, read-only, as programs of the EPICS world ask for it.

* ``/archive/...``: the JSON archive protocol that the Data Browser of Phoebus and CS-Studio calls ``json:``
  (app/databrowser-json of Phoebus; its reader refuses what it does not know, so nothing is added).
* ``/retrieval/data/getData.json`` and ``getData.qw``, ``/retrieval/bpl/getMatchingPVs``: those of the Archiver
  Appliance (its user guide, "Retrieval"), which Python clients and Grafana's data sources use.
"""

from __future__ import annotations

import gzip
import json
import logging
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import translate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, islice
from typing import Any, Final
from urllib.parse import parse_qs, unquote, unquote_plus, urlsplit

from archiver.config import PvSpec
from archiver.history.bins import Bin, bins
from archiver.history.moments import parse_moment
from archiver.history.samples import SEVERITIES, HistoryError, Sample, with_severity
from archiver.points.catalogue import Catalogue

log = logging.getLogger("labioc.archiver")

KEY: Final = "1"
_NS: Final = 1_000_000_000
_HOUR_NS: Final = 3600 * _NS
_LEVELS: Final = ("OK", "MINOR", "MAJOR", "INVALID")
_SMALLEST_GZIP: Final = 1000
_OPERATOR: Final = re.compile(r"(?:(mean|min|max|firstSample|lastSample|optimized)_([1-9][0-9]*)\()?([^()]+)\)?")
_REQUEST_SECONDS: Final = 60.0

MOST_SAMPLES: Final = 1_000_000
"""So many of a PV one answer has; of a signal with 1 Hz, those of 11 days. Those that go into bins are not counted."""

_MOST_ANSWERS: Final = 2
"""Answers that are made at the same time, because each holds its samples in memory; others wait for their turn."""

_MOST_CLIENTS: Final = 32
"""Connections at the same time; a further one is closed."""

_LONGEST_PATTERN: Final = 200
_ENCODED_AT_ONCE: Final = 10_000

History = Callable[[str, int, int], Iterator[Sample]]
"""Gives the samples of a PV between two times, in front of them what was in force at the first."""


class BadRequest(Exception):
    """What was asked cannot be understood; the text says why."""


class TooMany(BadRequest):
    """There are more samples than may be held at once."""


class NotFound(Exception):
    """There is no such page, or no such PV."""


class ArchivePages:
    """Makes the pages; ``now`` gives Unix nanoseconds."""

    def __init__(self, known: Catalogue, history: History, name: str, now: Callable[[], int]) -> None:
        self._known = known
        self._history = history
        self._name = name
        self._now = now

    def page(self, target: str) -> Any:
        """Return what a path with its query asks for, to be sent as JSON. Raises NotFound, BadRequest, HistoryError."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        words = parts.path.strip("/").split("/")
        match words:
            case ["archive"]:
                return [{"key": int(KEY), "name": self._name, "description": f"labioc archive of {self._name}"}]
            case ["archive", key, "channels-by-pattern", pattern] if key == KEY:
                return self._matching(unquote_plus(pattern))
            case ["archive", key, "samples", pv] if key == KEY:
                return self._samples(unquote(pv.replace("+", " ")), query)
            case ["retrieval", "data", "getData.json"] | ["data", "getData.json"]:
                return self._appliance(query, "secs")
            case ["retrieval", "data", "getData.qw"] | ["data", "getData.qw"]:
                return self._appliance(query, "millis")
            case ["retrieval", "bpl", "getMatchingPVs"] | ["bpl", "getMatchingPVs"]:
                names = self._matching(query.get("pv", "*"))
                limit = _integer(query, "limit", 500)
                return names if limit < 0 else names[:limit]
        raise NotFound("there are /archive/ and /retrieval/data/getData.json")

    def _matching(self, pattern: str) -> list[str]:
        if len(pattern) > _LONGEST_PATTERN:
            raise BadRequest(f"a pattern has {_LONGEST_PATTERN} characters at most, this one has {len(pattern)}")
        matches = re.compile(translate(pattern)).match  # fnmatchcase would keep 32,768 patterns of clients in memory
        return sorted(filter(matches, self._known.pvs))

    def _pv(self, name: str) -> PvSpec:
        try:
            return self._known.pvs[name]
        except KeyError:
            raise NotFound(f"{name} is not archived here") from None

    def _samples(self, name: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        pv = self._pv(name)
        now = self._now()
        since, until = _integer(query, "start", now - _HOUR_NS), _integer(query, "end", now)
        count = _integer(query, "count", 0)
        few, rest = self._history_up_to(name, since, until, count if 0 < count < MOST_SAMPLES else MOST_SAMPLES)
        if rest is not None and count > 0 and not pv.states and _numeric(few):
            width = max((until - since) // min(count, MOST_SAMPLES), 1)
            return (_json_bin(pv, one) for one in bins(chain(few, rest), since, width))
        return _json_samples(pv, self._all(name, few, rest))

    def _history_up_to(
        self, name: str, since: int, until: int, most: int
    ) -> tuple[list[Sample], Iterator[Sample] | None]:
        """Return the first samples of a PV, and the others when there are more than ``most``."""
        samples = self._history(name, since, until)
        few = list(islice(samples, most + 1))
        return few, samples if len(few) > most else None

    def _all(self, name: str, few: list[Sample], rest: Iterator[Sample] | None) -> list[Sample]:
        """Return all samples in the order of their stamps. Raises TooMany."""
        samples = [*few, *islice(rest or (), MOST_SAMPLES + 1 - len(few))]
        if len(samples) > MOST_SAMPLES:
            raise TooMany(f"{name} has more than {MOST_SAMPLES} samples there: ask for a shorter time, or for bins")
        return sorted(samples, key=lambda sample: sample.time)

    def _appliance(self, query: Mapping[str, str], stamp: str) -> list[dict[str, Any]]:
        match = _OPERATOR.fullmatch(query.get("pv", ""))
        if match is None:
            raise BadRequest("pv: NAME, or mean_60(NAME), min, max, firstSample, lastSample, optimized are possible")
        operator, number, name = match.groups()
        pv = self._pv(name)
        now = self._now()
        since, until = parse_moment(query.get("from", "1h"), now), parse_moment(query.get("to", "0s"), now)
        most = min(int(number), MOST_SAMPLES) if operator == "optimized" else 0 if operator else MOST_SAMPLES
        few, rest = self._history_up_to(name, since, until, most)
        if operator is not None and rest is not None and _numeric(few):
            width = int(number) * _NS if operator != "optimized" else max((until - since) // most, 1)
            found = (one for one in bins(chain(few, rest), since, width) if not math.isnan(one.mean))  # JSON has no NaN
            data = [_appliance_bin(one, operator, stamp) for one in islice(found, MOST_SAMPLES + 1)]
            if len(data) > MOST_SAMPLES:
                raise TooMany(f"{name} has more than {MOST_SAMPLES} bins there: ask for a shorter time, or longer bins")
        else:
            data = list(_appliance_samples(self._all(name, few, rest), stamp))
        return [{"meta": _meta(pv), "data": data}]


class ArchiveServer(ThreadingHTTPServer):
    """Serves the pages, in threads of its own: reading the log must not hold up the bridge."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, pages: ArchivePages, host: str, port: int) -> None:
        self.pages = pages
        self.turn = threading.Semaphore(_MOST_ANSWERS)
        self._clients = threading.Semaphore(_MOST_CLIENTS)
        super().__init__((host, port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="archive over HTTP")

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nothing more; what is under way is given up."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for a client, unless there are too many."""
        if self._clients.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a client, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._clients.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
        log.debug("archive over HTTP: %s", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: ArchiveServer
    timeout = _REQUEST_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("archive over HTTP: %s", format % args)

    def do_GET(self) -> None:
        try:
            with self.server.turn:
                body = _encoded(self.server.pages.page(self.path))
            self._send(200, body, "application/json")
        except NotFound as error:
            self._send(404, f"{error}\n".encode(), "text/plain")
        except (BadRequest, ValueError) as error:
            self._send(400, f"{error}\n".encode(), "text/plain")
        except (HistoryError, OSError) as error:
            log.warning("archive over HTTP: %s: %s", self.path, error)
            self._send(503, f"{error}\n".encode(), "text/plain")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        if len(body) >= _SMALLEST_GZIP and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _encoded(page: Any) -> bytes:
    """Write a page as JSON; a long list piece by piece, because its objects need ten times the memory of their text."""
    if not isinstance(page, Iterator):
        return json.dumps(page).encode()
    pieces = []
    while piece := list(islice(page, _ENCODED_AT_ONCE)):
        pieces.append(json.dumps(piece)[1:-1].encode())
    return b"[" + b", ".join(pieces) + b"]"


def _integer(query: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(query.get(name, default))
    except ValueError:
        raise BadRequest(f"{name}: {query[name]!r} is no whole number") from None


def _numeric(samples: Sequence[Sample]) -> bool:
    return not any(isinstance(sample.value, str) for sample in samples)


def _json_samples(pv: PvSpec, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
    for sample, severity in with_severity(samples):
        if sample.connected:
            continue  # the value that follows says it
        value = sample.value
        head = _json_head(sample.time, severity, value is not None, "Original")
        if sample.connected is not None:
            head["severity"]["level"], head["status"] = "INVALID", "Disconnected"
        if isinstance(value, str):
            yield {**head, "type": "string", "value": [value]}
        elif pv.states and isinstance(value, int):
            yield {**head, "metaData": {"type": "enum", "states": list(pv.states)}, "type": "enum", "value": [value]}
        elif isinstance(value, int) and pv.rtyp.startswith(("long", "int")):
            yield {**head, "metaData": _numeric_meta(pv), "type": "long", "value": [value]}
        elif value is None and pv.rtyp.startswith(("string", "ls")):
            yield {**head, "type": "string", "value": [head["status"]]}
        else:
            number: float | str = "NaN" if value is None else float(value)
            yield {**head, "metaData": _numeric_meta(pv), "type": "double", "value": [number]}


def _json_bin(pv: PvSpec, one: Bin) -> dict[str, Any]:
    mean, low, high = ("NaN" if math.isnan(one.mean) else number for number in (one.mean, one.minimum, one.maximum))
    return {
        **_json_head(one.time, one.severity, mean != "NaN", "Interpolated"),
        "metaData": _numeric_meta(pv),
        "type": "minMaxDouble",
        "value": [mean],
        "minimum": low,
        "maximum": high,
    }


def _json_head(time: int, severity: int, known: bool, quality: str) -> dict[str, Any]:
    level = {"level": _LEVELS[severity & 3], "hasValue": known}
    return {"time": time, "severity": level, "status": SEVERITIES[severity & 3], "quality": quality}


def _numeric_meta(pv: PvSpec) -> dict[str, Any]:
    unknown = dict.fromkeys(("displayLow", "displayHigh", "warnLow", "warnHigh", "alarmLow", "alarmHigh"), "NaN")
    return {"type": "numeric", "precision": pv.precision or 0, "units": pv.unit, **unknown}


def _meta(pv: PvSpec) -> dict[str, str]:
    return {"name": pv.name, "EGU": pv.unit, "PREC": str(pv.precision or 0)}


def _appliance_samples(samples: Sequence[Sample], stamp: str) -> Iterator[dict[str, Any]]:
    """Yield the samples with a value; the first one after a loss says, as there, how long nothing was known."""
    lost: int | None = None
    for sample, severity in with_severity(samples):
        if sample.value is not None:
            one = {**_stamp(sample.time, stamp), "val": sample.value, "severity": severity, "status": 0}
            if lost is not None:
                one["fields"] = {"cnxlostepsecs": str(lost // _NS), "cnxregainedepsecs": str(sample.time // _NS)}
            yield one
            lost = None
        elif not sample.connected and lost is None:
            lost = sample.time


def _appliance_bin(one: Bin, operator: str, stamp: str) -> dict[str, Any]:
    values = {"min": one.minimum, "max": one.maximum, "firstSample": one.first, "lastSample": one.last}
    return {**_stamp(one.time, stamp), "val": values.get(operator, one.mean), "severity": one.severity, "status": 0}


def _stamp(time: int, name: str) -> dict[str, Any]:
    return {name: time // (_NS if name == "secs" else 1_000_000), "nanos": time % _NS}
