"""GA4 in Google's place (`role: replace`): no parameter is lost on the way through, and Google hears what was decided."""

from __future__ import annotations

import os
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config.models import SourceConsent
from gateway.consent.decide import decide
from gateway.destination import Batch
from gateway.errors import Refused
from gateway.event import Event
from gateway.lab.ga4 import Ga4
from gateway.lab.server import Lab
from gateway.lab.vendor import Call
from gateway.normalise import Normalised, normalise
from gateway.receive import ga4, ga4_mp
from gateway.receive.hit import Hit
from tests import destination_kit as kit
from tests import ga4_kit as web
from tests.gateway_kit import GRANTED, LAB, running

VIEW = web.query(web.BASE)
MANY = 10_000 if os.environ.get("CI") else 100
"""Inputs for each decoder."""


# -- no parameter is lost ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*web.PLAIN, *web.TURNED, *web.KEPT_HERE])
def test_every_parameter_is_in_the_event(name: str) -> None:
    samples = {**web.PLAIN, **{key: value for key, (value, _, _) in web.TURNED.items()}, **web.KEPT_HERE}
    query = f"{VIEW}&{name}" if name == "richsstsse" else web.query({**web.BASE, name: samples[name]})
    [without], [event] = web.events(web.hit(VIEW)), web.events(web.hit(query))
    changed = {key: part for key, part in event.data.items() if part != without.data.get(key) and key not in ("id", "consent")}
    assert changed or (name == "ep.event_id" and event.id == "e-1")


@pytest.mark.parametrize("name", web.PLAIN)
def test_every_parameter_leaves_as_it_came_where_gtag_is_replaced(name: str) -> None:
    given = {**web.BASE, name: web.PLAIN[name]}
    if name == "cu":
        given["epn.value"] = "1"
    if name in ("uap", "uapv", "uam"):
        given["uaa"] = "arm"
    if name == "dma":
        given["dma_cps"] = "syphamo"
    if name == "pr2":
        given["pr1"] = web.PLAIN["pr1"]
    [event] = web.events(web.hit(web.query(given)))
    sent = web.parameters(web.sent_on(event))
    assert {key: sent.get(key) for key in given} == given


@pytest.mark.parametrize("name", web.TURNED)
def test_a_parameter_that_has_two_names_leaves_under_one(name: str) -> None:
    value, other, meant = web.TURNED[name]
    [event] = web.events(web.hit(web.query({**web.BASE, name: value})))
    assert web.parameters(web.sent_on(event))[other] == meant


def test_what_is_for_a_tagging_server_stays_here() -> None:
    [event] = web.events(web.hit(web.query({**web.BASE, **web.KEPT_HERE})))
    assert not web.parameters(web.sent_on(event)).keys() & web.KEPT_HERE.keys()


_TEXTS = st.text(
    alphabet=st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=("Cs", "Cc")), min_size=1, max_size=40
)


@settings(deadline=None)
@given(
    names=st.sets(st.sampled_from([name for name in web.PLAIN if name not in ("dma", "pr2")]), max_size=45),
    words=st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True), _TEXTS, max_size=5),
)
def test_any_mixture_of_parameters_survives_the_way_through(names: set[str], words: dict[str, str]) -> None:
    own = {f"ep.x_{name}": value for name, value in words.items() if value.isalpha() and value.isascii()}
    given = {**web.BASE, **{name: web.PLAIN[name] for name in sorted(names)}, **own}
    if names & {"uap", "uapv", "uam"}:
        given["uaa"] = "arm"
    [event] = web.events(web.hit(web.query(given)))
    sent = web.parameters(web.sent_on(event))
    assert {key: sent.get(key) for key in given} == given


# -- nothing breaks the decoders -----------------------------------------------------------------------------------------

_SCRAPS = (
    r"v=2& tid=G-1& en= page_view purchase view_promotion pr1= id ~ ~~ k0 v0 epn. ep. up. user_data. em=tv.1~ cs= gcd=13 % "
    r"%e2%82 + & = é 9"
)
_PIECES = st.lists(st.sampled_from([*_SCRAPS.split(), "\n", "\r\n", "\0"]) | st.text(max_size=3), max_size=25).map("".join)


@settings(deadline=None, max_examples=MANY)
@given(query=_PIECES, body=_PIECES | st.binary(max_size=40))
@example(query="v=2&en=a&pr1=~~~&epn.x=-.&upn.y=1e400&sr=9x9&_et=&cu&sid", body="")
def test_no_web_hit_breaks_the_decoder(query: str, body: str | bytes) -> None:
    content = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    check(ga4.decode, web.hit(f"v=2&{query}", content))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_EVENTS = st.fixed_dictionaries({"name": st.just("login") | _JSON}, optional={"params": _JSON, "timestamp_micros": _JSON})
