"""Who may read and write what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ioc.access.policy import Access, AccessPolicy, Policy

if TYPE_CHECKING:
    from ioc.inputs import Inputs

__all__ = ["Access", "AccessPolicy", "Policy", "make_policy"]


def make_policy(access: Access, make_inputs: Callable[[], Inputs]) -> Policy:
    """Return what judges the clients of a site; ``make_inputs`` makes what reads PVs that rules depend on.

    Raises AcfError for an access security file that cannot be used.
    """
    if access.acf is None:
        return AccessPolicy(access)
    from ioc.access.acf_policy import AcfPolicy  # noqa: PLC0415  most sites have no such file

    return AcfPolicy(access, make_inputs)
