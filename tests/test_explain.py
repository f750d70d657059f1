"""`tagway explain` in all its forms, and its promise: the chain that it prints, run again, gives the byte that is sent."""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.clock import iso
from gateway.config.load import load
from gateway.config.models import Gateway
from gateway.errors import GatewayError, Refused, RefusedReason
from gateway.explain import stories_of_hit
from gateway.hit_file import parse_request, read_hit
from gateway.plans import prepare
from tests import destination_kit as kit
from tests.cli_kit import SECRETS, call, gateway_up, in_thread, tagway, write_gateway
from tests.gateway_kit import DENIED, purchase

NOW = 1_795_514_460.0
CONFIG = """
admin: {listen: "127.0.0.1:9"}
trusted_proxies: [private]
paths: {prefix: /m, events: e, pixel: i}
sources:
  shop:
    hosts: [t.shop.example]
    origins: ["https://shop.example"]
    write_keys: [wk_shop]
    server_keys: ["${SHOP_SERVER_KEY}"]
  blog:
    hosts: [t.blog.example]
    write_keys: [wk_blog]
destinations: destinations/
"""
META = """
type: meta
sources: [shop]
settings:
  pixel_id: "1234567890"
  access_token: ${META_ACCESS_TOKEN}
"""
GA4 = """
type: ga4
sources: [shop, blog]
mode: dry_run
settings:
  measurement_id: G-TEST12345
  api_secret: ${GA4_API_SECRET}
"""


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHOP_SERVER_KEY", "sk_shop_0123456789")
    monkeypatch.setenv("META_ACCESS_TOKEN", "s3cr3t-meta-token")
    folder = Path("configs/destinations")
    folder.mkdir(parents=True)
    Path("configs/gateway.yaml").write_text(CONFIG)
    (folder / "meta.yaml").write_text(META)
    (folder / "ga4.yaml").write_text(GA4)


@pytest.fixture(name="config")
def _config() -> Gateway:
    return load(Path("configs/gateway.yaml"), {"SHOP_SERVER_KEY": "sk_shop_0123456789"}, secrets=False)


def written(name: str, content: Any) -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else orjson.dumps(content))
    return name


def raw(line: str, *headers: str, body: bytes = b"", end: str = "\r\n") -> bytes:
    head = end.join([f"{line} HTTP/1.1", *headers, "", ""])
    return head.encode() + body


def basic(key: str) -> str:
    return f"Authorization: Basic {base64.b64encode(f'{key}:'.encode()).decode()}"


SEGMENT = orjson.dumps(
    {"type": "track", "event": "Order Completed", "userId": "u1", "properties": {"order_id": "7", "total": 9}}
)
HOST = "Host: t.shop.example"


