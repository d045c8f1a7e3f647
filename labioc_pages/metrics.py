"""Metrics in the Prometheus text format (exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with its samples; ``name`` has no prefix, ``kind`` is ``gauge`` or ``counter``."""

    name: str
    kind: str
    text: str
    samples: Iterable[tuple[Labels, float]]


def single(name: str, kind: str, text: str, value: float) -> Metric:
    """Return a metric that has one value."""
    return Metric(name, kind, text, [({}, value)])


def exposition(prefix: str, metrics: Iterable[Metric]) -> str:
    """Write metrics, each name with the prefix in front."""
    return "\n".join(line for metric in metrics for line in _lines(f"{prefix}_{metric.name}", metric)) + "\n"


def _lines(name: str, metric: Metric) -> Iterator[str]:
    yield f"# HELP {name} {metric.text}"
    yield f"# TYPE {name} {metric.kind}"
    for labels, value in metric.samples:
        inner = ",".join(f'{key}="{_label(word)}"' for key, word in labels.items())
        yield f"{name}{{{inner}}} {value}" if inner else f"{name} {value}"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
