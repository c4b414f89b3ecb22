import pytest
from starlette.routing import Match, Route

from keygauge.command_line.proxy_routes import ROUTES

CALLS = {
    "llama.cpp": ["/completion", "/infill", "/embedding", "/apply-template", "/props", "/slots"],
    "Ollama": ["/api/chat", "/api/pull", "/api/delete", "/api/ps"],
    "OpenAI": ["/v1/realtime", "/v1/responses/resp_1", "/v1/models/acme/llama"],
    "TEI": ["/embed_sparse", "/predict", "/similarity"],
    "TGI": ["/info", "/chat_tokenize"],
    "Infinity": ["/embeddings", "/classify"],
}


@pytest.mark.parametrize("server", CALLS)
def test_routes_of_known_servers_are_reported(server):
    routes = [Route(template, lambda _: None, methods=["GET"]) for template in ROUTES]
    for path in CALLS[server]:
        scope = {"type": "http", "method": "GET", "path": path}
        assert [route.path for route in routes if route.matches(scope)[0] is Match.FULL], path


def test_each_route_is_listed_once():
    assert len(set(ROUTES)) == len(ROUTES)
