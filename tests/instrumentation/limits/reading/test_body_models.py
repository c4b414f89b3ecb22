import json

import pytest

from keygauge.limits.reading.body_models import NAMING, BodyModels
from keygauge.limits.reading.request_fields import Members


def read(body):
    models = BodyModels()
    for name, value in json.loads(body, object_pairs_hook=Members):
        if name in NAMING:
            models.read(name, value)
    return models


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ('{"model": "a", "engine": "b", "deployment": "c"}', "abc"),
        ('{"models": ["a", "b"]}', "ab"),
        ('{"fallbacks": ["a", {"model": "b", "stop": ["x"]}, {"x": ["c", "d"]}]}', "abcd"),
        ('{"context_window_fallbacks": [{"x": ["a"]}], "content_policy_fallbacks": "b"}', "ab"),
        ('{"tools": [{"type": "image_generation", "model": "a"}, {"type": "function"}, 1]}', "a"),
        ('{"tools": [{"function": {"parameters": {"properties": {"model": {"type": "string"}}}}}]}', ""),
        ('{"requests": [{"params": {"model": "a"}}, {"request": {"model": "models/b"}}]}', "ab"),
        ('{"requests": [{"params": {"model": "a", "models": ["b"], "tools": [{"model": "c"}]}}]}', "abc"),
        ('{"model": null, "models": null, "fallbacks": null, "tools": null, "requests": null}', ""),
    ],
)
def test_models_are_found_in_many_places(body, names):
    assert (sorted(read(body).names), read(body).hidden) == (list(names), False)


@pytest.mark.parametrize(
    "body",
    ['{"model": {}}', '{"models": [7]}', '{"fallbacks": [7]}', '{"fallbacks": true}', '{"tools": [{"model": []}]}'],
)
def test_a_value_that_is_not_a_string_may_hide_a_model(body):
    assert read(body).hidden


def test_deep_nesting_is_read():
    members = ["a"]
    for _ in range(100_000):
        members = [members]
    models = BodyModels()
    models.read("fallbacks", members)
    for _ in range(100_000):
        members = Members([("batch", members)])
    models.read("batch", Members([("model", "b"), ("requests", members)]))
    assert models.names == ["a", "b"]
