"""A Channel Access client for commands: connect many PVs, read them with units and alarm, put with completion, monitor.

The protocol is caproto's, without its own clients: those send a put a second time when a connection breaks, and do not
understand errors and name servers.
"""

from ioc.client.channel import Channel, PutError, ReadError
from ioc.client.client import Client, reason_of
from ioc.client.reading import Reading

__all__ = ["Channel", "Client", "PutError", "ReadError", "Reading", "reason_of"]
