"""`tagway send` and `tagway check --online`: one event to a vendor's own test facility, and nothing that counts by mistake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.config.load import load
from gateway.destination import Reply
from gateway.lab import Lab
from gateway.manifest import discover, load_manifest
from gateway.mapping.envelope import UNKNOWN_ADDRESS
from gateway.mapping.probe import Finding
from gateway.plans import prepare
from gateway.setup.samples import EVENTS
from tests.cli_kit import SECRETS, in_thread, lab_up, tagway
from tests.mapping_kit import plan_of, problems_of

SITE = ("--site", "https://shop.example", "--add", ",".join(discover()))


@pytest.fixture(scope="module", name="lab")
def _lab() -> Iterator[Lab]:
    with in_thread(lab_up) as (lab, _loop):
        yield lab


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    """A configuration as `init` writes it, in mode dry_run, with the vendors played by the lab."""
    monkeypatch.chdir(tmp_path)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert tagway("init", *SITE).exit_code == 0
    for vendor in discover():
        if vendor in lab.vendors and vendor != "webhook":
            change(vendor, f"endpoint: {lab.url(vendor)}\n")
    lab.clear()


def change(vendor: str, text: str, replace: tuple[str, str] = ("", "")) -> None:
    path = Path(f"configs/destinations/{vendor}.yaml")
    path.write_text(path.read_text().replace(*replace) + text)


def test_a_sample_reaches_the_test_facility_with_the_code(lab: Lab) -> None:
    sent = tagway("send", "purchase", "--to", "meta", "--test", "TEST123")
    assert sent.exit_code == 0, sent.stdout
    (entry,) = lab.inbox("meta")
    assert entry.accepted
    assert '"test_event_code": "TEST123"' in sent.stdout
    assert "/meta/v26.0/1234567890/events" in sent.stdout
    assert "accepted by the vendor" in sent.stdout
    assert "code TEST123" in sent.stdout
    assert SECRETS["META_ACCESS_TOKEN"] not in sent.stdout + sent.stderr


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("vendor", ["meta", "tiktok", "ga4"])
def test_every_sample_is_taken_by_every_strict_emulator_or_says_why_it_is_not_sent(vendor: str, name: str, lab: Lab) -> None:
    sent = tagway("send", name, "--to", vendor, "--test", "TEST123", "--json")
    if sent.exit_code:
        assert "the event would not be sent: skipped{unmapped}" in sent.stderr
        assert name not in load_manifest(vendor).tree["events"]
        return
    answer = json.loads(sent.stdout)
    assert answer["good"], answer
    assert answer["how"] == ("validation" if vendor == "ga4" else "code")
    assert all(entry.accepted for entry in lab.inbox(vendor))


def test_a_vendor_that_never_confirms_is_asked_at_its_validation_endpoint_and_records_nothing(lab: Lab) -> None:
    sent = tagway("send", "page_view", "--to", "ga4")
    assert sent.exit_code == 0, sent.stdout
    assert "/ga4/debug/mp/collect" in sent.stdout
    assert "nothing was recorded" in sent.stdout
    assert "204 to anything" in sent.stdout
    assert lab.inbox("ga4") == []


def test_a_complaint_of_the_validation_endpoint_is_told_and_fails() -> None:
    change(
        "ga4", 'events:\n  page_view:\n    body:\n      params:\n        session_id: "not a number!"\n        "bad name": x\n'
    )
    sent = tagway("send", "page_view", "--to", "ga4")
    assert sent.exit_code == 1
    assert "ga4 would drop it: " in sent.stdout


def test_a_live_event_to_a_vendor_that_never_confirms_proves_nothing_and_says_so(lab: Lab) -> None:
    sent = tagway("send", "page_view", "--to", "ga4", "--live")
    assert sent.exit_code == 0, sent.stdout
    assert "answers 204 to anything, so this proves nothing" in sent.stdout
    assert len(lab.inbox("ga4")) == 1


class TestRefusals:
    """What could count as a real event is not sent unless somebody says so."""

    @pytest.mark.parametrize("extra", [(), ("--json",)])
    def test_without_a_code(self, extra: tuple[str, ...], lab: Lab) -> None:
        change("meta", "", (f"endpoint: {lab.url('meta')}\n", ""))
        sent = tagway("send", "purchase", "--to", "meta", *extra)
        assert sent.exit_code == 1
        assert "without a test code the sample would count as a real event: give --test CODE" in sent.stderr
        assert lab.requests("meta") == []

    def test_in_mode_test_without_a_code_in_the_file(self, lab: Lab) -> None:
        change("meta", "", (f"endpoint: {lab.url('meta')}\n", ""))
        change("meta", "", ("mode: dry_run", "mode: test"))
        assert "would count as a real event" in tagway("send", "--to", "meta").stderr

    def test_to_an_endpoint_of_ones_own_elsewhere(self) -> None:
        sent = tagway("send", "--to", "webhook")
        assert sent.exit_code == 1
        assert "webhook has no test facility: whatever is sent counts" in sent.stderr

    def test_what_the_files_would_not_send(self) -> None:
        change("meta", "when: $props.value > 100\n")
        sent = tagway("send", "purchase", "--to", "meta", "--test", "T")
        assert sent.exit_code == 1
        assert "the event would not be sent: skipped{filter}" in sent.stderr

    def test_an_event_without_consent(self, lab: Lab) -> None:
        Path("event.json").write_bytes(orjson.dumps({"name": "purchase", "props": {"value": 1, "currency": "EUR"}}))
        sent = tagway("send", "--file", "event.json", "--to", "meta", "--test", "T")
        assert sent.exit_code == 1
        assert "skipped{consent}" in sent.stderr
        assert lab.requests("meta") == []

    def test_a_secret_that_is_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("META_ACCESS_TOKEN")
        monkeypatch.delenv("TIKTOK_ACCESS_TOKEN")
        sent = tagway("send", "--to", "meta", "--test", "T")
        assert sent.exit_code == 1
        assert "META_ACCESS_TOKEN is not set" in sent.stderr
        assert "TIKTOK" not in sent.stderr, "another destination's secret is not needed"


def test_mode_test_with_the_code_in_the_file_needs_no_option(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("META_TEST_EVENT_CODE", "TEST777")
    change("meta", "", ("mode: dry_run", "mode: test"))
    sent = tagway("send", "--to", "meta", "--json")
    assert sent.exit_code == 0, sent.stderr
    assert orjson.loads(json.loads(sent.stdout)["request"]["body"])["test_event_code"] == "TEST777"


def test_an_endpoint_on_this_machine_needs_no_code(lab: Lab) -> None:
    sent = tagway("send", "--to", "meta", "--json")
    assert sent.exit_code == 0, sent.stderr
    answer = json.loads(sent.stdout)
    assert answer["how"] == "here"
    assert "test_event_code" not in answer["request"]["body"]


def test_a_dry_run_shows_the_request_and_sends_nothing(lab: Lab) -> None:
    shown = tagway("send", "purchase", "--to", "meta", "--test", "T1", "--dry-run")
    assert shown.exit_code == 0
    assert '"test_event_code": "T1"' in shown.stdout
    assert "would send" in shown.stdout
    assert "Authorization: Bearer ***" in shown.stdout
    assert tagway("send", "--to", "webhook", "--dry-run").exit_code == 0, "also where nothing could be sent"
    assert lab.requests("meta") == []


def test_a_refused_token_is_told_in_words_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("META_ACCESS_TOKEN", "expired")
    sent = tagway("send", "--to", "meta", "--test", "T")
    assert sent.exit_code == 1
    assert "refused for who we are; a lane would pause" in sent.stdout


def test_a_vendor_that_is_down_is_told_in_words_and_fails(lab: Lab) -> None:
    lab.down("tiktok", "500")
    try:
        sent = tagway("send", "--to", "tiktok", "--test", "T", "--json")
    finally:
        lab.down("tiktok", None)
    assert sent.exit_code == 1
    assert json.loads(sent.stdout)["words"].startswith("not taken now; a lane would try again")


def test_an_event_of_a_file_is_sent_as_the_gateway_would(lab: Lab) -> None:
    hit = {
        "name": "purchase",
        "id": "order-1",
        "user": {"email": " Jane@Example.com "},
        "props": {"value": "9.5", "currency": "eur"},
        "consent": {"ad_storage": "granted", "ad_user_data": "granted"},
    }
    Path("event.json").write_bytes(orjson.dumps(hit))
    sent = tagway("send", "--file", "event.json", "--to", "meta", "--test", "T", "--json")
    assert sent.exit_code == 0, sent.stderr
    body = orjson.loads(json.loads(sent.stdout)["request"]["body"])["data"][0]
    assert (body["event_id"], body["custom_data"]["value"], body["custom_data"]["currency"]) == ("order-1", 9.5, "EUR")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("purchase", "--to", "mata"), "there is no destination mata; did you mean meta?"),
        (("buy", "--to", "meta"), "there is no sample of buy; there are page_view"),
        (("--file", "none.json", "--to", "meta"), "cannot read none.json: No such file"),
        (("--file", "bad.json", "--to", "meta"), "bad.json is not JSON"),
        (("--file", "two.json", "--to", "meta"), "there are 2 events; one at a time"),
        (("--file", "nameless.json", "--to", "meta"), "refused at the door: malformed"),
        (("--source", "blog", "--to", "meta"), "meta takes nothing from the source blog; it has shop"),
    ],
)
def test_a_mistake_is_one_line(args: tuple[str, ...], message: str) -> None:
    Path("bad.json").write_text("{")
    Path("two.json").write_text('[{"name": "a"}, {"name": "b"}]')
    Path("nameless.json").write_text("{}")
    sent = tagway("send", *args, "--test", "T")
    assert sent.exit_code == 1
    assert sent.stderr.count("\n") == 1
    assert message in sent.stderr


class TestOnline:
    """`check --online` asks what a vendor offers to be asked."""

    def answers(self, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
        checked = tagway("check", "--online", "--json", env=env)
        return checked.exit_code, {one["destination"]: one for one in json.loads(checked.stdout)["online"]}

    def test_each_vendor_is_asked_in_its_own_way_and_nothing_is_recorded(self, lab: Lab) -> None:
        code, found = self.answers()
        assert code == 0
        assert {name: one["answer"] for name, one in found.items()} == {
            "ga4": "fine",
            "meta": "fine",
            "tiktok": "nothing",
            "webhook": "nothing",
            **{name: found[name]["answer"] for name in found if name not in ("ga4", "meta", "tiktok", "webhook")},
        }
        assert "try: tagway send purchase --to tiktok --test CODE" in found["tiktok"]["words"]
        assert all(lab.inbox(vendor) == [] for vendor in lab.vendors)

    def test_a_dead_token_fails_the_check_with_the_vendors_words(self) -> None:
        code, found = self.answers(META_ACCESS_TOKEN="expired")
        assert code == 1
        assert found["meta"]["answer"] == "wrong"
        assert "Error validating access token" in found["meta"]["words"]

    def test_a_vendor_that_does_not_answer_leaves_it_open(self, lab: Lab) -> None:
        change("meta", "", (lab.url("meta"), "http://127.0.0.1:9"))
        code, found = self.answers()
        assert (code, found["meta"]["answer"], found["meta"]["words"]) == (0, "unsure", "no answer: connect")

    def test_a_destination_that_is_off_is_not_asked(self) -> None:
        change("meta", "", ("mode: dry_run", "mode: 'off'"))
        assert "meta" not in self.answers()[1]

    def test_offline_is_the_default_and_needs_secrets_to_leave_it(self, lab: Lab) -> None:
        assert tagway("check").exit_code == 0
        assert all(lab.requests(vendor) == [] for vendor in lab.vendors)
        assert tagway("check", "--online", "--without-secrets").exit_code == 2

    def test_people_get_a_line_each(self) -> None:
        shown = tagway("check", "--online").stdout.splitlines()
        assert any(line.startswith("meta") and "accepts the token" in line for line in shown)


class TestProbe:
    """The manifest's `probe:`."""

    MANIFEST = """
    auth: {kind: bearer, token: $setting.token}
    endpoint: {url: "https://api.acme.example/v3/${$setting.pixel_id}/events", query: {v: "3"}}
    probe:
      method: GET
      url: "https://api.acme.example/v3/${$setting.pixel_id}"
      ok: $res.id
      unsure: $res.code == 7
      error: $res.why
    """

    def test_it_is_the_endpoint_with_another_address_and_the_same_authentication(self) -> None:
        probe = plan_of(self.MANIFEST).probe
        assert probe is not None
        request = probe.request(0.0)
        assert (request.method, request.url) == ("GET", "https://api.acme.example/v3/p-1?v=3")
        assert request.headers["Authorization"] == "Bearer sesame-open"
        assert request.body == b""

    def test_the_customers_base_holds_for_it_too(self) -> None:
        probe = plan_of(self.MANIFEST, endpoint="http://127.0.0.1:9100/acme").probe
        assert probe is not None
        assert probe.request(0.0).url == "http://127.0.0.1:9100/acme/v3/p-1?v=3"

    @pytest.mark.parametrize(
        ("status", "body", "found"),
        [
            (200, {"id": "1"}, Finding("fine", "the vendor knows the settings and accepts the token")),
            (200, {}, Finding("wrong", "HTTP 200")),
            (400, {"why": "no such pixel"}, Finding("wrong", "HTTP 400: no such pixel")),
            (403, {"code": 7, "why": "no right"}, Finding("unsure", "HTTP 403: no right")),
            (502, {}, Finding("unsure", "HTTP 502")),
            (0, {}, Finding("unsure", "no answer: dns")),
        ],
    )
    def test_an_answer_is_read(self, status: int, body: dict[str, Any], found: Finding) -> None:
        probe = plan_of(self.MANIFEST).probe
        assert probe is not None
        read = probe.read(Reply(status, {}, orjson.dumps(body), "" if status else "dns"))
        assert read.answer == found.answer
        assert read.words.endswith(found.words)

    @pytest.mark.parametrize(
        ("probe", "message"),
        [
            ("{urll: x}", 'unknown key "urll"; did you mean url?'),
            ("{ok: $user.id}", "$user is not known here"),
            ("{error: $props.x}", "$props is not known here"),
            ("GET", "must be a map"),
        ],
    )
    def test_a_mistake_names_its_place(self, probe: str, message: str) -> None:
        found = problems_of(f"probe: {probe}\n")
        assert any(message in problem and problem.startswith("destinations/acme.yaml:1: probe") for problem in found), found

    def test_a_manifest_without_one_offers_nothing(self) -> None:
        assert plan_of("").probe is None


def test_an_address_that_is_not_set_does_not_stop_a_check_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEBHOOK_URL")
    config = load(Path("configs/gateway.yaml"), {}, secrets=False)
    assert set(prepare(config)) == set(discover())
    assert UNKNOWN_ADDRESS.endswith(".invalid/")
