from keygauge.usage.providers import sglang


def test_counts_so_far_are_final_once_a_reason_is_given():
    meta = {"id": "a", "prompt_tokens": 5, "completion_tokens": 2, "cached_tokens": 1, "finish_reason": None}
    found = sglang.read({"text": "…", "meta_info": meta})
    assert (found.raw[:3], found.stage, found.answer) == ((5, 2, 1), "running", "a")
    assert sglang.read({"meta_info": meta | {"finish_reason": {"type": "stop"}, "id": 7}})[3:7] == (
        *("final", False, False, None),
    )


def test_without_counts_it_is_none_of_its_documents():
    for meta in (None, [], {}, {"id": "a", "cached_tokens": 1}):
        assert sglang.read({"meta_info": meta}) is None
