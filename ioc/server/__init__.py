"""Channel Access server: circuits, searches and monitors over caproto's protocol."""

from ioc.server.channel import Policy
from ioc.server.context import Server

__all__ = ["Policy", "Server"]
