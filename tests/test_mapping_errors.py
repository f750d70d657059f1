"""Every bad shape has its own message, with file and line, and all of a file are told in one run."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from tests.mapping_kit import problems_of

FILE = "destinations/acme.yaml"


def in_body(value: str) -> str:
    return f"events:\n  purchase:\n    name: Purchase\n    body:\n      field: {value}\n"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("$usr.email", 'unknown root "$usr"; did you mean user?'),
        ("$100", "`$` must be followed by a name such as $user.email; write $$ for the sign itself"),
        ("$item.id", "$item is known only inside a loop ($for, each)"),
        ("$index", "$index is known only inside a loop"),
        ("$res.code", "$res is known only in response rules"),
        ("$f.code", "$f is known only in response rules under partial"),
        ("$batch", "$batch is known only in batch.wrap"),
        ("$setting.pixelid", 'unknown setting "pixelid"; did you mean pixel_id?'),
        ("$setting", "name a setting: $setting.<name>"),
        ("$user.email | sha265", 'unknown function "sha265"; did you mean sha256?'),
        ("$user.email | map:tabel", 'unknown table "tabel"; did you mean table1?'),
        ("$user.email | lower:1", "lower takes no arguments (lower), not 1"),
        ("$user.email | replace:'a'", 'replace takes 2 arguments (replace:"a","b"), not 1'),
        ("$user.email | then", "then takes 1 argument (then:x), not 0"),
        ("$user.email | matches:'['", "no regular expression"),
        ("$user.email ||| lower", "conditions use `or` and `and`"),
        ("$user.email ?? $user.id", "the first that is not empty is `a // b`"),
        ("$props.value > 5", "'>' belongs to a condition"),
        ("$user.email | lower |", "a function's name is expected after `|`, the text ends here"),
        ("$user.email //", "the text ends here"),
        ('"text ${HOME}"', "the environment is read under `settings` only"),
        ('"text ${$user.id"', "a hole `${` is not closed by `}`"),
        ('"${$usr.id}"', 'unknown root "$usr"; did you mean user?'),
        ("{$for: $items}", "$for needs $do beside it"),
        ("{$do: $item.id}", "$do needs $for beside it"),
        ("{$for: $items, $do: $item.id, id: 5}", "id cannot stand beside $for"),
        ("{$for: $items, $do: $item.id, $joyn: x}", 'unknown directive "$joyn"; did you mean $join?'),
        ("{$whn: $user.id, a: 1}", 'unknown directive "$whn"; did you mean $when?'),
        ("{$value: 1, a: 2}", "a cannot stand beside $value"),
        ("{$keep: [], a: 2}", "a cannot stand beside $keep"),
        ("{$merge: $props}", "must be a list of expressions or maps"),
        ("{$use: blok}", 'unknown block "blok"; did you mean block1?'),
        ("{$use: listed, a: 1}", 'the block "listed" is no map, so nothing can stand beside its $use'),
        ('{$for: "$items as user", $do: 1}', 'a loop cannot be named "user": the name is taken'),
        ("{$when: [1], a: 1}", "must be a condition such as `$props.value > 0`"),
        ("{$when: $a =, a: 1}", "`=` is not known here; equality is `==`"),
    ],
)
def test_a_mistake_in_a_body_names_its_place(value: str, message: str) -> None:
    text = in_body(value) + "tables: {table1: {a: b}}\nblocks: {block1: {a: 1}, listed: [1]}\n"
    found = problems_of(text)
    assert len(found) == 1, found
    assert found[0].startswith(f"{FILE}:5: events.purchase"), found
    assert message in found[0]


@pytest.mark.parametrize(
    ("scalar", "read"), [("NO", "false"), ("yes", "true"), ("on", "true"), ("Off", "false"), ("0123", "83"), ("12:30", "750")]
)
def test_words_that_yaml_reads_otherwise_must_be_quoted(scalar: str, read: str) -> None:
    assert problems_of(in_body(scalar)) == [
        f'{FILE}:5: events.purchase.body.field was read as "{read}" by YAML; quote it: "{scalar}"'
    ]
    assert problems_of(f"tables:\n  t:\n    {scalar}: x\n") == [
        f'{FILE}:3: tables.t.{scalar} was read as "{read}" by YAML; quote it: "{scalar}"'
    ]


def test_regions_are_a_table_like_any_other() -> None:
    assert problems_of("regions:\n  us: api\n  NO: api-no\n") == [
        f'{FILE}:3: regions.NO was read as "false" by YAML; quote it: "NO"'
    ]
    assert "a table holds constants" in problems_of("regions: {us: $user.id}")[0]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ('[$props.a | replace:"x", "y"]', "put the whole expression in double quotes"),
        ("{a: $props.a | slice, b: 1}", "put the whole expression in double quotes"),
        ("[$props.a //, x]", "a comma ends an unquoted value"),
    ],
)
def test_a_comma_that_cut_an_unquoted_expression_is_recognised(shape: str, words: str) -> None:
    found = problems_of(in_body(shape))
    assert any(words in problem for problem in found), found


def test_a_comment_that_cut_an_expression_is_recognised() -> None:
    found = problems_of(in_body("$props.colour // #fff"))
    assert found[0].startswith(f'{FILE}:5: events.purchase.body.field: the value is cut at " #"')


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("events:\n  purchase:\n    nmae: x", "3: events.purchase", 'unknown key "nmae"; did you mean name?'),
        ("events:\n  purchase:\n    require: {al: []}", "3: events.purchase.require", 'unknown key "al"; did you mean all?'),
        ("events:\n  purchase:\n    require: [{if: $user.id}]", "3: events.purchase.require", "`say` must be words"),
        ("events:\n  purchase:\n    require: [{iff: $user.id, say: a}]", "3: events.purchase.require", "did you mean if?"),
        ("events:\n  purchase: [a]", "2: events.purchase[0]", "must be a map with name"),
        ("events:\n  purchase:\n    require: {any: $user.id}", "3: events.purchase.require.any", "must be a list"),
        ("endpoint:\n  url: https://x.example\n  hedders: {}", "3: endpoint", 'unknown key "hedders"; did you mean headers?'),
        ("endpoint:\n  method: POST", "2: endpoint.url", "is missing"),
        ("endpoint:\n  url: ftp://x.example/a", "2: endpoint.url", "must be an address such as https://"),
        ("endpoint:\n  url: 'https://${$user.id}.example/a'", "2: endpoint.url", "the host never comes from an event"),
        ("endpoint:\n  url: $page.url", "2: endpoint.url", "the host never comes from an event"),
        ("endpoint:\n  url: https://x.example\n  method: FETCH", "3: endpoint.method", "must be one of GET"),
        ("endpoint:\n  url: https://x.example\n  body: xml", "3: endpoint.body", "must be one of json, form"),
        ("endpoint:\n  url: https://x.example\n  headers: {'bad name': x}", "2: endpoint", "is no header's name"),
        ("auth:\n  kind: beerer", "2: auth", 'unknown kind "beerer"; did you mean bearer?'),
        ("auth:\n  kind: bearer\n  tokn: x", "3: auth", 'unknown key "tokn"; did you mean token?'),
        ("auth:\n  kind: bearer\n  token: $user.id", "3: auth.token", "$user is not known here"),
        ("auth:\n  kind: hmac\n  secret: x\n  algorithm: crc", "2: auth", "algorithm must be one of sha256"),
        ("batch:\n  wrap: {data: x}", "2: batch.wrap", "$batch, the list of events, must stand in it exactly once"),
        ("batch:\n  wrap: {a: $batch, b: $batch}", "2: batch.wrap", "exactly once"),
        ("batch:\n  wrap: {a: $batch.x}", "2: batch.wrap.a", "$batch stands alone"),
        ("batch:\n  max_events: 5", "2: batch", "without `wrap` a request carries one event"),
        ("endpoint: {url: https://x.example, body: ndjson}\nbatch:\n  wrap: {a: $batch}", "3: batch.wrap", "sent as ndjson"),
        ("response:\n  - {status: 200}", "2: response[0]", "needs either `then` or `partial`"),
        ("response:\n  - {status: 20, then: retry}", "2: response[0].status", "must be a status such as 400"),
        ("response:\n  - {then: retri}", "2: response[0].then", 'unknown verdict "retri"; did you mean retry?'),
        ("response:\n  - {then: retry, reason: slow}", "2: response[0]", 'unknown reason "slow"'),
        ("response:\n  - {body: $user.id, then: retry}", "2: response[0].body", "$user is not known here"),
        ("response:\n  - {partial: {list: $res.a}}", "2: response[0].partial", "one of `index`, `id`, `path`"),
        ("loop: $now == 1", "1: loop", "$now is not known here"),
        ("validate:\n  url: https://x.example\n  evry: 5", "3: validate", 'unknown key "evry"; did you mean every?'),
        ("validate:\n  url: https://x.example\n  body: {a: 1}", "3: validate.body", "needs batch.wrap"),
        ("tables:\n  t: [a]", "2: tables.t", "must be a map of constants"),
    ],
)
def test_mistakes_elsewhere(text: str, place: str, message: str) -> None:
    found = problems_of(text)
    assert len(found) == 1, found
    assert found[0].startswith(f"{FILE}:{place}"), found
    assert message in found[0]


def test_the_customers_mistakes_are_at_the_customers_line() -> None:
    customer = "when: $prop.value > 5\nevents:\n  purchase:\n    body:\n      x: $user.emial | lwoer\n"
    found = problems_of("events: {purchase: {body: {a: 1}}}", customer)
    assert found == [
        'configs/destinations/acme.yaml:5: events.purchase.body.x: unknown function "lwoer"; did you mean lower?',
        'configs/destinations/acme.yaml:1: when: unknown root "$prop"; did you mean props? (in `$prop.value`)',
    ]


def test_limit_without_a_limited_form_is_an_error() -> None:
    found = problems_of("events: {a: {}}", consent={"on_opt_out": "limit"})
    assert found == ["configs/destinations/acme.yaml: consent.on_opt_out: limit, but acme has no limited form; use skip"]


def test_all_problems_are_told_at_once_and_each_once() -> None:
    text = """\
defaults:
  a: $usr.id
events:
  one: {body: {b: $x.y}}
  two: {body: {c: "$user.id | nope"}}
  three: {nam: x}
auth: {kind: nine}
response: [{then: maybe}]
"""
    found = problems_of(text)
    assert [problem.split(": ")[0] for problem in found] == [f"{FILE}:{line}" for line in (2, 4, 5, 6, 7, 8)]


def test_a_secret_is_in_no_message() -> None:
    settings = {"pixel_id": "p", "token": SecretStr("top\nsecret"), "table": {}, "keys": []}
    found = problems_of("auth: {kind: bearer, token: $setting.token}", settings=settings)
    assert found == [f"{FILE}:1: auth: the header Authorization must be visible ASCII text of at most 1024 characters"]