_KEYS = "client_id user_id user_properties user_data consent device user_location ip_override".split()
_BODIES = st.fixed_dictionaries({"events": st.lists(_EVENTS, max_size=3) | _JSON}, optional=dict.fromkeys(_KEYS, _JSON))


@settings(deadline=None, max_examples=MANY)
@given(body=_BODIES | _JSON)
def test_no_measurement_protocol_body_breaks_the_decoder(body: Any) -> None:
    try:
        content = orjson.dumps(body)
    except orjson.JSONEncodeError:
        return
    check(ga4_mp.decode, Hit("POST", "/mp/collect", "measurement_id=G-1", {}, content, "shop", web.RECEIVED))


def check(decode: Any, hit: Hit) -> None:
    """Refused, or events that can be stored, decided and mapped."""
    try:
        raws = decode(hit)
    except Refused:
        return
    one = kit.ready("ga4", {"role": "replace", "user_data": True})
    for raw in raws:
        made = raw if isinstance(raw, Refused) else normalise(raw, hit, web.RECEIVED)
        if isinstance(made, Normalised):
            data = {**made.data, "consent": decide(made.data, hit, SourceConsent())}
            orjson.dumps(data)
            parts = one.plan.parts(Event(data), kit.NOW)
            if isinstance(parts, list):
                kit.request(one, parts)
            else:
                assert "Error" not in parts.detail


# -- sent on -------------------------------------------------------------------------------------------------------------


def test_a_web_hit_carries_the_visitors_address_and_agent_and_no_secret() -> None:
    [event] = web.events(web.hit(VIEW))
    request = web.sent_on(event)
    assert (request.method, request.body) == ("POST", b"")
    assert request.url.startswith("https://www.google-analytics.com/g/collect?v=2&tid=G-TEST12345&cid=111.222&")
    assert request.headers == {"User-Agent": web.AGENT}
    assert web.parameters(request)["_uip"] == "203.0.113.7"
    assert "s3cr3t" not in request.url
    assert "_uip" not in web.parameters(web.sent_on(event, {"send_ip": False}))


def test_a_long_hit_has_its_event_in_the_body() -> None:
    [event] = web.events(web.hit(VIEW, b"en=quiz&" + b"&".join(b"ep.p%d=%s" % (n, b"x" * 400) for n in range(20))))
    request = web.sent_on(event)
    assert request.headers["Content-Type"] == "text/plain;charset=UTF-8"
    assert request.body.startswith(b"en=quiz&")
    assert len(request.url) < 2000
    assert web.parameters(request)["ep.p19"] == "x" * 400


def test_a_promotion_is_no_campaign_on_its_way_out() -> None:
    shared = web.query({**web.BASE, "cs": "google", "cn": "brand"})
    [event] = web.events(web.hit(shared, b"en=view_promotion&pi=P-1&cn=Banner&cs=top"))
    request = web.sent_on(event)
    assert b"pi=P-1" in request.body
    assert b"cn=Banner" in request.body
    assert "cn=brand" in request.url


def test_a_campaign_is_told_beside_an_address_that_is_no_url() -> None:
    [event] = web.events(
        web.hit(web.query({**web.BASE, "dl": "https://[x/?utm_source=news", "cs": "news", "cn": "brand"}), b"en=page_view")
    )
    said = web.parameters(web.sent_on(event))
    assert said["cn"] == "brand"
    assert "cs" not in said, "the address says it"


@pytest.mark.parametrize(
    ("parameters", "decided", "said"),
    [
        ({}, {}, {"gcs": "G111", "gcd": "13r3r3r2r5l1"}),
        ({}, {"ad_user_data": "denied"}, {"gcs": "G111", "gcd": "13r3r3q2r5l1"}),
        ({}, {"ad_storage": "denied", "ad_personalization": "unknown"}, {"gcs": "G101", "gcd": "13q3r3r2q5l1", "npa": "1"}),
        ({}, {"sale_opt_out": True}, {"gcs": "G111", "gcd": "13r3r3q2q5l1", "npa": "1"}),
        ({"dma": "1", "dma_cps": "syphamo"}, {"ad_user_data": "denied"}, {"dma_cps": "syphmo", "gcd": "13r3r3q2r5l1"}),
        ({"gcd": "13t3t3t3t5"}, {"ad_storage": "denied"}, {"gcs": "G101", "gcd": "13u3t3t3t5"}),
        ({"gcd": "13l3l3l3l1"}, {"ad_storage": "denied"}, {"gcs": "G101", "gcd": "13m3n3n3n1"}),
        ({"gcd": "nonsense"}, {}, {"gcs": "G111", "gcd": None, "npa": None}),
        ({"gcd": "nonsense"}, {"ad_user_data": "denied"}, {"gcs": "G111", "gcd": "13n3n3m3n5"}),
    ],
)
def test_google_hears_the_consent_that_was_decided(
    parameters: dict[str, str], decided: dict[str, Any], said: dict[str, str | None]
) -> None:
    [event] = web.events(web.hit(web.query({**web.BASE, **parameters})))
    consent = {**kit.GRANTED, **decided}
    sent = web.parameters(web.sent_on(Event({**event.data, "consent": consent})))
    assert {name: sent.get(name) for name in said} == said


