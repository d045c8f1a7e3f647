"""Where the archiver puts the points of each PV: measurement, field and tags."""

from __future__ import annotations

from archiver.config import ArchiverConfig, PvSpec, read_config
from ioc.export.plant import Plant, Records, states
from ioc.site.archiver_pvs import archiver_pvs, measurements
from ioc.site.config import SiteError


class Series:
    """The archive of a site.

    Raises SiteError where it has a measurement for each PV: dashboards choose devices and channels by tags.
    """

    def __init__(self, plant: Plant) -> None:
        self.config: ArchiverConfig = read_config(plant.site.archiver, plant.prefix, measurements=measurements())
        if self.config.schema.per_pv:
            raise SiteError(["archiver.measurement_per_type: found false, dashboards for Grafana need true"])
        self._pvs = {pv.name: pv for pv in archiver_pvs(plant.site, plant.database)}

    def measurement(self, records: Records) -> str:
        """Return the measurement that some records have in common."""
        return self.config.schema.measurement(self._pv(next(iter(records)), records))

    def field(self, suffix: str, records: Records) -> str:
        """Return the field of a record."""
        return self._pv(suffix, records).field

    def flags(self, records: Records) -> list[str]:
        """Return the fields of rows that are one bit."""
        return [
            self.field(suffix, records)
            for suffix, record in records.items()
            if "core" in record.info and len(states(record)) == 2
        ]

    def _pv(self, suffix: str, records: Records) -> PvSpec:
        return self._pvs[records[suffix].name]
