"""The Helm chart: Helm itself has nothing to say about it, and what it makes is what Kubernetes and a gateway need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from gateway.config.load import load
from tests.helm_kit import Rendered, render

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy" / "helm" / "tagway"
KUBERNETES = ("1.25", "1.31")
"""The oldest version that Chart.yaml takes, and a recent one."""
EVERYTHING: dict[str, Any] = {
    "secretName": "tagway-secrets",
    "storage": {"className": "fast"},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "1m"},
        "tlsSecretName": "tls",
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "tagging", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "config": {"destinations": {"meta.yaml": "type: meta\nsettings:\n  pixel_id: '1'\n  access_token: ${META_ACCESS_TOKEN}\n"}},
}
PLAIN = ["ConfigMap", "ConfigMap", "PodDisruptionBudget", "Service", "Service", "StatefulSet"]
MORE = ["Ingress", "PrometheusRule", "ServiceMonitor"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plain() -> Rendered:
    return render(CHART)


@pytest.fixture(scope="module")
def everything() -> Rendered:
    return render(CHART, EVERYTHING)


def test_helm_lints_and_renders_it_as_it_is(plain: Rendered) -> None:
    assert plain.complaints == []
    assert sorted(one["kind"] for one in plain.documents) == PLAIN


def test_helm_lints_and_renders_it_with_everything_on(everything: Rendered) -> None:
    assert everything.complaints == []
    assert sorted(one["kind"] for one in everything.documents) == sorted(PLAIN + MORE)


def test_helm_would_complain(tmp_path: Path) -> None:
    """Else the two tests above could not fail."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: t\nversion: 1.0.0\n")
    (tmp_path / "values.yaml").write_text("name: Not A Name\n")
    template = tmp_path / "templates" / "a.yaml"
    template.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Values.name }}\n")
    made = render(tmp_path)
    assert any("naming requirements" in one for one in made.complaints), made.complaints
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**made.documents[0], "dat": {}}, KUBERNETES[1], strict=True)
    template.write_text("kind: {{ .Values.a.b }}\n")
    with pytest.raises(AssertionError, match="nil pointer"):
        render(tmp_path)


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(plain: Rendered, everything: Rendered, version: str) -> None:
    for one in (*plain.documents, *everything.documents):
        if not one["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(one, version, strict=True)


def test_a_pod_has_time_to_end_and_no_rights(plain: Rendered) -> None:
    pod = plain.of("StatefulSet")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] >= 45
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert plain.of("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_alive_is_asked_beside_the_hits_and_ready_where_they_come_in(plain: Rendered, tmp_path: Path) -> None:
    [container] = plain.of("StatefulSet")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    config = _configuration(plain, tmp_path)
    assert ports == {"http": int(config.listen.rpartition(":")[2]), "metrics": int(config.metrics.listen.rpartition(":")[2])}
    assert not config.metrics.listen.startswith("127.")
    for probe, (path, port) in {
        "startupProbe": ("/healthz", "metrics"),
        "livenessProbe": ("/healthz", "metrics"),
        "readinessProbe": ("/readyz", "http"),
    }.items():
        assert container[probe]["httpGet"] == {"path": path, "port": port}


def test_each_pod_keeps_its_own_volume(plain: Rendered, tmp_path: Path) -> None:
    stateful = plain.of("StatefulSet")["spec"]
    [claim] = stateful["volumeClaimTemplates"]
    [container] = stateful["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    config = _configuration(plain, tmp_path)
    assert mounts[claim["metadata"]["name"]] == config.queue.path
    gigabytes = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) * 1.07
    assert gigabytes * 1e9 > (config.queue.retention.bytes + config.queue.firings.bytes) * 1.1
    assert stateful["serviceName"] == plain.of("Service", "-nodes")["metadata"]["name"]


def test_selectors_meet_what_they_select(everything: Rendered) -> None:
    labels = everything.of("StatefulSet")["spec"]["template"]["metadata"]["labels"].items()
    for service in ("", "-nodes"):
        assert everything.of("Service", f"t{service}")["spec"]["selector"].items() <= labels
    assert everything.of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    monitor = everything.of("ServiceMonitor")
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= everything.of("Service", "-nodes")["metadata"]["labels"].items()
    )
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"
    assert dict(labels)["app.kubernetes.io/name"] == "tagway", "the rules read up{job='tagway'}"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_a_secret_becomes_variables_and_files(everything: Rendered, plain: Rendered) -> None:
    pod = everything.of("StatefulSet")["spec"]["template"]["spec"]
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "tagway-secrets"}}]
    assert "secrets" in {volume["name"] for volume in pod["volumes"]}
    assert "No Secret is named" in plain.notes
    assert "No Secret is named" not in everything.notes


def test_the_alerts_are_those_of_the_rule_file(everything: Rendered) -> None:
    ours = ROOT / "deploy" / "prometheus" / "tagway.rules.yaml"
    assert (CHART / "files" / "tagway.rules.yaml").read_text() == ours.read_text()
    alerts = [
        rule["alert"]
        for group in everything.of("PrometheusRule")["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert "TagwayDown" in alerts
    assert len(alerts) == ours.read_text().count("- alert:")


def test_the_notes_say_what_to_type(plain: Rendered) -> None:
    assert "exec t-1 -- tagway drain" in plain.notes
    assert "port-forward t-0 9090" in plain.notes


def test_its_configuration_loads_with_its_destinations(
    everything: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("META_ACCESS_TOKEN", "T")
    assert set(_configuration(everything, tmp_path).destinations) == {"meta"}


def _configuration(made: Rendered, folder: Path) -> Any:
    """The pod's /etc/tagway, loaded."""
    (folder / "gateway.yaml").write_text(made.of("ConfigMap", "-config")["data"]["gateway.yaml"])
    (folder / "destinations").mkdir()
    for name, text in (made.of("ConfigMap", "-destinations")["data"] or {}).items():
        (folder / "destinations" / name).write_text(text)
    return load(folder / "gateway.yaml")
