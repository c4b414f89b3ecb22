"""Replicate's predictions, which are billed by token, by image or by time."""

import pytest

from keygauge.usage.providers import find, replicate

TIMES = {"predict_time": 1.2, "total_time": 9.7}


@pytest.mark.parametrize(
    ("metrics", "counts", "details"),
    [
        (TIMES, (None, None), {"seconds": 2}),
        (TIMES | {"input_token_count": 5, "output_token_count": 7}, (5, 7), {}),
        (TIMES | {"token_input_count": 5, "token_output_count": 7}, (5, 7), {}),
        (TIMES | {"image_output_count": 4}, (None, None), {"images": 4}),
    ],
)
def test_prediction_is_billed_by_its_metrics(metrics, counts, details):
    (found,) = find({"id": "p1", "model": "meta/llama", "status": "succeeded", "metrics": metrics})
    assert (found.raw[:2], dict(found.raw.details)) == (counts, details)
    assert (found.provider, found.model, found.answer) == (replicate.PROVIDER, "meta/llama", "p1")


@pytest.mark.parametrize("metrics", [{}, None, {"latencyMs": 3}, {"total_time": 3}])
def test_prediction_that_has_not_ended_has_none(metrics):
    assert find({"id": "p1", "status": "starting", "metrics": metrics}) == ()
