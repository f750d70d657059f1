"""What operators are given: rules that fire in their fault and only then, a dashboard and proxies that are what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from gateway.cli import main
from gateway.observe.metrics import FAMILIES
from gateway.receive.listener import PROXY_IDLE_SECONDS
from tests.needs import program

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "prometheus" / "tagway.rules.yaml"
GRAFANA = ROOT / "deploy" / "grafana"
SUFFIXES = ("_bucket", "_count", "_sum")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def families_in(expression: str) -> set[str]:
    """Metric families that an expression reads."""
    names = re.findall(r"\btagway_[a-z0-9_]+", expression)
    return {re.sub(rf"({'|'.join(SUFFIXES)})$", "", name) for name in names}


@pytest.mark.slow
def test_each_alert_fires_by_its_series_and_is_silent_otherwise() -> None:
    command = [program("promtool", "prometheus"), "test", "rules", str(RULES.with_name("tagway.test.yaml"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_has_its_page_in_the_runbook() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    tests = yaml.safe_load(RULES.with_name("tagway.test.yaml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    quiet = {one["alertname"] for test in tests for one in test["alert_rule_test"] if not one.get("exp_alerts")}
    assert alerts == fired == quiet
    sections = set(re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE))
    assert alerts <= sections
    for rule in rules():
        if "alert" in rule:
            assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_each_page_of_the_runbook_says_what_to_type_and_what_can_wait() -> None:
    pages = re.split(r"^## ", (ROOT / "docs" / "runbook.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(pages) == sum("alert" in rule for rule in rules())
    for page in pages:
        assert "First command: " in page, page
        assert re.search(r"^(Can|Cannot) wait", page, re.MULTILINE), page


def test_the_commands_of_the_runbook_exist() -> None:
    typed = set(re.findall(r"`tagway ([^`]+)`", (ROOT / "docs" / "runbook.md").read_text()))
    assert len(typed) >= 8
    for line in typed:
        words = line.split()
        command: click.Command | None = main.get_command(click.Context(main), words[0])
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words[1])
        assert command is not None, line
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_rules_and_dashboard_read_only_metrics_that_exist() -> None:
    records = {rule["record"] for rule in rules() if "record" in rule}
    dashboard = json.loads((GRAFANA / "tagway.json").read_text())
    expressions = [rule["expr"] for rule in rules()]
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    for expression in expressions:
        assert families_in(expression) <= set(FAMILIES), expression
        assert set(re.findall(r"\btagway:[a-z0-9_:]+", expression)) <= records, expression


def test_the_dashboard_is_what_its_script_makes() -> None:
    made = subprocess.run([sys.executable, str(GRAFANA / "dashboard.py")], capture_output=True, text=True, check=True).stdout
    assert (GRAFANA / "tagway.json").read_text() == made


@pytest.mark.slow
def test_nginx_takes_the_snippet(tmp_path: Path) -> None:
    nginx = program("nginx", "nginx-light")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=t.shop.example"]
    subprocess.run([*openssl, "-keyout", str(key), "-out", str(certificate)], capture_output=True, check=True)
    text = (ROOT / "deploy" / "nginx" / "tagway.conf").read_text()
    text = re.sub(r"/etc/letsencrypt/\S+/fullchain.pem", str(certificate), text)
    text = re.sub(r"/etc/letsencrypt/\S+/privkey.pem", str(key), text)
    whole = tmp_path / "nginx.conf"
    whole.write_text(f"pid {tmp_path}/nginx.pid; error_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{text}\n}}\n")
    done = subprocess.run([nginx, "-t", "-c", str(whole), "-p", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_caddy_takes_its_file(tmp_path: Path) -> None:
    command = [program("caddy", "caddy"), "validate", "--adapter", "caddyfile", "--config", str(ROOT / "deploy" / "Caddyfile")]
    home = {"TAGWAY_HOST": "t.shop.example", "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **home}, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert '"warn"' not in done.stderr, done.stderr


def test_proxies_close_idle_connections_before_the_gateway_does() -> None:
    """Else a hit that is sent at that moment ends as the proxy's 502."""
    nginx = (ROOT / "deploy" / "nginx" / "tagway.conf").read_text()
    caddy = (ROOT / "deploy" / "Caddyfile").read_text()
    patience = [int(found) for found in re.findall(r"\n\s+keepalive(?:_timeout)? (\d+)s", nginx + caddy)]
    assert len(patience) == 2
    assert max(patience) < PROXY_IDLE_SECONDS


@pytest.mark.slow
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "systemd")
    unit = tmp_path / "tagway.service"
    text = (ROOT / "deploy" / "systemd" / "tagway.service").read_text()
    unit.write_text(text.replace("/opt/tagway/bin/tagway", sys.executable))
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert "tagway.service" not in done.stderr, done.stderr
