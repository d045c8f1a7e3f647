"""Links: bytes and frames to and from a wire, with time limits and counters; no meaning."""
