"""Helm's own engine, run in a process of its own: its Go runtime would take over this one's signals.

The package `helm-python-sdk` carries Helm 4 as a shared library, for Linux on x86-64; there is no cluster and no network in it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.needs import missing

_SCRIPT = """
import json, sys
import helm_python as helm
path, values, name = json.load(sys.stdin)
with helm.Chart.load(path) as chart:
    made = chart.render(values, name=name, namespace="prod")
    print(json.dumps({"lint": helm.lint(path, values, strict=True, namespace="prod"), "made": made, "values": chart.values}))
"""


@dataclass(frozen=True)
class Rendered:
    """What Helm made of a chart: `complaints` of its linter (beside what it only recommends), documents, notes, values."""

    complaints: list[str]
    documents: list[dict[str, Any]]
    notes: str
    values: dict[str, Any]

    def of(self, kind: str, suffix: str = "") -> dict[str, Any]:
        """The one document of a kind whose name ends so."""
        [found] = [one for one in self.documents if one["kind"] == kind and one["metadata"]["name"].endswith(suffix)]
        return found


def render(chart: Path, values: dict[str, Any] | None = None, name: str = "t") -> Rendered:
    """Lint a chart with these values over its own, and render it as a release of this name in the namespace `prod`."""
    if importlib.util.find_spec("helm_python") is None:
        missing("helm-python-sdk is missing: pip install helm-python-sdk (Linux on x86-64)")
    said = json.dumps([str(chart), values or {}, name])
    done = subprocess.run([sys.executable, "-c", _SCRIPT], input=said, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    found = json.loads(done.stdout)
    complaints = [f"{one['path']}: {one['error']}" for one in found["lint"]["messages"] if one["severity"] > 1]
    texts = dict(sorted(found["made"].items()))
    notes = "".join(text for path, text in texts.items() if path.endswith("NOTES.txt"))
    made = [one for path, text in texts.items() if path.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    return Rendered(complaints + found["lint"]["errors"], made, notes, found["values"])
