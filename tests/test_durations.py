"""Histograms of our own say what the library's would."""

import random

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from gateway.meter import Durations
from gateway.observe.durations import DurationCollector

BOUNDS = (0.001, 0.0025, 0.01, 0.5, 1.0, 10.0)


def test_they_are_exposed_like_the_librarys() -> None:
    ours, theirs, draw = CollectorRegistry(), CollectorRegistry(), random.Random(5)
    mine = DurationCollector("taken_seconds", "Time taken.", ("place",), BOUNDS)
    ours.register(mine)
    other = Histogram("taken_seconds", "Time taken.", ("place",), buckets=BOUNDS, registry=theirs)
    for _ in range(500):
        place, seconds = draw.choice("ab"), draw.choice((0.0, 25.0, draw.uniform(0, 1), *BOUNDS))
        mine.labels(place).observe(seconds)
        other.labels(place).observe(seconds)
    assert sorted(generate_latest(ours).splitlines()) == sorted(generate_latest(theirs).splitlines())


def test_a_family_without_labels_is_there_from_the_start() -> None:
    registry = CollectorRegistry()
    registry.register(DurationCollector("taken_seconds", "Time taken.", (), BOUNDS))
    assert b"taken_seconds_count 0.0" in generate_latest(registry)


def test_what_two_have_counted_adds_up() -> None:
    one, two, both = Durations(BOUNDS), Durations(BOUNDS), Durations(BOUNDS)
    for n in range(40):
        (one if n % 3 else two).observe(n / 4)
        both.observe(n / 4)
    one.add(two)
    assert (one.counts, one.total) == (both.counts, both.total)
