import pytest

from keygauge.call import OpenRoute
from keygauge.limits.limit import Limit

ANY = {"id": "1:a", "name": "one", "unit": "request", "amount": 5, "window_s": 60, "period": None}


@pytest.mark.parametrize(
    ("scope", "route", "models", "covers"),
    [
        ({}, "/v1/chat", ("gpt-4o",), True),
        ({"route": "/v1/chat"}, "/v1/chat", (), True),
        ({"route": "/v1/chat"}, "/v1/chat/completions", (), False),
        ({"route": "/v1/chat*"}, "/v1/chat/completions", (), True),
        ({"route": "/v1/chat*"}, "/v1/files", (), False),
        ({"route": "/v1/chat"}, None, (), True),
        ({"route": "/v1/chat"}, OpenRoute("/v1/{path}"), (), True),
        ({"route": "/v1/chat*"}, OpenRoute("/v1/{path}"), (), True),
        ({"route": "/v1*"}, OpenRoute("/v1/{path}"), (), True),
        ({"route": "/v1/{path}"}, OpenRoute("/v1/{path}"), (), True),
        ({"route": "/v2/chat"}, OpenRoute("/v1/{path}"), (), False),
        ({"route": "/v1chat*"}, OpenRoute("/v1/{path}"), (), False),
        ({"route": "/v1/chat"}, "/v1/{path}", (), False),
        ({"model": "gpt-4o"}, "/", ("gpt-4o-mini", "gpt-4o"), True),
        ({"model": "gpt-4o"}, "/", ("gpt-4o-mini",), False),
        ({"model": "gpt-4o*"}, "/", ("gpt-4o-mini",), True),
        ({"model": "gpt-4o"}, "/", None, True),
        ({"model": "gemini-2.5-pro"}, "/", ("models/gemini-2.5-pro",), True),
        ({"model": "models/gemini-2.5*"}, "/", ("models/gemini-2.5-pro",), True),
        ({"route": "/v1/chat", "model": "gpt-4o"}, "/v1/files", ("gpt-4o",), False),
    ],
)
def test_a_limit_counts_calls_of_its_route_and_model(scope, route, models, covers):
    assert Limit(**ANY, **scope).covers(route, models) is covers
