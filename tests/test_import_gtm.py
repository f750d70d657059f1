"""`tagway import gtm`: two container exports, a web and a server one, as destination files and lists of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.load import load
from gateway.move.gtm import Container
from gateway.move.tags import read_tags
from gateway.move.variables import Unclear, path_of
from gateway.plans import prepare
from tests.cli_kit import tagway

EXPORTS = Path(__file__).parent / "gtm"
GATEWAY = "sources:\n  shop:\n    hosts: [t.shop.example]\ndestinations: destinations/\n"
TOKENS = ("EAAB-not-a-real-token", "tt-not-a-real-token", "TEST123")


def moved(folder: Path, kind: str) -> dict[str, Any]:
    (folder / "destinations").mkdir(parents=True)
    (folder / "gateway.yaml").write_text(GATEWAY)
    done = tagway("import", "gtm", str(EXPORTS / f"{kind}.json"), "--dir", str(folder), "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def written(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "destinations" / f"{name}.yaml").read_text())
    return found


def container(**parts: Any) -> Container:
    head = {"publicId": "GTM-T", "usageContext": [parts.pop("use", "WEB")]}
    return Container({"containerVersion": {"container": head, **parts}})


def text(key: str, value: str) -> dict[str, str]:
    return {"type": "TEMPLATE", "key": key, "value": value}


def event(number: str, name: str, kind: str = "EQUALS", **more: Any) -> dict[str, Any]:
    taken = {"type": kind, "parameter": [text("arg0", "{{_event}}"), text("arg1", name), *more.pop("extra", [])]}
    return {"triggerId": number, "name": f"on {name}", "type": "CUSTOM_EVENT", "customEventFilter": [taken], **more}


def asks(kind: str, what: str, wanted: str, *more: str) -> dict[str, Any]:
    """A condition of a trigger; `more` are its switches."""
    switches = [{"type": "BOOLEAN", "key": one, "value": "true"} for one in more]
    return {"type": kind, "parameter": [text("arg0", what), text("arg1", wanted), *switches]}


@pytest.mark.parametrize(
    ("kind", "files"),
    [("web", ["ga4", "meta", "tiktok"]), ("server", ["ga4", "meta", "meta_2", "tiktok"]), ("wide", ["ga4", "meta"])],
)
def test_what_is_written_passes_the_check_and_sends_nothing(tmp_path: Path, kind: str, files: list[str]) -> None:
    report = moved(tmp_path, kind)
    assert [Path(one).stem for one in report["files"]] == files
    done = tagway("check", "--without-secrets", "-c", str(tmp_path / "gateway.yaml"))
    assert done.exit_code == 0, done.stderr
    config = load(tmp_path / "gateway.yaml", dict.fromkeys(report["variables"], "a-secret"))
    assert {one.mode for one in config.destinations.values()} == {"dry_run"}
    assert set(prepare(config)) == set(files)


@pytest.mark.parametrize("kind", ["web", "server", "wide"])
def test_every_tag_is_carried_or_left_with_a_reason(tmp_path: Path, kind: str) -> None:
    report = moved(tmp_path, kind)
    tags = [one["name"] for one in json.loads((EXPORTS / f"{kind}.json").read_text())["containerVersion"]["tag"]]
    assert sorted(tags) == sorted(one["tag"] for one in [*report["carried"], *report["not_carried"]])
    assert report["tags"] == len(tags)
    assert all(one["why"] for one in report["not_carried"])


def test_no_secret_of_the_container_is_written_or_told(tmp_path: Path) -> None:
    report = moved(tmp_path, "server")
    everything = json.dumps(report) + "".join(Path(one).read_text() for one in report["files"])
    assert [token for token in TOKENS if token in everything] == []
    assert written(tmp_path, "meta")["settings"]["access_token"] == "${META_ACCESS_TOKEN}"
    assert report["variables"] == ["GA4_API_SECRET", "META_ACCESS_TOKEN", "META_2_ACCESS_TOKEN", "TIKTOK_ACCESS_TOKEN"]


def test_a_web_container_in_files(tmp_path: Path) -> None:
    moved(tmp_path, "web")
    ga4, meta, tiktok = (written(tmp_path, name) for name in ("ga4", "meta", "tiktok"))
    assert ga4["settings"] == {"measurement_id": "G-SH0P123456", "api_secret": "${GA4_API_SECRET}", "role": "augment"}
    assert ga4["events"]["purchase"]["body"]["params"] == {"customer_type": "$props.customer.type"}
    assert ga4["events"]["quiz_completed"]["body"]["params"] == {"quiz_result": "$props.quiz.result"}
    assert meta["settings"]["pixel_id"] == "1234567890123456"
    assert meta["consent"]["requires"] == ["ad_storage", "ad_user_data", "ad_personalization"]
    assert meta["events"]["quiz_completed"]["name"] == "Lead"
    assert meta["events"]["quiz_completed"]["body"]["custom_data"] == {
        "$use": "cart",
        "content_name": "$props.quiz_name",
        "content_category": "quiz",
        "lead_label": "Quiz ${$props.quiz_name}",
    }
    assert "purchase" not in meta["events"], "its usual name is the manifest's"
    assert meta["events"]["add_to_cart"] is None, "the container did not send it"
    assert tiktok["events"]["purchase"] == {"name": "PlaceAnOrder"}
    assert tiktok["events"]["add_to_cart_quick"]["name"] == "AddToCart"


def test_a_server_container_in_files(tmp_path: Path) -> None:
    moved(tmp_path, "server")
    assert written(tmp_path, "ga4")["settings"]["role"] == "replace"
    assert "events" not in written(tmp_path, "ga4")
    assert written(tmp_path, "meta_2")["events"]["purchase"] == {"name": "BigPurchase", "when": "$props.value > 500"}
    assert written(tmp_path, "tiktok")["unlisted"] == "send"
    carried = {name for name, value in written(tmp_path, "meta")["events"].items() if value is not None}
    assert carried == {"quiz_completed"}


@pytest.mark.parametrize(
    ("kind", "tag", "why"),
    [
        ("web", "Hotjar", "custom HTML"),
        ("web", "Heatmaps", "not known here"),
        ("web", "GA4 - old newsletter", "paused"),
        ("web", "GA4 - scrolled to footer", "ELEMENT_VISIBILITY"),
        ("web", "Google tag - Ads", "Google Ads"),
        ("web", "Meta - by country", "look-up table"),
        ("web", "Conversion Linker", "not needed"),
        ("web", "Google Ads - conversion", "google_ads"),
        ("server", "Data Tag to CRM", "data-tag.md"),
        ("server", "JSON to warehouse", "not known here"),
        ("server", "Google Ads - remarketing", "google_ads"),
    ],
)
def test_the_reason_of_what_is_left(tmp_path: Path, kind: str, tag: str, why: str) -> None:
    [left] = [one for one in moved(tmp_path, kind)["not_carried"] if one["tag"] == tag]
    assert why in left["why"]


@pytest.mark.parametrize(
    ("tag", "note"),
    [
        ("GA4 - purchase", "custom JavaScript"),
        ("Meta - Lead (quiz)", "is a cookie"),
        ("TikTok - AddToCart", "blocking triggers"),
        ("Google tag - GA4", "configSettingsTable"),
    ],
)
def test_what_a_carried_tag_leaves_behind_is_named(tmp_path: Path, tag: str, note: str) -> None:
    [carried] = [one for one in moved(tmp_path, "web")["carried"] if one["tag"] == tag]
    assert note in " ".join(carried["notes"])


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    moved(tmp_path, "web")
    before = {path: path.read_bytes() for path in (tmp_path / "destinations").iterdir()}
    done = tagway("import", "gtm", str(EXPORTS / "server.json"), "--dir", str(tmp_path))
    assert done.exit_code == 1
    assert "is there already" in done.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "destinations").iterdir()} == before


def test_people_read_what_was_done_and_what_is_next(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    (tmp_path / "destinations").mkdir()
    done = tagway("import", "gtm", str(EXPORTS / "web.json"), "--dir", str(tmp_path))
    assert "GTM-W3BSH0P (web): 9 of 17 tags carried" in done.stdout
    assert "  Hotjar (html): custom HTML" in done.stdout
    assert "META_ACCESS_TOKEN=" in done.stdout
    assert "tagway check --without-secrets" in done.stdout


@pytest.mark.parametrize(
    ("content", "told"), [("{", "not JSON"), ("[]", "no container export"), ('{"containerVersion": {}}', "no container export")]
)
def test_what_is_no_export_is_said(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    (tmp_path / "export.json").write_text(content)
    done = tagway("import", "gtm", str(tmp_path / "export.json"), "--dir", str(tmp_path))
    assert (done.exit_code, told in done.stderr) == (1, True)


def test_without_a_gateway_the_way_to_one_is_said(tmp_path: Path) -> None:
    done = tagway("import", "gtm", str(EXPORTS / "web.json"), "--dir", str(tmp_path))
    assert (done.exit_code, "tagway init" in done.stderr) == (1, True)


# ---------------------------------------------------------------- triggers and variables


@pytest.mark.parametrize(
    ("trigger", "names"),
    [
        (event("1", "purchase"), ["purchase"]),
        (event("1", "^(a|b_c)$", "MATCH_REGEX"), ["a", "b_c"]),
        (event("1", "a|b", "matchRegex"), ["a", "b"]),
        (event("1", ".*", "MATCH_REGEX"), ["*"]),
        ({"triggerId": "1", "type": "pageview"}, ["page_view"]),
        ({"triggerId": "1", "type": "DOM_READY"}, ["page_view"]),
        ({"triggerId": "1", "type": "FORM_SUBMISSION"}, ["form_submit"]),
        ({"triggerId": "1", "type": "linkClick"}, ["click"]),
        (event("1", "gtm\\.js|x+", "MATCH_REGEX"), []),
        (event("1", "purchase", extra=[{"type": "BOOLEAN", "key": "negate", "value": "true"}]), []),
        (event("1", "{{DLV - event}}"), []),
        (event("1", "nothing_usual", "STARTS_WITH"), []),
        ({"triggerId": "1", "type": "ALWAYS", "filter": [asks("EQUALS", "{{Event Name}}", "purchase")]}, ["purchase"]),
        ({"triggerId": "1", "type": "ALWAYS", "filter": [asks("MATCH_REGEX", "{{Event Name}}", "a|b")]}, ["a", "b"]),
        ({"triggerId": "1", "type": "ALWAYS", "filter": [asks("EQUALS", "{{Client Name}}", "GA4")]}, ["*"]),
        ({"triggerId": "1", "type": "TRIGGER_GROUP"}, []),
        ({"triggerId": "1", "type": "YOU_TUBE_VIDEO"}, []),
        ({"triggerId": "1", "type": "TIMER"}, []),
        ({"triggerId": "2", "type": "PAGEVIEW"}, []),
    ],
)
def test_a_trigger_is_the_events_that_it_fires_on(trigger: dict[str, Any], names: list[str]) -> None:
    fired = container(trigger=[trigger]).fired({"firingTriggerId": ["1"]})
    assert fired.names == names
    assert bool(fired.notes) is not bool(names)


VARIABLES = [
    {"name": "Const", "type": "c", "parameter": [text("value", "G-1")]},
    {"name": "Two", "type": "c", "parameter": [text("value", "{{Const}}")]},
    {"name": "Ring", "type": "c", "parameter": [text("value", "{{Ring}}")]},
    {"name": "Value", "type": "v", "parameter": [text("name", "ecommerce.value")]},
    {"name": "Odd", "type": "v", "parameter": [text("name", "a-b.0")]},
    {"name": "Mail", "type": "ed", "parameter": [text("keyPath", "user_data.email_address")]},
    {"name": "Code", "type": "jsm", "parameter": [text("javascript", "function(){}")]},
    {"name": "Dollar", "type": "c", "parameter": [text("value", "$1")]},
]


@pytest.mark.parametrize(
    ("written_", "value"),
    [
        ("plain", "plain"),
        ("{{Const}}", "G-1"),
        ("{{ Two }}", "G-1"),
        ("{{Value}}", "$props.value"),
        ("{{Mail}}", "$user.email"),
        ("{{Page URL}}", "$page.url"),
        ("{{_event}}", "$name"),
        ("{{Const}}/{{Value}} EUR", "G-1/${$props.value} EUR"),
        ("", ""),
    ],
)
def test_a_field_with_a_meaning_here(written_: str, value: str) -> None:
    assert container(variable=VARIABLES).value(written_) == value


@pytest.mark.parametrize("written_", ["{{Code}}", "{{Nobody}}", "{{Ring}}", "{{Odd}}", "a {{Code}}", "costs $5", "{{Dollar}}"])
def test_a_field_without_one(written_: str) -> None:
    with pytest.raises(Unclear):
        container(variable=VARIABLES).value(written_)


def test_an_account_must_be_the_same_for_every_event() -> None:
    with pytest.raises(Unclear):
        container(variable=VARIABLES).constant("{{Value}}")


@pytest.mark.parametrize(
    ("path", "ours"), [("ecommerce.items", "$items"), ("eventModel.value", "$props.value"), ("plan.name", "$props.plan.name")]
)
def test_a_path_of_the_data_layer(path: str, ours: str) -> None:
    assert path_of(path) == ours


def test_one_event_goes_to_a_destination_once() -> None:
    made = container(
        trigger=[event("1", "purchase")],
        customTemplate=[{"name": "Facebook Pixel", "containerId": "9", "templateId": "1"}],
        tag=[
            {
                "name": name,
                "type": "cvt_9_1",
                "firingTriggerId": ["1"],
                "parameter": [text("pixelId", "1"), text("eventName", "custom"), text("customEventName", name)],
            }
            for name in ("First", "Second")
        ],
    )
    outcome = read_tags(made)
    assert outcome.drafts[("meta", "1")].names == {"purchase": "First"}
    assert "once" in outcome.carried[1]["notes"][0]


@pytest.mark.parametrize(
    "parts", [{"tag": "x"}, {"tag": [1, None]}, {"tag": [{}]}, {"tag": [{"type": "gaawe", "parameter": "x"}]}]
)
def test_a_damaged_export_is_read_as_far_as_it_goes(parts: dict[str, Any]) -> None:
    assert read_tags(container(**parts)).carried == []
