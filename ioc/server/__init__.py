"""Channel Access server: circuits, searches and monitors over caproto's protocol."""

from ioc.server.context import Server
from ioc.server.network import Network, NetworkError

__all__ = ["Network", "NetworkError", "Server"]
