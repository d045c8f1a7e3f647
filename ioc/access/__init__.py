"""Who may write what."""

from ioc.access.policy import AccessPolicy
from ioc.access.settings import Access

__all__ = ["Access", "AccessPolicy"]
