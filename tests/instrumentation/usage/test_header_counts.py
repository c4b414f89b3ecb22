from keygauge.usage import Usage
from keygauge.usage.counts import MAX_TOKENS
from keygauge.usage.header_counts import add_cached, read


def test_counts_are_read_from_text_and_bytes():
    headers = {"x-prompt-tokens": " 12 ", "x-generated-tokens": "5", "content-type": "application/json"}
    assert read(headers) == Usage(12, 5)
    assert read({name.encode(): value.encode() for name, value in headers.items()}) == Usage(12, 5)


def test_bedrock_input_excludes_cached_tokens():
    name = "x-amzn-bedrock-{}-token-count".format
    headers = {name("input"): "10", name("output"): "1", name("cache-read-input"): "4", name("cache-write-input"): "3"}
    assert read(headers) == Usage(17, 1, 4, 3)
    assert read({name("cache-read-input"): "4"}) == Usage(None, None, 4)


def test_headers_without_valid_counts_have_no_usage():
    for value in ("", "-1", "many", "1.5", "\xff", str(MAX_TOKENS + 1)):
        assert read({"x-prompt-tokens": value}) is None
        assert read({b"x-prompt-tokens": value.encode("latin-1")}) is None
    assert read({}) is None


def test_sum_stays_within_the_ledgers_maximum():
    name = "x-amzn-bedrock-{}-token-count".format
    most = str(MAX_TOKENS)
    assert read({name("input"): most, name("cache-read-input"): most}).input_tokens == MAX_TOKENS


def test_cached_tokens_are_added_if_the_body_has_none():
    headers = {b"fireworks-cached-prompt-tokens": b"80", b"fireworks-prompt-tokens": b"100"}
    assert add_cached(Usage(100, 5), headers) == Usage(100, 5, 80)
    assert add_cached(Usage(100, 5, 0), headers) == Usage(100, 5, 0)
    assert add_cached(Usage(50, 5), headers) == Usage(50, 5, 50)
    assert add_cached(Usage(100, 5), {"fireworks-cached-prompt-tokens": "many"}) == Usage(100, 5)
    assert add_cached(Usage(100, 5), {}) == Usage(100, 5)