class TestFiles:
    def test_a_hit_is_told_from_what_came_to_the_request(self) -> None:
        shown = tagway(
            "explain", written("event.json", purchase(user={"email": " Jane@Example.com "})), "--to", "meta", "--source", "shop"
        )
        assert shown.exit_code == 0, shown.stderr
        headings = [line for line in shown.stdout.splitlines() if not line.startswith(" ")]
        assert [line.split()[0] for line in headings] == [
            *("decode", "normalise", "enrich", "bots", "consent", "visitor", "meta")
        ]
        assert 'user.email = " Jane@Example.com "' in shown.stdout
        assert 'user.email = "Jane@Example.com"' in shown.stdout, "what normalise made of it"
        assert "would be sent: sent as Purchase" in shown.stdout
        assert "POST https://graph.facebook.com/" in shown.stdout
        assert "Bearer ***" in shown.stdout
        assert re.search(r"to change it: this rule made the request  destinations/meta.yaml:\d+", shown.stdout)

    def test_a_stored_event_has_no_stages_and_the_same_decisions(self) -> None:
        event = kit.event({"props": {"value": 1, "currency": "EUR"}, "user": {"id": "u"}, "time": iso(time.time() - 60)}).data
        told = json.loads(tagway("explain", written("event.json", event), "--json").stdout)["stories"][0]
        assert told["stages"] == []
        assert {one["destination"]: one["outcome"] for one in told["destinations"]} == {"meta": None, "ga4": "skipped"}

    def test_without_consent_it_names_the_signal_and_the_line_that_would_change_it(self) -> None:
        shown = tagway("explain", written("event.json", purchase(consent=DENIED)), "--to", "meta", "--source", "shop")
        assert (
            "skipped{consent}: The visitor did not allow what this destination needs. ad_storage is denied (event)"
            in shown.stdout
        )
        assert re.search(r"meta asks for ad_storage, ad_user_data  destinations/meta.yaml:\d+", shown.stdout)
        assert re.search(r"which signals of shop count.*configs/gateway.yaml:\d+", shown.stdout)

    def test_a_dry_run_says_how_it_would_end_live(self) -> None:
        hit = purchase(props={"transaction_id": "7", "value": 4, "currency": "EUR"})
        shown = tagway("explain", written("event.json", hit), "--to", "ga4", "--source", "shop")
        assert "skipped{mode}" in shown.stdout
        assert "In mode live: sent as purchase." in shown.stdout
        lacking = tagway("explain", written("event.json", purchase(props={})), "--to", "ga4", "--source", "shop")
        assert "In mode live: skipped{incomplete}." in lacking.stdout

    def test_each_event_of_a_list_has_its_story(self) -> None:
        events = [purchase("e-1"), {"id": "nameless"}, purchase("e-2")]
        told = json.loads(tagway("explain", written("e.json", events), "--source", "shop", "--json").stdout)["stories"]
        assert [one["event"] and one["event"]["id"] for one in told] == ["e-1", None, "e-2"]
        assert told[1]["refused"].startswith("malformed")

    def test_no_secret_is_shown(self) -> None:
        for extra in ((), ("--json",), ("--to", "meta", "--field", "envelope")):
            shown = tagway("explain", written("event.json", purchase()), "--source", "shop", *extra)
            assert "s3cr3t" not in shown.stdout


