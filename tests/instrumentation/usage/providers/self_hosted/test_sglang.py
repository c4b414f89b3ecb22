from keygauge.usage.providers.self_hosted import sglang


def test_counts_are_final_with_a_finish_reason():
    meta = {"id": "a", "prompt_tokens": 5, "completion_tokens": 2, "cached_tokens": 1, "finish_reason": None}
    found = sglang.read({"text": "…", "meta_info": meta})
    assert (found.raw[:3], found.stage, found.answer) == ((5, 2, 1), "running", "a")
    assert sglang.read({"meta_info": meta | {"finish_reason": {"type": "stop"}, "id": 7}})[3:7] == (
        *("final", False, False, None),
    )


def test_document_without_counts_is_not_recognized():
    for meta in (None, [], {}, {"id": "a", "cached_tokens": 1}):
        assert sglang.read({"meta_info": meta}) is None
