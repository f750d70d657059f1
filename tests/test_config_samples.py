"""Every YAML that we show works: the shipped files, and each YAML block of the README and the docs."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.config.load import load, warnings
from gateway.config.schema import schema
from gateway.config.tree import plain
from gateway.config.yaml_file import parse, read_tree
from gateway.errors import ConfigErrors
from gateway.manifest import discover, folder, load_manifest

ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    (f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}", found[1])
    for path in DOCUMENTS
    if path.is_file()
    for text in [path.read_text()]
    for found in re.finditer(r"^```ya?ml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
]
ENV = {
    "META_PIXEL_ID": "1234567890123456",
    "META_ACCESS_TOKEN": "token",
    "GA4_MEASUREMENT_ID": "G-ABC1234567",
    "GA4_API_SECRET": "secret",
    "TIKTOK_PIXEL_ID": "C0000000000000000001",
    "TIKTOK_ACCESS_TOKEN": "token",
    "WEBHOOK_URL": "https://hooks.shop.example/tagway",
    "WEBHOOK_SECRET": "secret",
}


def test_the_customers_sample_loads_and_sends_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load(Path("configs/gateway.yaml"), ENV)
    assert sorted(config.destinations) == ["ga4", "meta", "tiktok", "webhook"]
    assert {one.mode for one in config.destinations.values()} == {"dry_run"}
    assert warnings(config) == []


def test_the_customers_sample_asks_for_every_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigErrors) as caught:
        load(Path("configs/gateway.yaml"), {})
    assert {str(problem).split(" ")[0] for problem in caught.value.problems} == set(ENV)


def test_the_labs_sample_loads_with_no_environment_and_stays_on_this_machine() -> None:
    config = load(ROOT / "configs" / "lab" / "gateway.yaml", {})
    assert config.lab
    assert config.listen == "127.0.0.1:8080"
    assert config.sources["shop"].write_keys == ["wk_shop_demo"]
    assert {one.mode for one in config.destinations.values()} == {"live"}
    targets = {name: one.endpoint or one.settings["url"] for name, one in config.destinations.items()}
    assert targets == {name: f"http://127.0.0.1:9100/{name}" for name in ("ga4", "meta", "tiktok", "webhook")}
    assert warnings(config) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_files_are_block_style(path: Path) -> None:
    for line in path.read_text().splitlines():
        assert not re.match(r"[^#'\"]*:\s+[\[{]", line), f"a flow collection: {line}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_files_fit_the_schema_that_editors_use(path: Path) -> None:
    kind = "gateway" if path.name == "gateway.yaml" else "destination"
    jsonschema.Draft202012Validator(schema(kind)).validate(plain(read_tree(path)))


@pytest.mark.parametrize("name", discover())
def test_manifests_fit_their_schema(name: str) -> None:
    jsonschema.Draft202012Validator(schema("manifest")).validate(plain(read_tree(folder() / f"{name}.yaml")))


@pytest.mark.parametrize("kind", ["gateway", "destination", "event", "manifest"])
def test_a_schema_is_a_schema(kind: str) -> None:
    made = schema(kind)
    jsonschema.Draft202012Validator.check_schema(made)
    assert json.loads(json.dumps(made)) == made


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("gateway", {"sources": {"shop": {}}, "lisen": "x"}),
        ("gateway", {"sources": {}}),
        ("gateway", {"listen": "x"}),
        ("gateway", {"sources": {"shop": {"host": []}}}),
        ("gateway", {"sources": "sites/", "queue": {"personal": "3 days"}}),
        ("gateway", {"sources": "sites/", "hash": "x"}),
        ("destination", {"type": "mata"}),
        ("destination", {"type": "meta"}),
        ("destination", {"type": "meta", "settings": {"pixel_id": "1"}}),
        ("destination", {"type": "meta", "settings": {"pixel_id": "1", "access_token": "${T}", "api_secret": "x"}}),
        ("destination", {"type": "meta", "settings": {"pixel_id": "1", "access_token": "${T}"}, "mode": "lve"}),
        ("destination", {"type": "meta", "settings": {"pixel_id": "1", "access_token": "${T}"}, "name": "x"}),
        ("destination", {"type": "ga4", "settings": {"api_secret": "${T}", "validate_sample": "often"}}),
        ("destination", {}),
    ],
)
def test_a_schema_refuses_what_the_loader_refuses(kind: str, value: dict[str, Any]) -> None:
    assert not jsonschema.Draft202012Validator(schema(kind)).is_valid(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("gateway", {"sources": "sites/"}),
        ("gateway", {"sources": {"shop": {"server_keys": ["${K}"]}}, "destinations": {"meta": {"type": "meta"}}}),
        ("destination", {"extends": "../shared/meta.yaml"}),
        ("destination", {"extends": "../shared/meta.yaml", "type": "meta", "share": 10}),
        ("destination", {"type": "meta", "settings": {"pixel_id": 123, "access_token": "${T}"}, "limits": {"max_age": "off"}}),
        ("destination", {"type": "ga4", "settings": {"api_secret": "${T}", "validate_sample": "${N}"}, "events": {"a": None}}),
    ],
)
def test_a_schema_takes_what_the_loader_takes(kind: str, value: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema(kind)).validate(value)


def test_every_vendor_and_setting_is_in_the_schema() -> None:
    branches = {b["properties"]["type"]["const"]: b for b in schema("destination")["oneOf"] if "type" in b["properties"]}
    assert set(branches) == set(discover())
    for name, branch in branches.items():
        assert set(branch["properties"]["settings"]["properties"]) == set(load_manifest(name).settings)


def check_block(text: str, folder: Path) -> None:
    """Load a block as what its first line says it is; any other must at least be read."""
    first = text.split("\n", 1)[0]
    gateway = folder / "configs" / "gateway.yaml"
    destinations = gateway.parent / "destinations"
    destinations.mkdir(parents=True)
    if re.match(r"# configs/gateway\.yaml\b", first):
        gateway.write_text(text)
        load(gateway, {}, secrets=False)
    elif named := re.match(r"# configs/destinations/([\w-]+)\.yaml\b", first):
        tree = parse(text, first)
        sources = tree.get("sources") or ["shop"]
        gateway.write_text("sources:\n" + "".join(f"  {name}:\n" for name in sources) + "destinations: destinations/\n")
        (destinations / f"{named[1]}.yaml").write_text(text)
        load(gateway, {}, secrets=False)
    else:
        for document in re.split(r"^---$", text, flags=re.MULTILINE):
            parse(document, first)


@pytest.mark.parametrize("text", [text for _, text in BLOCKS], ids=[place for place, _ in BLOCKS])
def test_a_block_of_the_documentation_works(text: str, tmp_path: Path) -> None:
    check_block(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "# configs/gateway.yaml\nlisen: x\n",
        "# configs/gateway.yaml\nadmin: {token: ${T}}\n",
        "# configs/destinations/meta.yaml\ntype: mata\n",
        "# anything\nevents: {*: x}\n",
    ],
)
def test_a_block_that_does_not_work_is_found(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors):
        check_block(text, tmp_path)
