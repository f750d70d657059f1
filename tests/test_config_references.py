"""`${…}`: where it is read, what it may say, and that it is replaced once."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.config.load import load
from gateway.config.models import Gateway
from gateway.errors import ConfigErrors

SHOP = "sources:\n  shop:\n    hosts: [t.shop.example]\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secrets").mkdir()
    Path("configs/destinations").mkdir(parents=True)


def loaded(gateway: str, destination: str = "", env: dict[str, str] | None = None, *, secrets: bool = True) -> Gateway:
    path = Path("configs/gateway.yaml")
    path.write_text(gateway + ("destinations: destinations/\n" if destination else ""))
    if destination:
        Path("configs/destinations/meta.yaml").write_text(destination)
    return load(path, env or {}, secrets=secrets)


def meta(pixel_id: str, more: str = "") -> str:
    return f"type: meta\nsettings:\n  pixel_id: {pixel_id}\n  access_token: ${{T}}\n{more}"


@pytest.mark.parametrize(
    ("written", "env", "value"),
    [
        ("${ID}", {"ID": "42"}, "42"),
        ('"${ID}"', {"ID": "42"}, "42"),
        ("'${ID}'", {"ID": "42"}, "42"),
        ("${_id9}", {"_id9": "42"}, "42"),
        ("${ID:-7}", {"ID": "42"}, "42"),
        ("${ID:-7}", {}, "7"),
        ("${ID:-7}", {"ID": ""}, "7"),
        ("${ID:-NO}", {}, "NO"),
        ("${ID}", {"ID": "0123"}, "0123"),
        ("${ID}", {"ID": "true"}, "true"),
        ("${file:../../secrets/id}", {}, "from-a-file"),
        ("${file:../../secrets/id_with_newline}", {}, "from-a-file"),
    ],
)
def test_a_reference_is_its_text(written: str, env: dict[str, str], value: str) -> None:
    Path("secrets/id").write_text("from-a-file")
    Path("secrets/id_with_newline").write_text("from-a-file\r\n")
    assert loaded(SHOP, meta(written), {"T": "t", **env}).destinations["meta"].settings["pixel_id"] == value


@pytest.mark.parametrize(
    "value", ["${OTHER}", "${T}", "${file:/etc/hostname}", "a${OTHER}b", "$event.id", "${ID}", "!!python/x", "*"]
)
def test_a_value_is_never_looked_at_again(value: str) -> None:
    text = "type: meta\nsettings:\n  pixel_id: '1'\n  access_token: ${T}\n"
    settings = loaded(SHOP, text, {"T": value, "OTHER": "leaked"}).destinations["meta"].settings
    assert settings["access_token"] == SecretStr(value)


def test_a_file_is_never_looked_at_again() -> None:
    Path("secrets/t").write_text("${OTHER}")
    text = "type: meta\nsettings:\n  pixel_id: '1'\n  access_token: ${file:../../secrets/t}\n"
    settings = loaded(SHOP, text, {"OTHER": "leaked"}).destinations["meta"].settings
    assert settings["access_token"] == SecretStr("${OTHER}")


@pytest.mark.parametrize(
    ("gateway", "destination", "read"),
    [
        (SHOP + "admin:\n  token: ${V}\n", "", lambda c: c.admin.token.get_secret_value()),
        (SHOP + "queue:\n  path: ${V}\n", "", lambda c: c.queue.path),
        (SHOP + "    server_keys:\n      - ${V}\n", "", lambda c: c.sources["shop"].server_keys[0].get_secret_value()),
        (SHOP, meta("'1'", "endpoint: ${V}\n"), lambda c: c.destinations["meta"].endpoint),
        (SHOP, meta("${V}"), lambda c: c.destinations["meta"].settings["pixel_id"]),
        (SHOP, meta("'1'", "  value_field: ${V}\n"), lambda c: c.destinations["meta"].settings["value_field"]),
        (SHOP, meta("'1'", "  category_to_content_type:\n    a: ${V}\n"),
         lambda c: c.destinations["meta"].settings["category_to_content_type"]["a"]),
        (SHOP, meta("'1'", "  pii_drop:\n    - ${V}\n"), lambda c: c.destinations["meta"].settings["pii_drop"][0]),
    ],
    ids=["admin", "queue", "server_keys", "endpoint", "settings", "an optional setting", "in a map", "in a list"],
)  # fmt: skip
def test_the_places_where_it_is_read(gateway: str, destination: str, read: Any) -> None:
    value = "https://v.example" if "endpoint" in destination else "value-1"
    assert read(loaded(gateway, destination, {"V": value, "T": "t"})) == value


@pytest.mark.parametrize(
    ("gateway", "destination", "key"),
    [
        (SHOP + "listen: ${V}\n", "", "listen"),
        (SHOP + "metrics:\n  listen: ${V}\n", "", "metrics.listen"),
        (SHOP + 'trusted_proxies: ["${V}"]\n', "", "trusted_proxies[0]"),
        (SHOP + "config_errors: ${V}\n", "", "config_errors"),
        ('sources:\n  shop:\n    hosts: ["${V}"]\n', "", "sources.shop.hosts[0]"),
        ('sources:\n  shop:\n    write_keys: ["${V}"]\n', "", "sources.shop.write_keys[0]"),
        ("sources:\n  shop:\n    consent:\n      unknown: ${V}\n", "", "sources.shop.consent.unknown"),
        (SHOP, meta("'1'", "mode: ${V}\n"), "mode"),
        (SHOP, meta("'1'", "share: ${V}\n"), "share"),
        (SHOP, meta("'1'", "sources:\n  - ${V}\n"), "sources[0]"),
        (SHOP, meta("'1'", "limits:\n  rps: ${V}\n"), "limits.rps"),
    ],
)
def test_elsewhere_it_is_refused(gateway: str, destination: str, key: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        loaded(gateway, destination, {"V": "value-1", "T": "t"})
    assert any(f": {key} holds ${{…}}; variables are read only as whole values" in str(p) for p in caught.value.problems)
    assert "value-1" not in str(caught.value)


@pytest.mark.parametrize(
    "written",
    [
        "a${ID}", "${ID}b", "${ID} ", "${ID}${ID}", "${A:-${B}}", "${${A}}", "${}", "${ ID }", "${1ID}", "${ID:=x}", "${ID-x}",
        "${ID:?x}", "${env:ID}", "${file:}", "${file:a}${ID}", "${ID", "x ${", "${A B}", "https://${ID}/", "${$event.id}",
        "${'a'}",
    ],
)  # fmt: skip
def test_each_misuse_is_an_error_that_shows_no_value(written: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        loaded(SHOP, meta(f'"{written}"'), {"ID": "value-1", "A": "value-1", "B": "value-1", "T": "t"})
    assert [problem.line for problem in caught.value.problems] == [3]
    assert "settings.pixel_id holds " in str(caught.value)
    assert "value-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ('events:\n  a:\n    body: {x: "${V}"}\n', "events.a.body.x"),
        ('events:\n  a:\n    - body: {x: ["pre ${V:-d} post"]}\n', "events.a[0].body.x[0]"),
        ('defaults:\n  x: "${file:/etc/hostname}"\n', "defaults.x"),
        ('tables:\n  t:\n    x: "${V}"\n', "tables.t.x"),
        ('blocks:\n  b:\n    x: "${V}"\n', "blocks.b.x"),
        ('when: "${V}"\n', "when"),
        ('batch:\n  wrap:\n    x: "${V}"\n', "batch.wrap.x"),
    ],
)
def test_mappings_read_no_environment(more: str, path: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        loaded(SHOP, meta("'1'", more), {"V": "value-1", "T": "t"})
    assert [str(p).split(": ", 1)[1].split(" holds ")[0] for p in caught.value.problems] == [path]
    assert "value-1" not in str(caught.value)


@pytest.mark.parametrize(
    "hole", ["Order ${$props.id}", "${'a'}", "${ $event.id }", "${($x // $y)}", "${null}", "$$100", "${$setting.a}"]
)
def test_holes_of_mappings_are_left_to_the_mapping(hole: str) -> None:
    text = meta("'1'", f'events:\n  a:\n    body:\n      x: "{hole}"\n')
    assert loaded(SHOP, text, {"T": "t"}).destinations["meta"].events["a"]["body"]["x"] == hole


def test_an_empty_optional_value_counts_as_not_given() -> None:
    text = meta("'1'", "  api_version: ${V:-}\n  test_event_code: ${CODE:-}\nendpoint: ${BASE:-}\n")
    one = loaded(SHOP, text, {"T": "t"}).destinations["meta"]
    assert one.settings["api_version"].startswith("v")
    assert "test_event_code" not in one.settings
    assert one.endpoint is None


def test_a_required_value_may_not_be_empty_by_its_default() -> None:
    with pytest.raises(ConfigErrors, match=r"settings.pixel_id is missing"):
        loaded(SHOP, meta("${V:-}"), {"T": "t"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "secrets/t does not exist (configs/destinations/meta.yaml:4); check the path and who may read it"),
        (b"", "secrets/t is empty (configs/destinations/meta.yaml:4); put the value there as one line"),
        (b"\n", "secrets/t is empty (configs/destinations/meta.yaml:4); put the value there as one line"),
        (b"\xff\xfe", "secrets/t is not UTF-8 text (configs/destinations/meta.yaml:4); a secret is one line of text"),
        (
            b"x" * 70_000,
            "secrets/t is larger than 64 KiB (configs/destinations/meta.yaml:4); check the path and who may read it",
        ),
    ],
)
def test_a_secret_file_that_cannot_be_used(content: bytes | None, message: str) -> None:
    if content is not None:
        Path("secrets/t").write_bytes(content)
    with pytest.raises(ConfigErrors) as caught:
        loaded(SHOP, "type: meta\nsettings:\n  pixel_id: '1'\n  access_token: ${file:../../secrets/t}\n")
    assert str(caught.value) == message


def test_without_secrets_nothing_needs_to_be_set() -> None:
    gateway = SHOP + "    server_keys:\n      - ${K}\nadmin:\n  listen: 0.0.0.0:9090\n  token: ${A}\nqueue:\n  path: ${Q}\n"
    text = meta("${ID}", "endpoint: ${E}\n  # nothing more\n")
    config = loaded(gateway, text, {}, secrets=False)
    assert config.queue.path == "../data"
    assert config.destinations["meta"].endpoint is None
    assert config.destinations["meta"].settings["pixel_id"] == "${ID}"
