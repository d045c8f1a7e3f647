"""What is asked of InfluxDB v1, v2 and v3, and what their answers mean."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from archiver.config import PvSpec, ServerConfig
from archiver.history.samples import Sample, from_influxdb
from archiver.influx.api import Outcome, authorization, judge, write_request
from archiver.influx.http import Answer, HttpClient, NoAnswer
from archiver.influx.setup import SetupError, set_up
from archiver.points.catalogue import catalogue
from tests.archiver.schemas import SCHEMA

V1 = ServerConfig("one", "http://h", 1, database="lab", username="u", password="p")
V2 = ServerConfig("two", "http://h", 2, org="o", bucket="b", token="t")
V3 = ServerConfig("three", "http://h", 3, database="lab", token="t")
LINE = ServerConfig("line", "http://h", "line")


def test_each_version_is_written_to_in_its_own_way() -> None:
    assert write_request(V1) == ("/write", {"db": "lab", "precision": "ns"})
    assert write_request(V2) == ("/api/v2/write", {"org": "o", "bucket": "b", "precision": "ns"})
    assert write_request(V3) == ("/api/v3/write_lp", {"db": "lab", "precision": "nanosecond"})
    assert write_request(LINE) == ("/write", {"precision": "ns"})
    assert authorization(V1) == {"Authorization": "Basic dTpw"}
    assert authorization(V2) == {"Authorization": "Token t"}
    assert authorization(V3) == {"Authorization": "Bearer t"}
    assert authorization(LINE) == {}


@pytest.mark.parametrize(
    ("status", "body", "outcome", "words"),
    [
        (204, "", Outcome.STORED, ""),
        (200, "<html>", Outcome.MISCONFIGURED, "is this the address of a database"),
        (301, "", Outcome.MISCONFIGURED, "301"),
        (
            400,
            '{"error":"partial write: field type conflict"}',
            Outcome.REFUSED,
            "400 partial write: field type conflict",
        ),
        (400, '{"error":"database is required"}', Outcome.MISCONFIGURED, "database is required"),
        (401, '{"code":"unauthorized","message":"unauthorized access"}', Outcome.MISCONFIGURED, "unauthorized access"),
        (403, "", Outcome.MISCONFIGURED, "403"),
        (404, '{"message":"bucket \\"b\\" not found"}', Outcome.MISCONFIGURED, "not found"),
        (413, "too large", Outcome.REFUSED, "413 too large"),
        (422, '{"message":"beyond retention"}', Outcome.REFUSED, "beyond retention"),
        (429, "", Outcome.BUSY, "429"),
        (500, '{"error":"retention policy not found: x"}', Outcome.MISCONFIGURED, "not found"),
        (500, '{"error":"timeout"}', Outcome.BUSY, "timeout"),
        (503, "", Outcome.BUSY, "503"),
        # InfluxDB 2.0, and later releases, of points with a field of another type.
        (500, '{"code":"internal error","message":"engine: field type conflict"}', Outcome.REFUSED, "field type"),
        (503, '{"message":"partial write: dropped=3"}', Outcome.REFUSED, "partial write"),
        (
            400,
            '{"error":"partial write of line protocol occurred","data":[{"error_message":"invalid column type"}]}',
            Outcome.REFUSED,
            "occurred: invalid column type",
        ),
        (500, "[1]", Outcome.BUSY, "[1]"),
        # What stands between us and the database knows nothing of points.
        (400, "Client sent an HTTP request to an HTTPS server.", Outcome.MISCONFIGURED, "HTTPS server"),
        (400, "<html>400 The plain HTTP request was sent to HTTPS port</html>", Outcome.MISCONFIGURED, "no database"),
        (400, "", Outcome.MISCONFIGURED, "no database"),
        (422, "[]", Outcome.MISCONFIGURED, "no database"),
        # Words in a point are not those of the server.
        (
            400,
            '{"error":"partial write: field type conflict: input field \\"v\\" on \\"DOOR:UNAUTHORIZED\\""}',
            Outcome.REFUSED,
            "UNAUTHORIZED",
        ),
        (
            400,
            '{"error":"unable to parse \'m v=\\"database not found\\"\': invalid number"}',
            Outcome.REFUSED,
            "unable to parse",
        ),
        (400, '{"message":"bucket \\"b\\" not found"}', Outcome.MISCONFIGURED, "not found"),
        (400, '{"error":"organization name \\"o\\" not found"}', Outcome.MISCONFIGURED, "not found"),
    ],
)
def test_answers_are_judged(status: int, body: str, outcome: Outcome, words: str) -> None:
    verdict = judge(Answer(status, {}, body.encode()))
    assert verdict.outcome is outcome
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("100000", 300.0),
        ("Tue, 14 Nov 2023 22:13:25 GMT", 5.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_read(text: str, seconds: float | None) -> None:
    now = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert judge(Answer(503, {"retry-after": text}, b""), now).retry_after == seconds


class Script:
    """A server that answers (method, path) with (status, JSON) and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.asked: list[tuple[str, str, dict[str, list[str]], Any]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def _any(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                script.asked.append((self.command, parts.path, parse_qs(parts.query), json.loads(body or b"null")))
                status, data = script.answers.get((self.command, parts.path), (404, {"message": "unknown"}))
                answer = json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(answer), answer))

            do_GET = do_POST = do_PATCH = _any  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def script() -> Iterator[Script]:
    one = Script()
    yield one
    one.stop()


