"""Loading a configuration: every rejected shape has its own file in tests/config_bad with the messages it must give."""

import math
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from gateway.config import yaml_file
from gateway.config.load import load
from gateway.config.models import Gateway
from gateway.errors import ConfigErrors

BAD = sorted((Path(__file__).parent / "config_bad").glob("*.yaml"))
CONFIG = Path("configs/gateway.yaml")
ENV = {"META_ACCESS_TOKEN": "t"}
SHOP = "sources:\n  shop:\n    hosts: [t.shop.example]\n"
META = 'type: meta\nsettings:\n  pixel_id: "1"\n  access_token: ${META_ACCESS_TOKEN}\n'


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def loaded(files: dict[str, str], env: dict[str, str] | None = None, *, secrets: bool = True) -> Gateway:
    write(files)
    return load(CONFIG, ENV if env is None else env, secrets=secrets)


def problems(files: dict[str, str], env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        loaded(files, env)
    return str(caught.value).splitlines()


def with_destination(text: str, name: str = "meta") -> dict[str, str]:
    return {str(CONFIG): SHOP + "destinations: destinations/\n", f"configs/destinations/{name}.yaml": text}


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's two parsers word their errors differently; ours must not."""
    monkeypatch.setattr(yaml_file, "_LOADER", getattr(yaml, request.param))


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_gives_exactly_its_messages(path: Path) -> None:
    text = path.read_text()
    header = [line for line in text.splitlines() if line.startswith(("# kind: ", "# env: ", "# expect: "))]
    told = {kind: [line.removeprefix(f"# {kind}: ") for line in header if line.startswith(f"# {kind}: ")] for kind in KINDS}
    env = ENV | dict(pair.split("=", 1) for line in told["env"] for pair in line.split())
    files = {str(CONFIG): text} if told["kind"] == ["gateway"] else with_destination(text)
    found = problems(files, env)
    assert found == told["expect"]
    assert "very-secret-value" not in "\n".join(found), "a message shows a secret"


KINDS = ("kind", "env", "expect")


def test_there_are_enough_bad_files() -> None:
    assert len(BAD) >= 60


def test_defaults_need_one_source_only() -> None:
    config = loaded({str(CONFIG): SHOP})
    assert config.sources["shop"].hosts == ["t.shop.example"]
    assert (config.listen, config.admin.listen, config.queue.kind) == ("0.0.0.0:8080", "127.0.0.1:9090", "sqlite")
    assert config.destinations == {}
    assert config.held == ()


def test_the_declared_type_decides_not_yaml() -> None:
    text = "type: meta\nsettings:\n  pixel_id: 0123\n  access_token: ${META_ACCESS_TOKEN}\n  value_field: NO\nshare: '50'\n"
    config = loaded(with_destination(text))
    meta = config.destinations["meta"]
    assert meta.settings["pixel_id"] == "0123"
    assert meta.settings["value_field"] == "NO"
    assert meta.share == 50.0


@pytest.mark.parametrize("mode", ["live", "test", "dry_run", "off"])
def test_off_is_a_mode_and_not_false(mode: str) -> None:
    assert loaded(with_destination(META + f"mode: {mode}\n")).destinations["meta"].mode == mode


def test_a_destination_is_named_after_its_file_and_takes_the_only_source() -> None:
    config = loaded(with_destination(META, "meta_eu"))
    one = config.destinations["meta_eu"]
    assert (one.name, one.type, one.file, one.sources) == ("meta_eu", "meta", "configs/destinations/meta_eu.yaml", ["shop"])


def test_destinations_may_stand_in_the_gateway_file() -> None:
    inline = "destinations:\n  meta:\n" + "".join(f"    {line}\n" for line in META.splitlines())
    assert loaded({str(CONFIG): SHOP + inline}).destinations["meta"].settings["pixel_id"] == "1"


def test_sources_must_be_named_when_there_are_several() -> None:
    three = "sources:\n  shop:\n  blog:\n  app:\ndestinations: destinations/\n"
    tiktok = 'type: tiktok\nsettings:\n  pixel_id: "1"\n  access_token: ${META_ACCESS_TOKEN}\n'
    found = problems({str(CONFIG): three, "configs/destinations/tiktok.yaml": tiktok})
    assert found == [
        "configs/destinations/tiktok.yaml: sources is missing and there are 3 sources (shop, blog, app); "
        "name the ones that may send here"
    ]


def test_a_missing_secret_names_variable_file_and_line() -> None:
    text = "# Meta\ntype: meta\nsettings:\n  pixel_id: 1\n  access_token: ${META_ACCESS_TOKEN}\n"
    assert problems(with_destination(text), {}) == [
        "META_ACCESS_TOKEN is not set (configs/destinations/meta.yaml:5); "
        "set it in the environment or use ${file:/run/secrets/…}"
    ]


def test_all_files_problems_come_in_one_run() -> None:
    files = with_destination("type: meta\nsettings: {}\n") | {
        "configs/destinations/ga4.yaml": "type: ga4\nmode: lve\n",
        str(CONFIG): "lisen: x\n" + SHOP + "destinations: destinations/\n",
    }
    found = problems(files)
    assert [line.split(" ")[0] for line in found] == [
        "configs/gateway.yaml:1:",
        "configs/destinations/ga4.yaml:",
        "configs/destinations/ga4.yaml:2:",
        "configs/destinations/meta.yaml:2:",
        "configs/destinations/meta.yaml:2:",
    ]


def test_a_file_that_is_not_there_is_a_problem_of_its_own() -> None:
    assert problems({}) == ["configs/gateway.yaml: does not exist"]


def test_a_folder_is_not_a_file() -> None:
    CONFIG.mkdir(parents=True)
    assert problems({}) == ["configs/gateway.yaml: is not a regular file"]


def test_a_yml_file_is_not_silently_left_out() -> None:
    files = with_destination(META) | {"configs/destinations/ga4.yml": "type: ga4\n"}
    assert problems(files) == ["configs/destinations/ga4.yml: is not read; rename it to ga4.yaml"]


def test_hidden_files_and_other_files_of_a_folder_are_left_alone() -> None:
    hidden = {f"configs/destinations/{name}": ": nonsense" for name in (".meta.yaml.swp", ".hidden.yaml", "notes.txt", "m~")}
    assert list(loaded(with_destination(META) | hidden).destinations) == ["meta"]


def test_max_age_off_is_not_the_same_as_none() -> None:
    off = loaded(with_destination(META + "limits:\n  max_age: off\n")).destinations["meta"].limits
    none = loaded(with_destination(META)).destinations["meta"].limits
    narrow = loaded(with_destination(META + "limits:\n  max_age: 1d\n")).destinations["meta"].limits
    assert [limits.oldest(7 * 86400.0) for limits in (off, none, narrow)] == [math.inf, 7 * 86400.0, 86400.0]
    assert [limits.oldest(None) for limits in (off, none, narrow)] == [math.inf, math.inf, 86400.0]


def test_a_limit_never_widens_the_vendors() -> None:
    wide = loaded(with_destination(META + "limits:\n  max_age: 30d\n")).destinations["meta"].limits
    assert wide.oldest(7 * 86400.0) == 7 * 86400.0


def test_what_mappings_are_made_of_stays_a_marked_tree() -> None:
    text = META + "when: $props.value > 0\nevents:\n  page_view: null\n  lead:\n    name: Lead\nbatch:\n  max_events: 10\n"
    one = loaded(with_destination(text)).destinations["meta"]
    assert one.events == {"page_view": None, "lead": {"name": "Lead"}}
    assert one.events.marks["lead"].line == 8
    assert one.when == "$props.value > 0"
    assert one.batch.max_events == 10
    assert one.tree["batch"] == {"max_events": "10"}


class TestSecrets:
    def test_a_secret_never_shows_in_a_repr(self) -> None:
        config = loaded(with_destination(META), {"META_ACCESS_TOKEN": "very-secret-value"})
        assert config.destinations["meta"].settings["access_token"] == SecretStr("very-secret-value")
        assert "very-secret-value" not in repr(config)
        assert "very-secret-value" not in repr(config.destinations["meta"].tree.get("events"))

    @pytest.mark.parametrize(
        "lab", ["lab: true", "endpoint"], ids=["lab: true in gateway.yaml", "an endpoint that is a loopback address"]
    )
    def test_literals_are_fine_in_the_lab(self, lab: str) -> None:
        text = 'type: meta\nsettings:\n  pixel_id: "1"\n  access_token: made-up\n'
        files = with_destination(text + ("endpoint: http://127.0.0.1:9100/meta\n" if lab == "endpoint" else ""))
        if lab != "endpoint":
            files[str(CONFIG)] = "lab: true\n" + files[str(CONFIG)]
        assert loaded(files).destinations["meta"].settings["access_token"] == SecretStr("made-up")

    @pytest.mark.parametrize("endpoint", ["http://localhost:9100", "https://127.0.0.1.example", "https://10.0.0.1"])
    def test_other_endpoints_are_no_lab(self, endpoint: str) -> None:
        text = f'type: meta\nsettings:\n  pixel_id: "1"\n  access_token: made-up\nendpoint: {endpoint}\nallow_http: true\n'
        assert any("is a secret written in the file" in line for line in problems(with_destination(text)))

    def test_a_check_without_secrets_passes_and_still_checks_the_rest(self) -> None:
        config = loaded(with_destination(META), {}, secrets=False)
        assert config.destinations["meta"].settings["access_token"] == SecretStr("${META_ACCESS_TOKEN}")
        write({"configs/destinations/meta.yaml": META + "mode: lve\n"})
        with pytest.raises(ConfigErrors, match="mode must be live"):
            load(CONFIG, {}, secrets=False)

    def test_without_secrets_a_number_or_a_pattern_need_not_fit(self) -> None:
        text = "type: ga4\nsettings:\n  measurement_id: ${G}\n  api_secret: ${S}\n  validate_sample: ${N}\n  region: ${R}\n"
        settings = loaded(with_destination(text, "ga4"), {}, secrets=False).destinations["ga4"].settings
        assert settings["measurement_id"] == "${G}"

    def test_a_header_that_is_no_credential_may_be_written_out(self) -> None:
        text = "type: webhook\nsettings:\n  url: https://h.example/x\n  headers:\n    Content-Language: de\n"
        config = loaded(with_destination(text, "webhook"))
        assert config.destinations["webhook"].settings["headers"] == {"Content-Language": SecretStr("de")}

    def test_a_list_setting_takes_one_text(self) -> None:
        text = "type: webhook\nsettings:\n  url: https://h.example/x\n  secret: ${META_ACCESS_TOKEN}\n"
        config = loaded(with_destination(text, "webhook"))
        assert config.destinations["webhook"].settings["secret"] == [SecretStr("t")]


class TestExtends:
    def test_maps_merge_and_the_rest_is_replaced(self) -> None:
        shared = (
            META
            + "share: 10\nconsent:\n  requires: [ad_storage]\n  on_opt_out: limit\nevents:\n  a: {name: A}\n  b: {name: B}\n"
        )
        own = 'extends: ../shared/meta.yaml\nsettings:\n  pixel_id: "2"\nconsent:\n  on_opt_out: skip\nevents:\n  b: null\n'
        one = loaded(with_destination(own) | {"configs/shared/meta.yaml": shared}).destinations["meta"]
        assert one.settings["pixel_id"] == "2"
        assert one.share == 10
        assert (one.consent.requires, one.consent.on_opt_out) == (["ad_storage"], "skip")
        assert one.events == {"a": {"name": "A"}, "b": None}, "a tombstone stays one for the vendor's mapping"

    def test_null_takes_back_what_the_shared_file_says(self) -> None:
        own = "extends: ../shared/meta.yaml\nshare: null\nmode: null\n"
        one = loaded(with_destination(own) | {"configs/shared/meta.yaml": META + "share: 10\nmode: off\n"}).destinations["meta"]
        assert (one.share, one.mode) == (100, "live")

    def test_a_problem_is_told_where_it_stands(self) -> None:
        own = "extends: ../shared/meta.yaml\nmode: lve\n"
        found = problems(with_destination(own) | {"configs/shared/meta.yaml": META + "share: much\n"})
        assert found == [
            "configs/destinations/meta.yaml:2: mode must be live, test, dry_run or off; did you mean live?",
            "configs/shared/meta.yaml:5: share must be a number",
        ]

    def test_a_secret_path_starts_at_the_file_that_names_it(self) -> None:
        shared = 'type: meta\nsettings:\n  pixel_id: "1"\n  access_token: ${file:token.txt}\n'
        files = with_destination("extends: ../shared/meta.yaml\n") | {
            "configs/shared/meta.yaml": shared,
            "configs/shared/token.txt": "abc\n",
        }
        assert loaded(files).destinations["meta"].settings["access_token"] == SecretStr("abc")

    def test_circles_are_refused(self) -> None:
        files = with_destination("extends: ../shared/a.yaml\n" + META) | {
            "configs/shared/a.yaml": "extends: b.yaml\n",
            "configs/shared/b.yaml": "extends: a.yaml\n",
        }
        assert problems(files) == ["configs/shared/b.yaml:1: extends a.yaml goes round in a circle"]

    def test_a_chain_is_followed(self) -> None:
        files = with_destination("extends: ../shared/a.yaml\nshare: 1\n") | {
            "configs/shared/a.yaml": "extends: b.yaml\nmode: dry_run\nshare: 2\n",
            "configs/shared/b.yaml": META + "mode: live\nshare: 3\n",
        }
        one = loaded(files).destinations["meta"]
        assert (one.mode, one.share, one.type) == ("dry_run", 1, "meta")


class TestSites:
    SITES = {  # noqa: RUF012 - a constant of the tests
        str(CONFIG): "sources: sites/\ndestinations: destinations/\n",
        "configs/sites/shop/site.yaml": "hosts: [t.shop.example]\nwrite_keys: [wk_shop]\n",
        "configs/sites/shop/meta.yaml": META,
        "configs/sites/blog/site.yaml": "extends: ../../shared/site.yaml\nhosts: [t.blog.example]\n",
        "configs/sites/blog/meta.yaml": META,
        "configs/shared/site.yaml": "consent:\n  jurisdiction: opt_in\n",
        "configs/destinations/all.yaml": META + "sources: [shop, blog]\n",
    }

    def test_each_folder_is_a_source_with_its_own_destinations(self) -> None:
        config = loaded(self.SITES)
        assert list(config.sources) == ["blog", "shop"]
        assert config.sources["blog"].consent.jurisdiction == "opt_in"
        lanes = {name: one.sources for name, one in config.destinations.items()}
        assert lanes == {"blog.meta": ["blog"], "shop.meta": ["shop"], "all": ["shop", "blog"]}

    def test_a_sites_destination_sends_no_other_sites_events(self) -> None:
        found = problems(self.SITES | {"configs/sites/shop/meta.yaml": META + "sources: [blog]\n"})
        assert found == ['configs/sites/shop/meta.yaml:5: source "blog" is not configured; known here: shop']

    def test_a_site_without_its_file_is_named(self) -> None:
        found = problems(self.SITES | {"configs/sites/app/meta.yaml": META})
        assert found == ["configs/sites/app/site.yaml: does not exist"]

    def test_a_loose_file_among_the_sites_is_named(self) -> None:
        found = problems(self.SITES | {"configs/sites/meta.yaml": META})
        assert found == ["configs/sites/meta.yaml: is not read: a site is a folder with a site.yaml"]

    def test_the_problems_of_a_site_have_no_prefix(self) -> None:
        found = problems(self.SITES | {"configs/sites/shop/site.yaml": "host: [t.shop.example]\n"})
        assert found == ["configs/sites/shop/site.yaml:1: host is not a known key; did you mean hosts?"]


class TestHold:
    TWO = "config_errors: hold\nsources:\n  shop:\n    hosts: [t.shop.example]\n  blog:\n    hosts: [t.blog.example]\n"

    def test_a_bad_destination_is_left_out_and_reported(self) -> None:
        files = {
            str(CONFIG): self.TWO + "destinations: destinations/\n",
            "configs/destinations/meta.yaml": META + "sources: [shop]\n",
            "configs/destinations/ga4.yaml": "type: ga4\nsources: [shop]\nmode: lve\n",
        }
        config = loaded(files)
        assert list(config.destinations) == ["meta"]
        assert [(held.kind, held.name) for held in config.held] == [("destination", "ga4")]
        assert any("mode must be" in str(problem) for problem in config.held[0].problems)

    def test_a_bad_source_is_left_out_with_what_only_it_feeds(self) -> None:
        files = {
            str(CONFIG): self.TWO.replace("[t.blog.example]", '["*"]') + "destinations: destinations/\n",
            "configs/destinations/meta.yaml": META + "sources: [shop, blog]\n",
            "configs/destinations/blog.yaml": META + "sources: [blog]\n",
        }
        config = loaded(files)
        assert list(config.sources) == ["shop"]
        assert config.destinations["meta"].sources == ["shop"]
        assert [(held.kind, held.name) for held in config.held] == [("source", "blog"), ("destination", "blog")]

    def test_a_missing_secret_of_one_client_does_not_stop_the_others(self) -> None:
        files = {
            str(CONFIG): self.TWO + "destinations: destinations/\n",
            "configs/destinations/meta.yaml": META + "sources: [shop]\n",
            "configs/destinations/other.yaml": META.replace("META_ACCESS_TOKEN", "OTHER_TOKEN") + "sources: [blog]\n",
        }
        config = loaded(files)
        assert list(config.destinations) == ["meta"]
        assert "OTHER_TOKEN is not set" in str(config.held[0].problems[0])

    def test_the_gateways_own_errors_are_always_raised(self) -> None:
        assert problems({str(CONFIG): self.TWO + "lisen: x\n"}) == [
            "configs/gateway.yaml:7: lisen is not a known key; did you mean listen?"
        ]

    def test_nothing_left_is_an_error(self) -> None:
        text = self.TWO.replace("[t.blog.example]", '["*"]').replace("[t.shop.example]", '["*"]')
        assert len(problems({str(CONFIG): text})) == 2


class TestWhatWasRead:
    def test_hash_and_files_follow_the_bytes(self) -> None:
        files = with_destination("extends: ../shared/meta.yaml\n") | {"configs/shared/meta.yaml": META}
        first = loaded(files)
        assert first.files == (
            "configs/gateway.yaml",
            "configs/destinations",
            "configs/destinations/meta.yaml",
            "configs/shared/meta.yaml",
        )
        assert loaded({}).hash == first.hash
        assert loaded({"configs/shared/meta.yaml": META + "# one more line\n"}).hash != first.hash

    def test_a_secret_file_is_watched_and_no_part_of_the_hash(self) -> None:
        files = with_destination(META.replace("${META_ACCESS_TOKEN}", "${file:../../token}")) | {"token": "a\n"}
        first = loaded(files)
        assert "token" in first.files
        assert loaded({"token": "b\n"}).hash == first.hash


def test_workers_are_a_number_of_processes() -> None:
    assert loaded({str(CONFIG): SHOP + "workers: 0\n"}).workers == 0
    assert loaded({str(CONFIG): SHOP + "workers: 2\n"}).workers == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"configs/sites/.keep": ""}, "configs/gateway.yaml:1: sources: configs/sites holds no site"),
        ({"configs/sites": "a file"}, "configs/gateway.yaml:1: sources: configs/sites is not a folder"),
        (
            {"configs/sites/shop/site.yaml": "hosts: [a.example]\n", "configs/sites/shop/my meta.yaml": META},
            'configs/sites/shop/my meta.yaml: the destination "shop.my meta" cannot be called so: '
            "a name has letters, digits, - and _, at most 100",
        ),
        ({"configs/sites/my shop/site.yaml": "hosts: [a.example]\n"}, 'the file "my shop" cannot be called so'),
    ],
)
def test_folders_that_cannot_be_sites(files: dict[str, str], message: str) -> None:
    assert any(message in line for line in problems({str(CONFIG): "sources: sites/\n"} | files))


def test_a_chain_of_extends_ends_somewhere() -> None:
    chain = {f"configs/shared/{n}.yaml": f"extends: {n + 1}.yaml\n" for n in range(30)}
    found = problems(with_destination("extends: ../shared/0.yaml\n") | chain)
    assert found == ["configs/shared/9.yaml:1: extends goes deeper than 10 files"]


def test_a_syntax_error_of_a_shared_file_is_told_in_that_file() -> None:
    files = with_destination("extends: ../shared/a.yaml\n") | {"configs/shared/a.yaml": "type: meta\nmode: @\n"}
    assert problems(files) == ['configs/shared/a.yaml:2: a value cannot begin with @; quote it: "@"']


def test_a_problem_of_a_manifest_is_a_problem_of_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manifests = tmp_path / "vendors"
    manifests.mkdir()
    (manifests / "broken.yaml").write_text("name: broken\n")
    monkeypatch.setattr("gateway.manifest.folder", lambda: manifests)
    found = problems(with_destination("type: broken\n"))
    assert "destinations/broken.yaml: confirms is missing" in found
