"""What the EPICS Archiver Appliance needs: the list of PVs to archive, and a policy.

The list is what its business logic ``/mgmt/bpl/archivePV`` takes; the policy is a ``policies.py``, which the appliance
runs to choose how a PV is sampled and stored. Both follow the ``archive`` tags of the templates, whose dead-bands are
those of the records (``ADEL``).
"""

from __future__ import annotations

import json

from ioc.export.plant import Plant

_POLICY = '''"""Policy of the Archiver Appliance for PVs of labioc: on change, an hour, a month and years."""

_STORES = [
    "pb://localhost?name=STS&rootFolder=${ARCHAPPL_SHORT_TERM_FOLDER}&partitionGranularity=PARTITION_HOUR",
    "pb://localhost?name=MTS&rootFolder=${ARCHAPPL_MEDIUM_TERM_FOLDER}&partitionGranularity=PARTITION_DAY&hold=31&gather=1",
    "pb://localhost?name=LTS&rootFolder=${ARCHAPPL_LONG_TERM_FOLDER}&partitionGranularity=PARTITION_YEAR",
]


def getPolicyList():
    """Return the policies that may be asked for by name."""
    return {"labioc": "On change, as often as the PV is scanned"}


def getFieldsArchivedAsPartOfStream():
    """Return the fields that are kept with the values."""
    return ["HIHI", "HIGH", "LOW", "LOLO", "LOPR", "HOPR", "DESC", "EGU"]


def determinePolicy(pvInfoDict):
    """Return how a PV is sampled and stored."""
    return {
        "policyName": "labioc",
        "samplingMethod": "MONITOR",
        "samplingPeriod": 0.1,
        "dataStores": _STORES,
        "archiveFields": getFieldsArchivedAsPartOfStream(),
    }
'''


def write(plant: Plant) -> dict[str, str]:
    """Return the list, as JSON and as plain text, and the policy."""
    names = [name for name, record in plant.records.items() if record.info.get("archive", "-") != "-"]
    entries = [{"pv": name, "samplingmethod": "MONITOR", "samplingperiod": "0.1", "policy": "labioc"} for name in names]
    return {
        "pvs.json": json.dumps(entries, indent=1) + "\n",
        "pvs.txt": "\n".join(names) + "\n",
        "policies.py": _POLICY,
    }
