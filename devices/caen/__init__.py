"""CAEN DT55xxE and N1470 high-voltage supplies: a text protocol over TCP or a serial line."""
