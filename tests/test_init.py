"""`tagway init` and `tagway keys`: files that pass `check`, names that are on no block list, nothing overwritten."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import orjson
import pytest

from gateway.config.load import load, warnings
from gateway.config.tree import plain
from gateway.config.yaml_file import read_tree
from gateway.errors import GatewayError
from gateway.manifest import discover, load_manifest
from gateway.receive.routes import DIALECTS, Dialect, Table
from gateway.setup.block_lists import block_lists, neutral_names, urls
from gateway.setup.files import code_settings, destination_yaml, variables, written_settings
from gateway.setup.keys import masked_key, server_key, write_key
from gateway.setup.site import domain_of, host_of, origins_of, source_of
from tests.cli_kit import SECRETS, tagway

SITE = ("--site", "https://shop.example", "--host", "t.shop.example")
ALL = ",".join(discover())


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [*SECRETS, "TAGWAY_CONFIG", "TAGWAY_ADMIN_TOKEN"]:
        monkeypatch.delenv(name, raising=False)


def filled() -> dict[str, str]:
    """`.env.example` with every line filled in as its destination would have it."""
    names = re.findall(r"^([A-Z0-9_]+)=$", Path(".env.example").read_text(), re.MULTILINE)
    return {name: SECRETS.get(name, "") for name in names}


def test_every_vendor_can_be_added_and_the_result_passes_check() -> None:
    made = tagway("init", *SITE, "--add", ALL)
    assert made.exit_code == 0, made.stderr
    checked = tagway("check", env=filled())
    assert checked.exit_code == 0, checked.stderr
    assert checked.stderr == "", "a new configuration has no warnings"
    config = load(Path("configs/gateway.yaml"), filled())
    assert sorted(config.destinations) == sorted(discover())
    assert {one.mode for one in config.destinations.values()} == {"dry_run"}


@pytest.mark.parametrize("vendor", discover())
def test_a_vendor_alone_passes_check_in_ci_without_any_secret(vendor: str) -> None:
    assert tagway("init", *SITE, "--add", vendor).exit_code == 0
    assert tagway("check", "--without-secrets").exit_code == 0


def test_what_must_be_filled_in_is_named_by_check() -> None:
    tagway("init", *SITE, "--add", "meta,ga4")
    checked = tagway("check")
    assert checked.exit_code == 1
    named = {name for name in SECRETS if name in checked.stderr}
    assert named == {"META_PIXEL_ID", "META_ACCESS_TOKEN", "GA4_MEASUREMENT_ID", "GA4_API_SECRET"}


def test_the_files_fit_the_schemas_that_their_first_line_names() -> None:
    tagway("init", *SITE, "--add", ALL)
    for path in [Path("configs/gateway.yaml"), *Path("configs/destinations").glob("*.yaml")]:
        first = path.read_text().splitlines()[0]
        found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
        assert found, first
        schema = json.loads((path.parent / found[1]).read_text())
        jsonschema.Draft202012Validator(schema).validate(plain(read_tree(path)))


@pytest.mark.parametrize("vendor", discover())
def test_every_setting_of_the_manifest_stands_in_the_file(vendor: str) -> None:
    manifest = load_manifest(vendor)
    text = destination_yaml(manifest, ["shop"])
    for name, spec in manifest.settings.items():
        assert re.search(rf"^  (# )?{name}: ", text, re.MULTILINE), name
        if spec.required:
            assert name in written_settings(manifest)
        if spec.secret and name in written_settings(manifest):
            assert f"  {name}: ${{{vendor.upper()}_{name.upper()}}}" in text


@pytest.mark.parametrize("vendor", discover())
def test_a_setting_that_is_a_comment_is_good_yaml_when_it_is_none_any_more(vendor: str, tmp_path: Path) -> None:
    manifest = load_manifest(vendor)
    text = destination_yaml(manifest, ["shop"])
    bare = re.sub(rf"^  # ({'|'.join(manifest.settings)}): ", r"  \1: ", text, flags=re.MULTILINE)
    path = tmp_path / f"{vendor}.yaml"
    path.write_text(bare)
    assert set(plain(read_tree(path))["settings"]) == set(manifest.settings)


def test_nothing_is_overwritten_unless_forced() -> None:
    tagway("init", *SITE, "--add", "meta")
    before = Path("configs/gateway.yaml").read_text()
    again = tagway("init", *SITE, "--add", "meta,ga4")
    assert again.exit_code == 1
    assert "configs/gateway.yaml is there already" in again.stderr
    assert "configs/destinations/meta.yaml is there already" in again.stderr
    assert "nothing was written; --force overwrites" in again.stderr
    assert Path("configs/gateway.yaml").read_text() == before
    assert not Path("configs/destinations/ga4.yaml").exists(), "all or nothing"
    assert tagway("init", *SITE, "--add", "meta,ga4", "--force").exit_code == 0
    assert Path("configs/destinations/ga4.yaml").exists()


def test_a_destination_is_added_to_what_is_there() -> None:
    tagway("init", *SITE, "--add", "meta")
    gateway = Path("configs/gateway.yaml").read_text()
    added = tagway("init", "--add", "tiktok")
    assert added.exit_code == 0, added.stderr
    assert "TIKTOK_ACCESS_TOKEN=" in added.stdout
    assert Path("configs/gateway.yaml").read_text() == gateway
    assert tagway("check", env=SECRETS).exit_code == 0
    assert "configs/destinations/meta.yaml is there already" in tagway("init", "--add", "meta").stderr


@pytest.mark.parametrize("args", [(), ("--add", "meta")])
def test_without_a_site_there_must_be_files_to_add_to(args: tuple[str, ...]) -> None:
    made = tagway("init", *args)
    assert made.exit_code == 2
    assert "name the site with --site" in made.stderr


def test_it_prints_the_dns_record_the_snippet_and_the_next_command() -> None:
    made = tagway("init", *SITE, "--add", "meta,ga4")
    config = load(Path("configs/gateway.yaml"), filled() | SECRETS)
    key, paths = config.sources["shop"].write_keys[0], config.paths
    assert re.fullmatch(r"wk_shop_[a-z0-9]{10}", key)
    assert "t.shop.example.  A  " in made.stdout
    assert f'src="https://t.shop.example{paths.prefix}/{paths.tag}?k={key}"' in made.stdout
    assert "tagway check" in made.stdout
    assert "tagway send purchase --to meta --test CODE" in made.stdout
    assert block_lists().read in made.stdout


def test_the_snippet_grants_nothing_by_itself() -> None:
    made = tagway("init", *SITE, "--add", "meta", "--json")
    snippet = json.loads(made.stdout)["snippet"]
    assert '"granted"' not in snippet
    assert snippet.count('"denied"') == 4


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--add", "mata"), "there is no destination mata; did you mean meta?"),
        (("--add", "zzz"), "there is no destination zzz; there are: "),
        (("--site", "shop example"), "--site shop example: "),
        (("--host", "https://t.shop.example/x"), "--host https://t.shop.example/x: must be a host name alone"),
    ],
)
def test_a_mistake_is_one_line(args: tuple[str, ...], message: str) -> None:
    made = tagway("init", *SITE, *args)
    assert made.exit_code == 1
    assert message in made.stderr
    assert not Path("configs").exists()


@pytest.mark.parametrize("name", ["my shop", "a.b", ""])
def test_a_source_must_have_a_name_that_files_take(name: str) -> None:
    made = tagway("init", *SITE, "--source", name, "--add", "meta")
    assert made.exit_code == (2 if name else 0)


def test_a_folder_that_cannot_be_written_is_a_message() -> None:
    Path("file").write_text("")
    made = tagway("init", *SITE, "--dir", "file/below")
    assert made.exit_code == 1
    assert "cannot write" in made.stderr


@pytest.mark.parametrize(
    ("site", "origins", "source", "host", "domain"),
    [
        ("https://shop.example", "https://shop.example https://www.shop.example", "shop", "t.shop.example", "shop.example"),
        ("shop.example/de?x", "https://shop.example https://www.shop.example", "shop", "t.shop.example", "shop.example"),
        ("https://www.My-Shop.co.uk", "https://www.my-shop.co.uk https://my-shop.co.uk", "my_shop", "t.my-shop.co.uk",
         "my-shop.co.uk"),
        ("https://store.acme.com", "https://store.acme.com https://www.store.acme.com", "acme", "t.store.acme.com", "acme.com"),
        ("https://acme.github.io", "https://acme.github.io https://www.acme.github.io", "acme", "t.acme.github.io",
         "acme.github.io"),
        ("https://www.museum.or.jp", "https://www.museum.or.jp https://museum.or.jp", "museum", "t.museum.or.jp",
         "museum.or.jp"),
        ("https://3d.example", "https://3d.example https://www.3d.example", "site_3d", "t.3d.example", "3d.example"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", "site", "127.0.0.1", None),
        ("http://localhost:8000", "http://localhost:8000", "localhost", "t.localhost", None),
        ("https://shop.example:8443", "https://shop.example:8443 https://www.shop.example:8443", "shop", "t.shop.example",
         "shop.example"),
    ],
)  # fmt: skip
def test_what_an_address_says_is_not_asked(site: str, origins: str, source: str, host: str, domain: str | None) -> None:
    found = origins_of(site)
    assert found == tuple(origins.split())
    assert source_of(found) == source
    assert host_of(None, found) == host
    assert domain_of(host, found) == domain


@pytest.mark.parametrize(
    ("host", "site", "domain"),
    [
        ("t.acme.co.uk", "https://shop.acme.co.uk", "acme.co.uk"),
        ("t.other.co.uk", "https://shop.acme.co.uk", None),
        ("co.uk", "https://shop.acme.co.uk", None),
        ("t.github.io", "https://acme.github.io", None),
    ],
)
def test_site_and_gateway_share_cookies_below_a_domain_that_somebody_has(host: str, site: str, domain: str | None) -> None:
    assert domain_of(host, origins_of(site)) == domain


def test_a_host_of_another_site_is_told() -> None:
    assert "have no domain in common" in tagway("init", "--site", "https://a.example", "--host", "t.b.example").stdout


def test_names_are_random_and_on_no_pattern_and_the_tables_take_them() -> None:
    found = {neutral_names("t.shop.example") for _ in range(50)}
    assert len(found) > 45
    for names in found:
        assert not any(block_lists().match(url) for url in urls("t.shop.example", names))
    tagway("init", *SITE, "--add", "meta")
    paths = load(Path("configs/gateway.yaml"), SECRETS).paths
    row, _, _ = Table(DIALECTS, [paths]).find(f"{paths.prefix}/{paths.events}?k=x")
    assert isinstance(row, Dialect)
    assert row.path == "/v1/events"


@pytest.mark.parametrize(
    ("url", "pattern"),
    [
        ("https://t.shop.example/p.gif?e=page_view", "/p.gif?"),
        ("https://t.shop.example/P.GIF?x", "/p.gif?"),
        ("https://t.shop.example/api/v1/track/x", "/api/v1/track/*"),
        ("https://t.shop.example/analytics/collect", "/analytics/collect|"),
        ("https://t.shop.example/analytics/collector", None),
        ("https://t.shop.example/p.gif", None),
        ("https://t.shop.example/mupafi/roto?k=wk_shop", None),
    ],
)
def test_patterns_match_as_in_the_lists(url: str, pattern: str | None) -> None:
    assert block_lists().match(url) == pattern


def test_the_excerpt_is_dated_and_knows_our_own_default() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", block_lists().read)
    assert len(set(block_lists().patterns)) == len(block_lists().patterns) >= 40
    assert block_lists().match("https://t.shop.example/p.gif?k=wk_shop&e=page_view")


def test_a_vendor_with_a_test_code_has_it_in_its_file_and_may_leave_it_empty() -> None:
    manifest = load_manifest("meta")
    assert code_settings(manifest) == ["test_event_code"]
    assert "test_event_code: ${META_TEST_EVENT_CODE:-}" in destination_yaml(manifest, ["shop"])
    assert {one.name: one.needed for one in variables(manifest)}["META_TEST_EVENT_CODE"] is False


def test_a_new_configuration_warns_of_nothing() -> None:
    tagway("init", *SITE, "--add", ALL)
    assert warnings(load(Path("configs/gateway.yaml"), SECRETS)) == []


class TestKeys:
    def test_keys_are_long_random_and_fit_where_they_go(self) -> None:
        assert len({write_key("shop") for _ in range(100)}) == 100
        assert len(server_key("shop").rpartition("_")[2]) * 4.95 > 160
        tagway("init", *SITE, "--add", "meta")
        text = Path("configs/gateway.yaml").read_text()
        more = text.replace("    consent:\n", "    server_keys:\n      - ${SHOP_SERVER_KEY}\n    consent:\n", 1)
        Path("configs/gateway.yaml").write_text(more)
        key = json.loads(tagway("keys", "new", "--server", "--json", env=SECRETS).stdout)
        assert key["variable"] == "SHOP_SERVER_KEY"
        config = load(Path("configs/gateway.yaml"), {**SECRETS, key["variable"]: key["key"]})
        assert config.sources["shop"].server_keys[0].get_secret_value() == key["key"]

    def test_a_new_key_stands_alone_on_stdout_and_where_it_goes_on_stderr(self) -> None:
        made = tagway("keys", "new", "--source", "shop")
        assert re.fullmatch(r"wk_shop_[a-z0-9]{10}\n", made.stdout)
        assert "write_keys:" in made.stderr
        assert "SHOP_SERVER_KEY=sk_shop_" in tagway("keys", "new", "--source", "shop", "--server").stderr

    def test_a_list_masks_them(self) -> None:
        tagway("init", *SITE, "--add", "meta")
        key = load(Path("configs/gateway.yaml"), SECRETS).sources["shop"].write_keys[0]
        listed = tagway("keys", "list")
        assert key not in listed.stdout
        assert key[:10] in listed.stdout
        assert key in tagway("keys", "list", "--show").stdout
        assert orjson.loads(tagway("keys", "list", "--json").stdout) == [
            {"source": "shop", "kind": "write", "key": masked_key(key)}
        ]

    @pytest.mark.parametrize(
        ("key", "shown"),
        [
            ("sk_shop_abcdefghijk", "sk_shop_ab…"),
            ("short", "***"),
            ("abc_def", "***"),
            ("${SHOP_SERVER_KEY}", "${SHOP_SERVER_KEY} (not set here)"),
        ],
    )
    def test_a_mask_shows_whose_key_it_is_and_no_more(self, key: str, shown: str) -> None:
        assert masked_key(key) == shown

    def test_the_source_must_be_one_of_the_configuration(self) -> None:
        tagway("init", *SITE, "--add", "meta")
        assert tagway("keys", "new", "--source", "shpo").exit_code == 1
        assert tagway("keys", "new").stdout.startswith("wk_shop_")


def test_an_address_that_is_none_raises() -> None:
    with pytest.raises(GatewayError, match="--site"):
        origins_of("https://")
