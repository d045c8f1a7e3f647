"""Dashboards, alert rules and data source for Grafana, as a provisioning folder for each query language.

``influxql`` is for InfluxDB 1, ``flux`` for InfluxDB 2. Measurements and fields are those that the archiver writes.
"""

from __future__ import annotations

from ioc.export.grafana.dashboards import Dashboards
from ioc.export.grafana.provisioning import provisioning
from ioc.export.grafana.query import LANGUAGES
from ioc.export.grafana.series import Series
from ioc.export.plant import Plant


def write(plant: Plant) -> dict[str, str]:
    """Return the folders. Raises SiteError where the archive has a measurement for each PV."""
    series = Series(plant)
    files: dict[str, str] = {}
    for language in LANGUAGES:
        found = {**Dashboards(plant, series, language).files(), **provisioning(plant, series, language)}
        files |= {f"{language.name}/{path}": text for path, text in found.items()}
    return files