class TestRawRequests:
    @pytest.mark.parametrize(
        ("request_", "dialect", "name"),
        [
            (raw("GET /p.gif?e=purchase&v=5&c=EUR", HOST), "pixel", "purchase"),
            (raw("GET /m/i?e=purchase&k=wk_shop"), "pixel", "purchase"),
            (raw("GET https://t.shop.example/p.gif?e=purchase"), "pixel", "purchase"),
            (raw("POST /v1/track", basic("wk_shop"), body=SEGMENT), "segment", "purchase"),
            (raw("POST /v1/t", HOST, body=SEGMENT, end="\n"), "segment", "purchase"),
            (raw("POST /v1/batch", HOST, body=b'{"batch":[' + SEGMENT + b"]}"), "segment", "purchase"),
            (raw("POST /v1/events?k=wk_shop", body=b'{"name":"login"}\n'), "json", "login"),
            (raw("POST /m/e", "X-Write-Key: wk_shop", body=b'{"name":"login"}'), "json", "login"),
            (raw("POST /v1/events", body=b'{"writeKey":"wk_shop","name":"login"}'), "json", "login"),
            (raw("POST /v1/events", "Authorization: Bearer sk_shop_0123456789", body=b'{"name":"login"}'), "json", "login"),
            (
                raw("POST /v1/events", HOST, "Content-Length: 16", body=b'{"name":"login"}and what the tool put there'),
                "json",
                "login",
            ),
            (raw("POST /v1/events", HOST, "Content-Encoding: gzip", body=gzip.compress(b'{"name":"login"}')), "json", "login"),
        ],
    )
    def test_routes_keys_and_encodings_are_those_of_the_door(
        self, request_: bytes, dialect: str, name: str, config: Gateway
    ) -> None:
        hit = read_hit(request_, config, None, NOW)
        assert hit.source == "shop"
        (story,) = stories_of_hit(config, prepare(config), hit, NOW)
        assert story.event is not None
        assert (story.event.data["dialect"], story.event.name) == (dialect, name)

    @pytest.mark.parametrize(
        ("request_", "reason"),
        [
            (raw("POST /v1/events", body=b'{"name":"login"}'), RefusedReason.UNKNOWN_KEY),
            (raw("POST /v1/events?k=wk_nobody", HOST), RefusedReason.UNKNOWN_KEY),
            (raw("POST /v1/events?k=wk_blog", HOST), RefusedReason.CROSS_SOURCE),
            (raw("POST /v1/events", HOST, "Origin: https://evil.example"), RefusedReason.ORIGIN),
            (raw("POST /v1/events", HOST, "Content-Encoding: snappy"), RefusedReason.ENCODING),
            (raw("POST /v1/events", HOST, body=b"[" * 100), RefusedReason.MALFORMED),
        ],
    )
    def test_what_the_door_refuses_is_refused_here(self, request_: bytes, reason: RefusedReason, config: Gateway) -> None:
        with pytest.raises(Refused) as caught:
            read_hit(request_, config, None, NOW)
        assert caught.value.reason is reason
        shown = tagway("explain", "--hit", written("r.http", request_))
        assert shown.exit_code == 0
        assert shown.stdout.startswith(f"refused at the door: {reason}: ")

    def test_a_source_that_is_named_stands_in_for_the_key(self, config: Gateway) -> None:
        assert read_hit(raw("POST /v1/events?k=wk_nobody", body=b"{}"), config, "blog", NOW).source == "blog"

    def test_an_address_is_known_only_from_a_header_that_the_files_trust(self, config: Gateway) -> None:
        line = "GET /p.gif?e=login"
        assert read_hit(raw(line, HOST), config, None, NOW).ip is None
        assert read_hit(raw(line, HOST, "X-Forwarded-For: 203.0.113.9, 10.0.0.1"), config, None, NOW).ip == "203.0.113.9"
        trusting_nobody = config.model_copy(update={"trusted_proxies": []})
        assert read_hit(raw(line, HOST, "X-Forwarded-For: 203.0.113.9"), trusting_nobody, None, NOW).ip is None

    def test_browser_headers_take_the_bodys_word_away(self, config: Gateway) -> None:
        assert read_hit(raw("GET /p.gif?e=login", HOST), config, None, NOW).trusts_body
        assert not read_hit(raw("GET /p.gif?e=login", HOST, "Referer: https://x.example/"), config, None, NOW).trusts_body
        server = raw("POST /v1/events", "Authorization: Bearer sk_shop_0123456789", "Cookie: a=b", body=b"{}")
        assert read_hit(server, config, None, NOW).trusts_body

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (b"hello", "does not begin with a request line such as: POST /v1/events HTTP/1.1"),
            (raw("GET /index.html", HOST), "/index.html takes no hits; these do: "),
            (raw("GET /v1/events", HOST), "/v1/events takes POST, not GET"),
            (b"GET /p.gif HTTP/1.1\nnonsense\n\n", "line 2 of the file is no header"),
        ],
    )
    def test_a_file_that_is_no_hit_says_why(self, request_: bytes, message: str) -> None:
        shown = tagway("explain", "--hit", written("r.http", request_))
        assert (shown.exit_code, shown.stdout) == (1, "")
        assert message in shown.stderr

    def test_a_raw_request_is_recognised_without_the_option(self) -> None:
        shown = tagway("explain", written("r.http", raw("GET /p.gif?e=login", HOST)))
        assert 'dialect = "pixel"' in shown.stdout

    def test_bytes_of_a_body_stay_as_they_are(self) -> None:
        body = b'{"name":"a\r\n\r\nb"}'
        assert parse_request(raw("POST /v1/events", f"Content-Length: {len(body)}", body=body)).body == body
        with pytest.raises(GatewayError):
            parse_request(b"")


