"""The EDCP protocol: items, bits and frames; no I/O."""
