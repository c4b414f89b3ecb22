import pytest

from keygauge_keyservice.usage.query import Question
from keygauge_keyservice.usage.time_cover import TimeCover

DAY_S = 86_400


def plan(*group_by, **narrowed):
    return Question(**dict.fromkeys(("account_id", "key", "route", "model")) | narrowed, group_by=group_by)


def cover(length_s, count=1, sign=1):
    return TimeCover(length_s, 0, count * length_s, sign)


@pytest.mark.parametrize(
    ("question", "cut", "sources"),
    [
        (plan(), (None, "status"), {900: "usage_aggregate", DAY_S: "usage_aggregate"}),
        (plan("key"), (None, "key"), {DAY_S: "usage_aggregate"}),
        (plan("model", account_id="acme", key="k"), ("key", "model"), {900: "rollup", DAY_S: "usage_aggregate"}),
        (plan("key", "model", "route"), None, {900: "rollup", DAY_S: "rollup"}),
        (plan(key="k", route="/v1"), None, {DAY_S: "rollup"}),
        (plan("tag"), (None, "tag"), {DAY_S: "usage_tag"}),
        (plan(tag="alice"), (None, "status"), {DAY_S: "usage_tag"}),
    ],
)
def test_the_smallest_suitable_table_is_queried(question, cut, sources):
    if not question.is_by_tag:
        assert question.cut == cut
    assert {length_s: question.source_of(cover(length_s)) for length_s in sources} == sources
