"""Dashboards and rules: of Grafana's own schema, with the limits of the site, and one query for the older panels."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import alerting, dashboard

from ioc.export import grafana
from ioc.export.plant import Plant
from ioc.site.config import SiteError, parse_site
from tests.ioc.export import plants

ARCHIVER = """
[[archiver.influxdb]]
url = "http://192.0.2.1:8086"
version = 1
database = "annie"
username = "labioc"
password = "secret"
[[archiver.influxdb]]
url = "https://influx.example.org"
version = 2
org = "lab"
bucket = "slowcontrol"
token = "very-secret"
"""


@pytest.fixture(scope="module")
def plant() -> Plant:
    return plants.plant(plants.HEAD + ARCHIVER)


@pytest.fixture(scope="module")
def files(plant: Plant) -> dict[str, str]:
    return grafana.write(plant)


def boards(files: dict[str, str], language: str) -> Iterator[tuple[str, Any]]:
    for path, text in files.items():
        if path.startswith(f"{language}/dashboards/"):
            yield path, json.loads(text)


def panels(files: dict[str, str], name: str, language: str = "influxql") -> dict[str, Any]:
    board = json.loads(files[f"{language}/dashboards/{name}.json"])
    return {panel["title"]: panel for panel in board["panels"]}


def subset(part: Any, whole: Any, path: str = "") -> list[str]:
    """Return where the second lacks something that the first has."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return [line for key, value in part.items() for line in subset(value, whole.get(key), f"{path}/{key}")]
    if isinstance(part, list) and isinstance(whole, list) and len(part) == len(whole):
        return [line for n, value in enumerate(part) for line in subset(value, whole[n], f"{path}/{n}")]
    return [] if part == whole or part in ({}, [], None) else [f"{path}: {part!r} became {whole!r}"]


@pytest.mark.parametrize("language", ["influxql", "flux"])
def test_grafanas_own_classes_read_the_dashboards_and_lose_nothing(files: dict[str, str], language: str) -> None:
    register_default_plugins()
    found = dict(boards(files, language))
    assert len(found) == 6
    for path, board in found.items():
        read = json.loads(json.dumps(dashboard.Dashboard.from_json(board), cls=JSONEncoder))
        for mark in board["annotations"]["list"]:
            # The schema of annotations knows those of Grafana's own data source alone; the plugin keeps its query here.
            query = mark.pop("query") if language == "influxql" else mark.pop("target")["query"]
            assert "PWR_MSG" in query
            assert mark.pop("textColumn", "PWR_MSG") == "PWR_MSG"
        assert not subset(board, read), path
        places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
        assert len(set(places)) == len(places)
        assert [panel["id"] for panel in board["panels"]] == list(range(1, len(places) + 1))
    uids = [board["uid"] for board in found.values()]
    assert len(set(uids)) == len(uids)


@pytest.mark.parametrize("language", ["influxql", "flux"])
def test_rules_alert_on_trips_links_temperature_and_the_archiver(files: dict[str, str], language: str) -> None:
    data = yaml.safe_load(files[f"{language}/provisioning/alerting/labioc.yaml"])
    (group,) = data["groups"]
    rules = {rule["title"]: rule for rule in group["rules"]}
    assert {"caen-dt55xx trip", "iseg-edcp trip", "caen-dt55xx link", "eurotherm-3200 link", "archiver"} <= rules.keys()
    for rule in rules.values():
        read = json.loads(json.dumps(alerting.Rule.from_json(rule), cls=JSONEncoder))
        assert not subset({key: rule[key] for key in ("uid", "title", "condition", "data")}, read)
        assert rule["condition"] == rule["data"][-1]["refId"]
        assert len(rule["uid"]) <= 40


def test_a_furnace_with_a_limit_has_a_rule_for_it() -> None:
    limits = "alarms.TEMP = { HIGH = 1110, HIHI = 1150 }\n"  # of the last device
    with_limit = Plant.build([parse_site(tomllib.loads(plants.site_file(head=plants.HEAD) + limits))])
    files = grafana.write(with_limit)
    rules = yaml.safe_load(files["influxql/provisioning/alerting/labioc.yaml"])["groups"][0]["rules"]
    (rule,) = [rule for rule in rules if rule["title"] == "FURN2 temperature"]
    assert rule["data"][-1]["model"]["conditions"][0]["evaluator"] == {"type": "gt", "params": [1150.0]}
    panel = panels(files, "furnace-eurotherm-3200")["Temperature"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert steps[1:] == [{"color": "orange", "value": 1110.0}, {"color": "red", "value": 1150.0}]


def test_the_data_source_is_that_of_the_site_without_its_secrets(files: dict[str, str]) -> None:
    one = yaml.safe_load(files["influxql/provisioning/datasources/labioc.yaml"])["datasources"][0]
    two = yaml.safe_load(files["flux/provisioning/datasources/labioc.yaml"])["datasources"][0]
    assert (one["url"], one["jsonData"]["dbName"], one["user"]) == ("http://192.0.2.1:8086", "annie", "labioc")
    assert (two["url"], two["jsonData"]["defaultBucket"]) == ("https://influx.example.org", "slowcontrol")
    assert "secret" not in "".join(files.values()).replace("secureJsonData", "")


def test_the_panels_of_the_older_program_are_there(files: dict[str, str]) -> None:
    found = panels(files, "hv-caen-dt55xx")
    on = found["Output"]
    assert 'last("IS_ON")' in on["targets"][0]["query"]
    options = on["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert [(options[n]["text"], options[n]["color"]) for n in "01"] == [("OFF", "red"), ("ON", "green")]
    assert re.search(r'"VMON".*"VSET".* FROM "DT5533E"', found["Voltage and setting"]["targets"][0]["query"])
    assert re.search(r'"IMON".*"ISET".* FROM "DT5533E"', found["Current and limit"]["targets"][0]["query"])
    status = found["Status"]["targets"][0]["query"]
    assert all(f'"IS_{bit}"' in status for bit in ("ON", "TRIP", "OVC", "OVV", "UNV", "MAXV", "KILL", "INTLCK"))


def test_a_measurement_for_each_pv_is_refused_with_the_key_to_change() -> None:
    head = plants.HEAD + "\n[archiver]\nmeasurement_per_type = false\n"
    with pytest.raises(SiteError, match=r"archiver\.measurement_per_type: found false"):
        grafana.write(plants.plant(head))