@pytest.mark.parametrize("name", ["user_engagement", "session_start", "first_visit", "screen_view"])
def test_googles_own_events_go_on_only_as_web_hits(name: str) -> None:
    [event] = web.events(web.hit(web.query({**web.BASE, "en": name})))
    replacing = kit.ready("ga4", {"role": "replace"})
    assert replacing.plan.filtered(event, kit.NOW) is None
    assert web.parameters(web.sent_on(event))["en"] == name
    assert replacing.plan.filtered(kit.event({"name": name}), kit.NOW)


def test_a_web_hit_is_not_asked_about_at_the_validation_endpoint() -> None:
    [event] = web.events(web.hit(VIEW))
    one = kit.ready("ga4", {"role": "replace", "validate_sample": 1})
    [part] = one.plan.parts(event, kit.NOW)  # type: ignore[misc]
    assert one.plan.validation(Batch(part.envelope, (part,)), kit.NOW) is None
    [server] = kit.parts(one, {"name": "login", "ids": {"ga_client_id": "1.2"}})
    asked = one.plan.validation(Batch(server.envelope, (server,)), kit.NOW)
    assert asked is not None
    assert "/debug/mp/collect?" in asked.url


def test_two_web_hits_never_share_a_request() -> None:
    one = kit.ready("ga4", {"role": "replace"})
    first, second = web.events(web.hit(web.query({**web.BASE, "en": ""}), b"en=scroll\nen=click"))
    keys = {part.envelope.key for event in (first, second) for part in one.plan.parts(event, kit.NOW)}  # type: ignore[union-attr]
    assert len(keys) == 2


def test_a_customers_file_holds_for_web_hits_too() -> None:
    [event] = web.events(web.hit(web.query({**web.BASE, "ep.colour": "red"})))
    file = {"defaults": {"params": {"site": "shop"}}, "events": {"quiz": {"name": "quiz_done"}}}
    assert web.parameters(web.sent_on(event, file=file)).items() >= {
        ("en", "quiz_done"),
        ("ep.site", "shop"),
        ("ep.colour", "red"),
    }
    assert "ep.colour" not in web.parameters(web.sent_on(event, {"custom_params": False}))


# -- the lab -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": "1"}, "v must be 2"),
        ({"tid": ""}, "tid is missing"),
        ({"tid": "UA-1-1"}, "tid is no measurement id"),
        ({"tid": "G-UNKNOWN"}, "tid names no stream"),
        ({"cid": ""}, "cid is missing"),
        ({"sid": "soon"}, "sid must be digits"),
        ({"en": "9lives"}, "en must be 1 to 40 letters, digits and underscores, a letter first"),
        ({"gcs": "granted"}, "gcs has not the form of Consent Mode"),
        ({"gcd": "13r3r"}, "gcd has not the form of Consent Mode"),
        ({"cu": "eur"}, "cu must be an ISO 4217 code in upper case"),
        ({"epn.value": "many"}, "epn.value must be a number"),
        ({"pr1": "pr5~qt1"}, "pr1 has neither id nor name"),
        ({"_uip": "here"}, "_uip is no address"),
        ({"api_secret": "s"}, "a secret of the Measurement Protocol stands in a web hit"),
        ({"em": "ada@shop.example"}, "em has not the form of user data"),
    ],
)
def test_the_lab_says_why_a_web_hit_would_be_dropped(changes: dict[str, str], reason: str) -> None:
    answer = Ga4().answer(Call("POST", "/g/collect", {**web.BASE, **changes}, {"user-agent": "x"}, b"", web.RECEIVED))
    assert answer.status == 204
    assert [(noted.accepted, noted.reason) for noted in answer.noted] == [(False, reason)]


