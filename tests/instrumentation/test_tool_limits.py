"""Keys restricted to some tools of an MCP server, and limits of single tools, with a real key service."""

import json

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDisconnect

DAILY = {"name": "daily", "unit": "request", "amount": 100, "period": "day"}


async def answer(request):
    body = await request.body()
    return JSONResponse({"size": len(body)})


async def talk(websocket):
    await websocket.accept()
    await websocket.close()


@pytest.fixture
def server(guard):
    methods = ["GET", "POST", "DELETE"]
    return guard(
        Starlette(
            routes=[
                Route("/mcp", answer, methods=methods),
                Route("/other", answer, methods=methods),
                WebSocketRoute("/ws", talk),
            ]
        )
    )


def message(tool=None, method="tools/call"):
    told = {"jsonrpc": "2.0", "id": 1, "method": method}
    return told if tool is None else told | {"params": {"name": tool, "arguments": {"q": "x"}}}


async def post(visit, app, token, body, path="/mcp", **options):
    return await visit(app, token, path, method="POST", content=json.dumps(body), **options)


async def test_key_can_call_only_its_allowed_tools(service, server, visit):
    _, token = service.key(tools=["search", "files_*"])
    for body in (message("search"), message("files_read"), message(method="initialize"), message(method="tools/list")):
        answered = await post(visit, server, token, body)
        assert (answered.status_code, answered.json()["size"]) == (200, len(json.dumps(body)))
    for tool in ("delete", "Search", "search2", "files"):
        refused = await post(visit, server, token, message(tool))
        assert (refused.status_code, refused.json()["code"]) == (403, "tool_not_allowed"), tool
    for body in ([message("search")], [message("search"), message("delete")], message(), "x"):
        refused = await post(visit, server, token, body)
        assert (refused.status_code, refused.json()["code"]) == (400, "request_unreadable"), body
    for method in ("GET", "DELETE"):
        assert (await visit(server, token, "/mcp", method=method)).status_code == 200


async def test_tool_limit_counts_only_calls_of_its_tool(service, server, visit):
    tool = {"name": "searches", "unit": "request", "amount": 2, "period": "day", "tool": "search", "route": "/mcp"}
    _, token = service.key(DAILY, tool)
    told = [
        await post(visit, server, token, message(name)) for name in ("search", "other", "search", "search", "other")
    ]
    assert [answered.status_code for answered in told] == [200, 200, 200, 429, 200]
    problem = told[3].json()
    assert (problem["code"], problem["limit"]) == ("quota_exhausted", "searches")
    assert told[0].headers["x-ratelimit-limit-requests"] == "100"
    batch = await post(visit, server, token, [message("search"), message("search")])
    assert (batch.status_code, batch.json()["code"]) == (400, "request_unreadable")
    assert (await post(visit, server, token, message(method="ping"))).status_code == 200
    assert (await post(visit, server, token, [1, 2], "/other")).status_code == 200  # the limit is for another endpoint


async def test_dry_run_tool_limit_refuses_no_call(service, server, visit):
    tool = {"name": "searches", "unit": "request", "amount": 1, "period": "day", "tool": "search", "dry_run": True}
    _, token = service.key(tool)
    for body in (message("search"), [message("search")], message("search")):
        assert (await post(visit, server, token, body)).status_code == 200


async def test_tool_limit_can_be_per_end_user(service, guard, visit):
    tool = {"name": "searches", "unit": "request", "amount": 1, "period": "day", "tool": "search", "per_tag": True}
    _, token = service.key(tool)
    app = guard(Starlette(routes=[Route("/mcp", answer, methods=["POST"])]), tag="header:X-End-User")
    users = ("ada", "bob", "ada")
    told = [await post(visit, app, token, message("search"), headers={"x-end-user": user}) for user in users]
    assert [answered.status_code for answered in told] == [200, 200, 429]


def test_websocket_is_refused_because_its_messages_are_not_read(service, server):
    _, token = service.key(tools=["search"])
    _, free = service.key()
    with TestClient(server) as client:
        with client.websocket_connect("/ws", headers={"x-api-key": free}):
            pass
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws", headers={"x-api-key": token}):
            pass