def test_v2_gets_bucket_and_task(script: Script) -> None:
    server = ServerConfig("two", script.url, 2, org="o", bucket="b", token="t", retention="30d", downsample=("1m",))
    script.answers = {
        ("GET", "/api/v2/orgs"): (200, {"orgs": [{"id": "42"}]}),
        ("GET", "/api/v2/tasks"): (200, {"tasks": []}),
        ("POST", "/api/v2/buckets"): (201, {}),
        ("POST", "/api/v2/tasks"): (201, {}),
    }
    assert set_up(server) == [
        "two: bucket b, 30d",
        "two: bucket b_1m, for ever",
        "two: task labioc_b_1m, mean, min, max and last of 1m",
    ]
    bodies = [body for method, _, _, body in script.asked if method == "POST"]
    assert bodies[0] == {"orgID": "42", "name": "b", "retentionRules": [{"type": "expire", "everySeconds": 2592000}]}
    assert 'from(bucket: "b")' in bodies[2]["flux"]
    statements = [line.split()[0] for line in bodies[2]["flux"].splitlines()]
    assert statements[:3] == ["import", "import", "option"]  # Flux takes imports at the beginning only
    script.answers[("GET", "/api/v2/buckets")] = (200, {"buckets": [{"id": "7"}]})
    script.answers[("GET", "/api/v2/tasks")] = (200, {"tasks": [{"name": "labioc_b_1m", "id": "9"}]})
    script.answers[("PATCH", "/api/v2/tasks/9")] = (200, {})
    script.answers[("PATCH", "/api/v2/buckets/7")] = (200, {})
    script.asked.clear()
    set_up(server)
    assert [method for method, *_ in script.asked if method != "GET"] == ["PATCH", "PATCH"]


def test_v3_gets_a_database_once(script: Script) -> None:
    server = ServerConfig("three", script.url, 3, database="lab", token="t", retention="52w")
    script.answers = {("POST", "/api/v3/configure/database"): (200, {})}
    assert set_up(server) == ["three: database lab, 52w"]
    assert script.asked[-1][3] == {"db": "lab", "retention_period": "52w"}
    script.answers = {("POST", "/api/v3/configure/database"): (409, {"error": "exists"})}
    assert set_up(server) == ["three: database lab was there, with its retention"]
    script.answers = {}
    with pytest.raises(SetupError, match="404"):
        set_up(server)


def test_a_missing_organization_and_a_missing_server_are_reported(script: Script) -> None:
    script.answers = {("GET", "/api/v2/orgs"): (200, {"orgs": []})}
    with pytest.raises(SetupError, match="no organization o"):
        set_up(ServerConfig("two", script.url, 2, org="o", bucket="b", token="t"))
    with pytest.raises(SetupError, match="refused"):
        set_up(ServerConfig("one", "http://127.0.0.1:9", 1, database="lab"))
    assert set_up(ServerConfig("vm", "http://127.0.0.1:9", "line")) == ["vm: nothing to create"]


def test_v3_is_asked_for_a_history(script: Script) -> None:
    rows = [{"time": "2023-11-14T22:13:20.000000001", "VMON": 1.5, "VMON_sev": None}]
    script.answers = {("GET", "/api/v3/query_influxql"): (200, rows)}
    pv = PvSpec("LAB:HV1:CH01:VMON", "HV1", "caen-dt55xx", "01", "VMON", "monitor", "ai")
    server = ServerConfig("three", script.url, 3, database="lab", token="t")
    samples = list(from_influxdb(server, catalogue([pv], SCHEMA), pv.name, 0, 2 * 10**18))
    assert samples[0] == Sample(1_700_000_000 * 10**9 + 1, 1.5)
    queries = [asked[2]["q"][0] for asked in script.asked]
    (query,) = (q for q in queries if q.startswith('SELECT "VMON", "VMON_sev" FROM "DT5533E" WHERE time >= 0'))
    assert "\"channel\" = '1' AND \"device\" = 'HV1'" in query


def test_a_long_answer_is_cut_and_the_connection_still_good(script: Script) -> None:
    script.answers = {("GET", "/x"): (200, "y" * 100_000)}
    client = HttpClient(script.url + "/", 2.0)
    try:
        assert len(client.request("GET", "/x", limit=1000).body) == 1000
        assert len(client.request("GET", "/x", limit=200_000).body) == 100_002
    finally:
        client.close()


def test_an_interrupted_client_asks_no_more(script: Script) -> None:
    client = HttpClient(script.url, 2.0)
    client.interrupt()
    with pytest.raises(NoAnswer):
        client.request("GET", "/x")
    client.close()
