"""Micro-benchmarks of the single steps: parse, expand, build, field access, post and encode.

Run: python -m pytest bench/micro
"""

from __future__ import annotations

import itertools
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

import db
from ioc.database.dbfile import parse_template
from ioc.records import Record, RecordSet, fields_of
from ioc.server.channel import resolve
from ioc.server.dbr import encode
from ioc.server.search import answer
from ioc.site.config import Site
from ioc.site.expansion import expand

CHANNEL_TEMPLATE = Path(db.__file__).with_name("hv-channel.substitutions")
VMON = "LAB:HV0:CH00:VMON"
DBR_TIME_DOUBLE, DBR_CTRL_DOUBLE, DBR_STRING = 20, 34, 0


class Nobody:
    """A monitor that costs nothing."""

    mask = 5

    def event(self, mask: int, shared: dict[object, bytes]) -> None:
        pass


def _counting(record: Record, benchmark: BenchmarkFixture) -> None:
    values = itertools.count(1)
    benchmark(lambda: record.post(float(next(values) % 1000), 1.7e9))


def test_parse_a_template(benchmark: BenchmarkFixture) -> None:
    benchmark.pedantic(parse_template, (CHANNEL_TEMPLATE,), rounds=5)


def test_expand_200_channels(benchmark: BenchmarkFixture, site: Site) -> None:
    assert len(benchmark.pedantic(expand, (site,), rounds=3).records) > 8000


def test_build_the_records_of_200_channels(benchmark: BenchmarkFixture, site: Site) -> None:
    definitions = list(expand(site).records.values())
    benchmark.pedantic(RecordSet.build, (definitions,), rounds=3)


def test_find_a_channel(benchmark: BenchmarkFixture, records: RecordSet) -> None:
    assert benchmark(resolve, records, VMON + ".EGU") is not None


def test_get_a_field(benchmark: BenchmarkFixture, records: RecordSet) -> None:
    assert benchmark(records[VMON].get, "HIHI") is not None


def test_post_without_monitors(benchmark: BenchmarkFixture, records: RecordSet) -> None:
    _counting(records["LAB:HV1:CH00:VMON"], benchmark)


def test_post_to_one_monitor(benchmark: BenchmarkFixture, records: RecordSet) -> None:
    record, monitor = records["LAB:HV2:CH00:VMON"], Nobody()
    record.subscribe("VAL", monitor)
    _counting(record, benchmark)
    record.unsubscribe("VAL", monitor)


def test_post_what_has_not_changed(benchmark: BenchmarkFixture, records: RecordSet) -> None:
    benchmark(records["LAB:HV3:CH00:VMON"].post, 1.0, 1.7e9)


def test_encode_time_double(benchmark: BenchmarkFixture, records: RecordSet) -> None:
    benchmark(encode, records[VMON], fields_of("ai")["VAL"], DBR_TIME_DOUBLE, 1)


def test_encode_ctrl_double(benchmark: BenchmarkFixture, records: RecordSet) -> None:
    benchmark(encode, records[VMON], fields_of("ai")["VAL"], DBR_CTRL_DOUBLE, 1)


def test_encode_string(benchmark: BenchmarkFixture, records: RecordSet) -> None:
    benchmark(encode, records[VMON], fields_of("ai")["VAL"], DBR_STRING, 1)


def test_search_for_a_foreign_name(benchmark: BenchmarkFixture, records: RecordSet) -> None:
    name = b"OTHER:SYSTEM:PV:1".ljust(24, b"\0")
    search = bytes.fromhex("0006001800050 00d0000000100000001".replace(" ", "")) + name
    assert benchmark(answer, search * 20, lambda known: known in records, 5064) == []