class TestFields:
    def test_the_chain_leads_from_the_hit_to_the_byte(self) -> None:
        hit = written("event.json", purchase(user={"email": " Jane@Example.com "}))
        lines = tagway("explain", hit, "--source", "shop", "--to", "meta", "--field", "user_data.em").stdout.splitlines()
        assert lines[0] == "meta  user_data.em[0]"
        assert lines[1] == '  decode: user.email = " Jane@Example.com "'
        assert lines[2] == '  normalise: user.email = "Jane@Example.com"'
        assert lines[3].startswith('  $user.email  →  "Jane@Example.com"    destinations/meta.yaml:')
        assert lines[4].startswith('  | email  →  "jane@example.com"')
        assert lines[5].startswith('  | sha256  →  "8c87b489ce35cf2e2f39f80e282cb2e804932a56a213983eeeb428407d43b52d"')
        assert lines[6] == '  sent: "8c87b489ce35cf2e2f39f80e282cb2e804932a56a213983eeeb428407d43b52d"'

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"user": {"id": "u", "email": "jane at example"}}, r"not sent: email gave nothing \(destinations/meta.yaml:\d+\)"),
            ({"user": {"id": "u"}}, r"not sent: \$user.email gave nothing"),
            ({"user": {"id": "u", "email": {"a": 1}}}, "not sent: normalise could not use user.email"),
        ],
    )
    def test_a_missing_value_names_what_removed_it(self, changes: dict[str, Any], why: str) -> None:
        hit = written("event.json", purchase(**changes))
        shown = tagway("explain", hit, "--source", "shop", "--to", "meta", "--field", "user_data.em").stdout
        assert re.search(why, shown), shown

    def test_a_field_that_is_none_gets_a_near_match(self) -> None:
        hit = written("event.json", purchase())
        shown = tagway("explain", hit, "--source", "shop", "--to", "meta", "--field", "custom_data.valeu")
        assert "its mapping of purchase has no field custom_data.valeu; did you mean custom_data.value?" in shown.stdout
        shown = tagway("explain", hit, "--source", "shop", "--to", "meta", "--field", "em")
        assert "did you mean user_data.em[0]?" in shown.stdout

    def test_a_chain_is_shown_although_the_event_is_not_sent(self) -> None:
        hit = written("event.json", purchase(consent=DENIED))
        shown = tagway("explain", hit, "--source", "shop", "--to", "meta", "--field", "event_id")
        assert "the event itself is not sent: skipped{consent}" in shown.stdout
        assert 'sent: "e-1"' in shown.stdout

    def test_json_is_one_list_over_destinations(self) -> None:
        hit = written("event.json", purchase())
        rows = json.loads(tagway("explain", hit, "--source", "shop", "--field", "event_id", "--json").stdout)
        assert [(row["destination"], row["sent"], row.get("value")) for row in rows] == [
            ("ga4", False, None),
            ("meta", True, "e-1"),
        ]


class TestMapping:
    def test_each_leaf_has_its_file_and_line(self) -> None:
        Path("configs/destinations/meta.yaml").write_text(
            META + "events:\n  purchase:\n    body:\n      event_id: $props.my_id\n"
        )
        lines = tagway("explain", "--mapping", "meta", "purchase").stdout.splitlines()
        assert "purchase.body.event_id: $props.my_id    configs/destinations/meta.yaml:10" in lines
        assert any(re.fullmatch(r"purchase\.name: Purchase    destinations/meta\.yaml:\d+", line) for line in lines)

    def test_a_tombstone_is_shown_with_its_line(self) -> None:
        Path("configs/destinations/meta.yaml").write_text(META + "events:\n  purchase: null\n")
        assert (
            tagway("explain", "--mapping", "meta", "purchase").stdout == "purchase: null    configs/destinations/meta.yaml:8\n"
        )

    def test_json_holds_the_merged_tree(self) -> None:
        tree = json.loads(tagway("explain", "--mapping", "meta", "purchase", "--json").stdout)
        assert tree["body"]["event_id"] == "$event.id"

    @pytest.mark.parametrize(
        ("args", "code", "message"),
        [
            ((), 2, "--mapping takes a destination (ga4, meta)"),
            (("mata",), 1, "there is no destination mata; did you mean meta?"),
            (("meta", "purchas"), 1, "meta has no mapping for purchas; did you mean purchase?"),
        ],
    )
    def test_a_mistake_is_told(self, args: tuple[str, ...], code: int, message: str) -> None:
        shown = tagway("explain", "--mapping", *args)
        assert shown.exit_code == code
        assert message in shown.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ((), 2, "name one of: an event id, a file, --order, --hit"),
        (("e-1", "--order", "7"), 2, "name one of: an event id, a file, --order, --hit"),
        (("nothing.json",), 1, "there is no file nothing.json"),
        (("--hit", "nothing.http"), 1, "cannot read nothing.http: No such file or directory"),
        (("bad.json",), 1, "bad.json is neither JSON ("),
        (("good.json",), 1, "name the source with --source: shop, blog"),
        (("good.json", "--source", "shpo"), 1, "name the source with --source: shop, blog"),
        (("good.json", "--to", "mata"), 1, "there is no destination mata; did you mean meta?"),
        (("good.json", "purchase"), 2, "purchase is one word too many"),
        (("e-1",), 1, "no gateway answers on 127.0.0.1:9"),
        (("--order", "7"), 1, "no gateway answers on 127.0.0.1:9"),
    ],
)
def test_a_mistake_is_told_in_a_line(args: tuple[str, ...], code: int, message: str) -> None:
    written("bad.json", b"{")
    written("good.json", {"name": "login"})
    shown = tagway("explain", *args)
    assert shown.exit_code == code
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr


