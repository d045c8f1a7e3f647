"""Simple devices: an instrument that is a table of quantities, over a line of text or over Modbus."""

from devices.simple.modbus import Register, modbus_family
from devices.simple.text import Line, text_family

__all__ = ["Line", "Register", "modbus_family", "text_family"]
