"""Conservation: per destination, accepted = the sum of the outcomes + queued, as the rows say and as /metrics says.

Both are asked at a quiet moment and must agree, label by label. The end of every end-to-end test runs it.
"""

from __future__ import annotations

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from gateway.queue.base import Audit

Outcomes = Counter[tuple[str, str, str, str]]
"""(source, destination, outcome, reason); duplicates are counted with no destination."""


def disagreements(audit: Audit, metrics: str) -> list[str]:
    """Every equation that does not hold and every figure in which store and /metrics differ; empty when all is well."""
    found = list(audit.problems)
    found += [f"source {row.source} does not balance: {row}" for row in audit.sources if not row.balanced]
    found += [f"{row.lane} does not balance for {row.source}: {row}" for row in audit.lanes if not row.balanced]
    counted, depths = exposed(metrics)
    stored = recorded(audit)
    for labels in sorted(stored.keys() | counted.keys()):
        if stored[labels] != counted[labels]:
            found.append(f"{labels}: {stored[labels]} in the store, {counted[labels]} on /metrics")
    queued: Counter[str] = Counter()
    for row in audit.lanes:
        queued[row.lane] += row.queued
    for lane in sorted(queued.keys() | depths.keys()):
        if queued[lane] != depths[lane]:
            found.append(f"{lane}: {queued[lane]} queued in the store, {depths[lane]} on /metrics")
    return found


def recorded(audit: Audit) -> Outcomes:
    """The outcomes as the audit counted them."""
    counts: Outcomes = Counter()
    for row in audit.lanes:
        for (outcome, reason), n in row.outcomes.items():
            counts[(row.source, row.lane, str(outcome), reason)] += n
    for source in audit.sources:
        counts[(source.source, "", "duplicate", "same")] += source.same
        counts[(source.source, "", "duplicate", "conflict")] += source.conflict
    return +counts


def exposed(metrics: str) -> tuple[Outcomes, Counter[str]]:
    """Outcomes and queue depths as a scrape reads them."""
    counts: Outcomes = Counter()
    depths: Counter[str] = Counter()
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "tagway_outcomes_total":
                key = (labels["source"], labels["destination"], labels["outcome"], labels["reason"])
                counts[key] += int(sample.value)
            elif sample.name == "tagway_queue_depth":
                depths[labels["destination"]] += int(sample.value)
    return +counts, depths