class TestStored:
    """Events of a running gateway, by id and by order number."""

    @pytest.fixture(scope="class", name="running")
    @classmethod
    def _running(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
        folder = tmp_path_factory.mktemp("gateway")
        meta = "type: meta\nendpoint: http://127.0.0.1:9\nsettings:\n  pixel_id: '1234567890'\n  access_token: T\n"
        sources = "  shop:\n    write_keys: [wk_shop]\n    server_keys: [sk_shop]\n"
        path = write_gateway(folder, {"meta": meta, "dry": f"{meta}mode: dry_run\n"}, sources)
        with in_thread(lambda: gateway_up(path)) as (app, loop):
            call(loop, cls.post(app.addresses["public"], [purchase("e-1"), purchase("e-2", consent=DENIED)]))
            yield path

    @staticmethod
    async def post(address: str, events: Any) -> None:
        import aiohttp

        async with (
            aiohttp.ClientSession() as client,
            client.post(f"http://{address}/v1/events", json=events, headers={"X-Write-Key": "sk_shop"}) as answer,
        ):
            assert answer.status == 200, await answer.text()

    def test_by_id_it_tells_what_happened(self, running: Path) -> None:
        shown = tagway("explain", "e-2", "-c", str(running))
        assert shown.exit_code == 0, shown.stderr
        assert shown.stdout.startswith("purchase  e-2  20")
        assert "no consent: The visitor did not allow what this destination needs. ad_storage is denied" in shown.stdout
        assert "to change it: meta asks for ad_storage, ad_user_data" in shown.stdout
        assert "jane@example.com" not in shown.stdout, "what was stored is masked"

    def test_by_order_and_for_one_destination(self, running: Path) -> None:
        told = json.loads(tagway("explain", "--order", "o-e-1", "--to", "dry", "--json", "-c", str(running)).stdout)
        (story,) = told["stories"]
        assert story["id"] == "e-1"
        assert [one["destination"] for one in story["destinations"]] == ["dry"]

    def test_a_field_of_a_stored_event_has_its_chain(self, running: Path) -> None:
        shown = tagway("explain", "e-1", "--to", "meta", "--field", "custom_data.value", "-c", str(running))
        assert "$props.value  →  42.5" in shown.stdout
        assert "sent: 42.5" in shown.stdout

    @pytest.mark.parametrize("args", [("e-nobody",), ("--order", "4711")])
    def test_what_is_not_there_is_told(self, args: tuple[str, ...], running: Path) -> None:
        shown = tagway("explain", *args, "-c", str(running))
        assert shown.exit_code == 1
        assert "is in the store; it may have left with retention, or never have come in" in shown.stderr
