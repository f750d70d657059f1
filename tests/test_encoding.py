"""Content-Encoding: whole bodies within the limit, or a refusal; never a part, never a bomb."""

import gzip
import random
import resource
import zlib
from collections.abc import Callable
from time import process_time

import brotli
import pytest
import zstandard

from gateway.errors import Malformed, Refused, TooLarge, UnsupportedEncoding
from gateway.receive.encoding import coding_of, decode

LIMIT = 512 * 1024


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def zstd_stream(data: bytes) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(data) + stream.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip of two members": ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", lambda data: brotli.compress(data, quality=5)),
    "zstd": ("zstd", zstandard.ZstdCompressor().compress),
    "zstd without size": ("zstd", zstd_stream),
    "zstd of two frames": ("zstd", lambda data: zstd_stream(data[:100]) + zstd_stream(data[100:])),
}
BODY = b'{"name":"page_view","props":{"n":[' + b",".join(b"%d" % n for n in range(900)) + b"]}}"


def bomb(coding: str, size: int = 2**30) -> bytes:
    """A stream that says it holds `size` zero bytes."""
    block, count = bytes(2**20), size // 2**20
    if coding in ("gzip", "deflate"):
        stream = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
        return b"".join(stream.compress(block) for _ in range(count)) + stream.flush()
    if coding == "br":
        packer = brotli.Compressor(quality=5)
        return b"".join(packer.process(block) for _ in range(count)) + packer.finish()
    writer = zstandard.ZstdCompressor(level=3).compressobj()
    return b"".join(writer.compress(block) for _ in range(count)) + writer.flush()


@pytest.mark.parametrize("name", ENCODERS)
def test_a_whole_body_comes_back_as_it_was(name: str) -> None:
    coding, encode = ENCODERS[name]
    assert decode(encode(BODY), coding, LIMIT) == BODY


@pytest.mark.parametrize("name", ENCODERS)
def test_an_empty_body_is_empty(name: str) -> None:
    coding, encode = ENCODERS[name]
    assert decode(encode(b""), coding, LIMIT) == b""


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_limit_counts_decoded_bytes(name: str, over: int) -> None:
    coding, encode = ENCODERS[name]
    body = random.Random(7).randbytes(LIMIT // 4) * 4 + b"x"
    body = body[: LIMIT + over]
    if over > 0:
        with pytest.raises(TooLarge) as caught:
            decode(encode(body), coding, LIMIT)
        assert caught.value.status == 413
    else:
        assert decode(encode(body), coding, LIMIT) == body


@pytest.mark.parametrize("name", ENCODERS)
def test_a_cut_stream_is_refused_wherever_it_is_cut(name: str) -> None:
    coding, encode = ENCODERS[name]
    stream = encode(BODY)
    boundary = len(encode(BODY[:100])) if "two" in name else -1
    first = len(gzip.compress(BODY[:100])) if coding == "gzip" else len(zstd_stream(BODY[:100]))
    for length in range(len(stream)):
        if boundary > 0 and length == first:
            continue  # one whole member, which is a whole stream
        with pytest.raises(Malformed):
            decode(stream[:length], coding, LIMIT)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("tail", [b"x", b"\0" * 8, b"{}" * 50])
def test_bytes_after_the_end_are_refused(name: str, tail: bytes) -> None:
    coding, encode = ENCODERS[name]
    with pytest.raises(Malformed):
        decode(encode(BODY) + tail, coding, LIMIT)


@pytest.mark.parametrize("name", ENCODERS)
def test_random_damage_never_raises_anything_else(name: str) -> None:
    coding, encode = ENCODERS[name]
    stream, dice = encode(BODY), random.Random(11)
    statuses = set()
    for _ in range(300):
        damaged = bytearray(stream)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            decode(bytes(damaged), coding, LIMIT)
        except Refused as refused:
            statuses.add(refused.status)
    assert 400 in statuses
    assert statuses <= {400, 413}


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_fifty_bombs_cost_little_memory_and_time(coding: str) -> None:
    stream = bomb(coding)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, process_time()
    for _ in range(50):
        with pytest.raises(TooLarge):
            decode(stream, coding, LIMIT)
    assert process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


@pytest.mark.parametrize(
    ("coding", "piece"),
    [("gzip", gzip.compress(b"", mtime=0)), ("zstd", zstd_stream(b"")), ("gzip", gzip.compress(b"x", mtime=0))],
)
def test_thousands_of_members_are_refused_at_once(coding: str, piece: bytes) -> None:
    started = process_time()
    with pytest.raises(Malformed):
        decode(piece * (LIMIT // len(piece)), coding, LIMIT)
    assert process_time() - started < 0.05


def test_a_gzip_bomb_of_many_members_meets_the_same_limit() -> None:
    with pytest.raises(TooLarge):
        decode(gzip.compress(bytes(LIMIT // 2)) * 3, "gzip", LIMIT)


def test_a_zstd_window_over_the_standard_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=25)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = stream.compress(bytes(1000)) + stream.flush()
    with pytest.raises(Malformed):
        decode(body, "zstd", LIMIT)


@pytest.mark.parametrize(
    ("value", "coding"),
    [("", ""), ("identity", ""), ("gzip", "gzip"), (" GZIP ", "gzip"), ("x-gzip", "x-gzip"), ("br", "br"), ("Zstd", "zstd")],
)
def test_one_known_coding_is_taken(value: str, coding: str) -> None:
    assert coding_of(value) == coding


@pytest.mark.parametrize("value", ["gzip, gzip", "gzip,br", "snappy", "compress", "gzip;q=1", "identity, gzip", ",", "\u212a"])
def test_stacked_and_unknown_codings_are_refused(value: str) -> None:
    with pytest.raises(UnsupportedEncoding) as caught:
        coding_of(value)
    assert caught.value.status == 415
    assert value not in caught.value.detail or value == ","
