"""Makes the Grafana dashboard: `python deploy/grafana/dashboard.py > deploy/grafana/tagway.json`.

The panels are the ledger equation and the lanes. Every expression uses only families of gateway/observe/metrics.py and records
of deploy/prometheus/tagway.rules.yaml (tests/test_deploy.py holds that, and that the JSON is what this script makes).
"""

from __future__ import annotations

import json
from typing import Any

SELECT = '{instance=~"$instance"}'
WHERE = 'instance=~"$instance"'
ENDED = f'sum by (destination, outcome, reason) (tagway_outcomes_total{{{WHERE}, destination!=""}})'
ENDED_BEFORE = f'sum by (destination, outcome, reason) (tagway_outcomes_total{{{WHERE}, destination!=""}} offset 24h)'

# title, kind, unit, width, [(legend, expression)], description
Panel = tuple[str, str, str, int, list[tuple[str, str]], str]

PANELS: list[tuple[str, list[Panel]]] = [
    (
        "Is it well?",
        [
            ("Hits a second", "stat", "reqps", 4, [("", f"sum(rate(tagway_http_requests_total{SELECT}[5m]))")], ""),
            ("Answered with 5xx", "stat", "percentunit", 4, [("", "max(tagway:failed_requests:ratio5m)")], "Bar: 0.1 %."),
            (
                "95 % answered within", "stat", "s", 4,
                [("", f"histogram_quantile(0.95, sum by (le) (rate(tagway_http_request_duration_seconds_bucket{SELECT}[5m])))")],
                "Bar: 500 ms.",
            ),
            ("Queued", "stat", "short", 4, [("", f"sum(tagway_queue_depth{SELECT})")], "Events that wait for a destination."),
            ("Oldest that waits", "stat", "s", 4, [("", f"max(tagway_queue_oldest_age_seconds{SELECT})")], ""),
            ("Disk left", "stat", "bytes", 4, [("", f"min(tagway_disk_free_bytes{SELECT})")], ""),
        ],
    ),
    (
        "The equation: logged = delivered + not sent + failed + queued",
        [
            (
                "What became of the events of the last 24 h", "table", "short", 24,
                [("", f"{ENDED} - ({ENDED_BEFORE} or {ENDED} * 0)")],
                "Counters live in the store: restarts change nothing. Below zero: taken back by a replay. `tagway audit` prints the exact equation.",
            ),
            (
                "Outcomes a second, by destination and outcome", "timeseries", "short", 12,
                [("{{destination}} {{outcome}}", f'sum by (destination, outcome) (rate(tagway_outcomes_total{{{WHERE}, destination!=""}}[5m]))')],
                "A replay takes outcomes back, which shows as a peak.",
            ),
            (
                "Share without consent", "timeseries", "percentunit", 12,
                [("{{source}} → {{destination}}", "tagway:no_consent:ratio1h")], "A jump usually is a banner that broke.",
            ),
        ],
    ),
    (
        "Lanes",
        [
            ("Queued events", "timeseries", "short", 8, [("{{destination}}", f"tagway_queue_depth{SELECT}")], ""),
            ("Age of the oldest", "timeseries", "s", 8, [("{{destination}}", f"tagway_queue_oldest_age_seconds{SELECT}")], ""),
            (
                "State", "timeseries", "short", 8,
                [("{{destination}} {{state}}", f'tagway_lane_state{{{WHERE}, state!="running"}} == 1')],
                "Only lanes that are not running: open (breaker), paused, parked, off.",
            ),
            (
                "Answer time of the vendors (95 %)", "timeseries", "s", 8,
                [("{{destination}}", f"histogram_quantile(0.95, sum by (destination, le) (rate(tagway_delivery_duration_seconds_bucket{SELECT}[5m])))")],
                "",
            ),
            ("Delivered share", "timeseries", "percentunit", 8, [("{{destination}}", "tagway:delivered:ratio10m")], "Bar: 95 %."),
            (
                "Since the last delivery", "timeseries", "s", 8,
                [("{{destination}}", f"time() - tagway_last_delivery_timestamp_seconds{SELECT}")], "",
            ),
        ],
    ),
    (
        "The door and the store",
        [
            ("Events received", "timeseries", "short", 8, [("{{source}} {{dialect}}", f"sum by (source, dialect) (rate(tagway_events_received_total{SELECT}[5m]))")], ""),
            ("Refused at the door", "timeseries", "short", 8, [("{{route}} {{reason}}", f"sum by (route, reason) (rate(tagway_refused_total{SELECT}[5m]))")], ""),
            ("Duplicates", "timeseries", "short", 8, [("{{source}} {{reason}}", f'sum by (source, reason) (rate(tagway_outcomes_total{{{WHERE}, outcome="duplicate"}}[5m]))')], ""),
            (
                "Commit with sync (99 %)", "timeseries", "s", 8,
                [("", f"histogram_quantile(0.99, sum by (le) (rate(tagway_commit_duration_seconds_bucket{SELECT}[5m])))")], "",
            ),
            ("Bytes of the store", "timeseries", "bytes", 8, [("log", f"tagway_queue_bytes{SELECT}"), ("write-ahead log", f"tagway_queue_wal_bytes{SELECT}")], ""),
            ("Values that could not be used", "timeseries", "short", 8, [("{{source}} {{field}}", f"topk(10, sum by (source, field) (rate(tagway_dropped_fields_total{SELECT}[15m])))")], ""),
        ],
    ),
]  # fmt: skip
HEIGHT = {"stat": 4, "table": 9, "timeseries": 8}


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    title, kind, unit, width, targets, text = panel
    made: dict[str, Any] = {
        "id": number,
        "title": title,
        "type": kind,
        "description": text,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": x, "y": y, "w": width, "h": HEIGHT[kind]},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + n), "expr": expression, "legendFormat": legend, "instant": kind == "table", "format": "table" if kind == "table" else "time_series"}
            for n, (legend, expression) in enumerate(targets)
        ],
    }  # fmt: skip
    if kind == "table":
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]
    return made


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    panels: list[dict[str, Any]] = []
    y = number = 0
    for title, row in PANELS:
        number += 1
        panels.append(
            {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        )
        y, x, tallest = y + 1, 0, 0
        for panel in row:
            if x + panel[3] > 24:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            panels.append(_panel(number, panel, x, y))
            x, tallest = x + panel[3], max(tallest, HEIGHT[panel[1]])
        y += tallest
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "instance", "type": "query", "label": "Node", "multi": True, "includeAll": True, "refresh": 2,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "query": "label_values(tagway_queue_bytes, instance)", "current": {"text": "All", "value": "$__all"},
        },
    ]  # fmt: skip
    return {
        "title": "Tagway",
        "uid": "tagway",
        "tags": ["tagway"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1, ensure_ascii=False))
