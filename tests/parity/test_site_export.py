"""The soft export of a whole site in the C softIoc and in labioc side by side, driven with the same values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ioc.database.dbfile import RecordDef
from ioc.export.db import write_db
from ioc.site.config import load_site
from ioc.site.expansion import expand
from tests import dbr
from tests.labioc_server import start_labioc
from tests.libca import Channel, Context
from tests.parity.dbd import fields
from tests.parity.differences import tolerated_field
from tests.softioc import start_softioc

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "site.toml"
NUMBERS = (0.0, 1.0, 5.0, 100.0, 5000.0, 1e6, -1.0, 0.0)
STRING_TYPES = ("stringin", "stringout", "lsi")


def _definitions() -> list[RecordDef]:
    """One of each kind: a channel looks like its neighbours, so all channels but the first are left out."""
    records = expand(load_site(EXAMPLE)).records.values()
    return [record for record in records if ":CH" not in record.name or ":CH00:" in record.name]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Context, Context, list[RecordDef]]]:
    """A client of each of the two servers, which have just been started, and the records that both have."""
    path = tmp_path / "site.db"
    definitions = _definitions()
    path.write_text(write_db(definitions, soft=True), encoding="utf-8")
    softioc, labioc = start_softioc([(path, {})]), start_labioc([(path, {})])
    try:
        with Context(softioc.address) as first, Context(labioc.address) as second:
            yield first, second, definitions
    finally:
        softioc.stop()
        labioc.stop()


def _connect(context: Context, names: list[str]) -> dict[str, Channel]:
    return dict(zip(names, context.connect(names, 30.0), strict=True))


def _facts(context: Context, definitions: list[RecordDef]) -> dict[str, tuple[object, ...]]:
    """Type, count, access and text of every field of every record, and the metadata of every value."""
    keys = {
        f"{record.name}.{field}": f"{record.rtyp}.{field} DBR 0 count 1"
        for record in definitions
        for field in ("VAL", *fields(record.rtyp), "RTYP")
    }
    channels = _connect(context, list(keys))
    facts: dict[str, tuple[object, ...]] = {}
    texts = context.get_many([(channel, dbr.STRING, 1) for channel in channels.values()])
    for (name, channel), text in zip(channels.items(), texts, strict=True):
        if not tolerated_field(keys[name]):
            facts[name] = (channel.field_type, channel.element_count, channel.may_write, text.status, str(text.value))
    values = [(name, channel) for name, channel in channels.items() if name.endswith(".VAL")]
    controls = context.get_many([(channel, dbr.CTRL + channel.field_type, 1) for _, channel in values])
    for (name, _), reply in zip(values, controls, strict=True):
        facts[f"{name} CTRL"] = (reply.status, str(vars(reply.decoded)))
    return facts


def _differences(expected: dict[str, tuple[object, ...]], got: dict[str, tuple[object, ...]]) -> list[str]:
    return [f"{key}: softIoc {value}, labioc {got[key]}" for key, value in expected.items() if got[key] != value]


@pytest.mark.timeout(120)
def test_GIVEN_the_export_of_a_site_WHEN_every_field_of_every_record_is_read_THEN_both_servers_agree(
    servers: tuple[Context, Context, list[RecordDef]],
) -> None:
    softioc, labioc, definitions = servers
    different = _differences(_facts(softioc, definitions), _facts(labioc, definitions))
    assert not different, f"{len(different)} differ:\n" + "\n".join(different[:40])


def _drive(context: Context, definitions: list[RecordDef]) -> dict[str, tuple[object, ...]]:
    """Put the same values to every record, and note value, alarm and the events of a VALUE and ALARM monitor."""
    channels = _connect(context, [record.name for record in definitions])
    facts: dict[str, tuple[object, ...]] = {}
    for record in definitions:
        channel = channels[record.name]
        events = channel.monitor(dbr.TIME + channel.field_type)
        events.wait(1)
        for index, value in enumerate(_values(record)):
            status = channel.put_callback(value)
            reply = channel.get(dbr.STS + channel.field_type).decoded
            facts[f"{record.name} put {index} {value!r}"] = (status, str(reply.value), reply.status, reply.severity)
        seen = [reply.decoded for reply in events.events[1:]]
        facts[f"{record.name} events"] = tuple((str(event.value), event.status, event.severity) for event in seen)
        events.clear()
    return facts


def _values(record: RecordDef) -> tuple[object, ...]:
    if record.rtyp in STRING_TYPES:
        return "one", "two", "two", "a text"
    if record.rtyp in ("bi", "bo"):
        return 1, 0, 0, 1
    if record.rtyp in ("mbbi", "mbbo"):
        states = sum(name.endswith("ST") and name != "DIST" for name in record.fields)
        return (*range(states), 0)
    return NUMBERS


@pytest.mark.timeout(180)
def test_GIVEN_the_export_of_a_site_WHEN_both_are_driven_alike_THEN_values_alarms_and_events_agree(
    servers: tuple[Context, Context, list[RecordDef]],
) -> None:
    softioc, labioc, definitions = servers
    different = _differences(_drive(softioc, definitions), _drive(labioc, definitions))
    assert not different, f"{len(different)} differ:\n" + "\n".join(different[:40])