def test_the_lab_reads_each_line_of_a_web_hit() -> None:
    call = Call(
        "POST",
        "/g/collect",
        {**web.BASE, "dl": "https://s.example/"},
        {"user-agent": "x"},
        b"en=scroll\r\nen=click\n",
        web.RECEIVED,
    )
    noted = Ga4().answer(call).noted
    assert [(one.name, one.accepted, one.notes) for one in noted] == [("scroll", True, ()), ("click", True, ())]


# -- whole ---------------------------------------------------------------------------------------------------------------

GTAG = web.query({**web.BASE, "dl": "https://shop.example/thanks", "_fv": "1", "_ss": "1", "sct": "1", "seg": "1"})
PURCHASE = "en=page_view&_et=10\r\nen=purchase&cu=EUR&ep.transaction_id=T-1&epn.value=42.5&pr1=idsku-1~nmCup~pr42.5~qt1"
SOURCE = "  shop:\n    write_keys: [wk_shop]\n    server_keys: [sk_shop]\n    ga4_ids: [G-TEST12345]\n"


async def test_in_googles_place_web_hits_go_on_as_web_hits_and_server_events_as_measurement_protocol(
    tmp_path: Any, lab: Lab
) -> None:
    files = {
        "ga4": LAB["ga4"].format(base=lab.url("ga4")) + "  role: replace\n",
        "meta": LAB["meta"].format(base=lab.url("meta")),
    }
    async with running(tmp_path, files, sources=SOURCE) as up:
        async with up.client.post(f"{up.url}/g/collect?{GTAG}", data=PURCHASE, headers={"User-Agent": web.AGENT}) as answer:
            assert answer.status == 204
        params = {"transaction_id": "T-1", "value": 42.5, "currency": "EUR", "session_id": "1795514300"}
        body = {"client_id": "9.9", "consent": GRANTED, "events": [{"name": "refund", "params": params}]}
        async with up.client.post(f"{up.url}/mp/collect?measurement_id=G-TEST12345&api_secret=sk_shop", json=body) as answer:
            assert answer.status == 204
        await up.idle()
        inbox = lab.inbox("ga4")
        assert [(entry.accepted, entry.reason) for entry in inbox] == [(True, "")] * 3
        assert {entry.name for entry in inbox} == {"page_view", "purchase", "refund"}
        assert sorted(seen.path for seen in lab.requests("ga4")) == ["/g/collect", "/g/collect", "/mp/collect"]
        [purchase] = [entry for entry in inbox if entry.name == "purchase"]
        assert (
            purchase.payload.items()
            >= {"cid": "111.222", "sid": "1795514300", "sct": "1", "_fv": "1", "_ss": "1", "seg": "1"}.items()
        )
        assert purchase.notes == ()
        assert [entry.payload["event_name"] for entry in lab.inbox("meta")] == ["PageView", "Purchase"]


async def test_beside_gtag_its_hits_are_a_loop_and_server_events_are_not(tmp_path: Any, lab: Lab) -> None:
    async with running(tmp_path, {"ga4": LAB["ga4"].format(base=lab.url("ga4"))}, sources=SOURCE) as up:
        async with up.client.post(f"{up.url}/g/collect?{GTAG}", data=PURCHASE, headers={"User-Agent": web.AGENT}) as answer:
            assert answer.status == 204
        body = {"client_id": "9.9", "consent": {"analytics_storage": "GRANTED"}, "events": [{"name": "login"}]}
        async with up.client.post(f"{up.url}/mp/collect?measurement_id=G-TEST12345&api_secret=sk_shop", json=body) as answer:
            assert answer.status == 204
        await up.idle()
        assert await up.outcomes("ga4") == {"skipped{loop}": 2, "delivered": 1}
        assert [entry.name for entry in lab.inbox("ga4")] == ["login"]


async def test_the_purchase_of_a_reloaded_page_is_the_same_purchase(tmp_path: Any, lab: Lab) -> None:
    async with running(tmp_path, {"meta": LAB["meta"].format(base=lab.url("meta"))}, sources=SOURCE) as up:
        for counter, amount in (("3", "42.5"), ("9", "42.5"), ("9", "1")):
            hit = f"en=purchase&cu=EUR&ep.transaction_id=T-1&epn.value={amount}&_et={counter}"
            async with up.client.post(f"{up.url}/g/collect?{GTAG}&_s={counter}&_p={counter}", data=hit) as answer:
                assert answer.status == 204
        await up.idle()
        [source] = (await up.app.store.audit()).sources
        assert (source.same, source.conflict) == (1, 1)
