"""The device families, by the ``type`` key of a ``[[device]]`` in the site file.

A family is one folder, one template and one line here; one of another package is an entry point in the group
``labioc.families``.
"""

from __future__ import annotations

from devices.family import Families

FAMILIES = Families(
    {
        "caen-dt55xx": "devices.caen.family:FAMILY",
        "iseg-edcp": "devices.iseg.family:FAMILY",
        "eurotherm-3200": "devices.eurotherm.family:FAMILY",
    }
)
"""Every family by its type."""
