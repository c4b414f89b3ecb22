"""An MCP server: each tool call is a separate call, with the usage that the tool records."""

import json
import os
import subprocess
from pathlib import Path

import environments
import pytest

import keygauge
from keygauge_keyservice.limits.definitions import Limit

PROGRAM = """
import asyncio
import json
import sys
from socket import socket
from threading import Thread

import uvicorn
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.server.fastmcp import FastMCP

import keygauge
from keygauge.asgi import KeyGaugeMiddleware

server = FastMCP("sums", stateless_http=sys.argv[1] == "stateless")
stated = []


@server.tool()
def add(number: int) -> int:
    call = keygauge.current()
    call.record_usage(input_tokens=number)
    stated.append(call)
    return number


app = KeyGaugeMiddleware(server.streamable_http_app(), mode="observe")
listening = socket()
listening.bind(("127.0.0.1", 0))
listening.listen()
serving = uvicorn.Server(uvicorn.Config(app, log_level="error"))
thread = Thread(target=serving.run, args=([listening],))
thread.start()


async def visit():
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as session:
        await session.initialize()
        for number in (5, 7):
            await session.call_tool("add", {"number": number})


asyncio.run(visit())
serving.should_exit = True
thread.join()
print(json.dumps([[call.usage.input_tokens, call.status, call.ended_ns > 0] for call in stated]))
"""


@pytest.mark.parametrize("session", ["stateful", "stateless"])
def test_tool_records_the_usage_of_its_call(session, tmp_path):
    own = str(Path(keygauge.__file__).parent.parent)
    ended = subprocess.run(
        [environments.programs("mcp") / "python", "-c", PROGRAM, session],
        env={**os.environ, "PYTHONPATH": own, "KEYGAUGE_SPOOL_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout.splitlines()[-1]) == [[5, 200, True], [7, 200, True]]


GUARDED = """
import asyncio
import json
import sys
from socket import socket
from threading import Thread

import httpx
import uvicorn
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.server.fastmcp import FastMCP

from keygauge.asgi import KeyGaugeMiddleware

server = FastMCP("words", stateless_http=sys.argv[1] == "stateless")


@server.tool()
def search(text: str) -> str:
    return f"found {text}"


@server.tool()
def delete(text: str) -> str:
    return f"deleted {text}"


app = KeyGaugeMiddleware(server.streamable_http_app(), wait_s=10)
listening = socket()
listening.bind(("127.0.0.1", 0))
listening.listen()
serving = uvicorn.Server(uvicorn.Config(app, log_level="error"))
thread = Thread(target=serving.run, args=([listening],))
thread.start()


async def visit():
    url, key = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", {"authorization": f"Bearer {sys.argv[2]}"}
    told = []
    async with streamablehttp_client(url, headers=key) as (*way, session_id), ClientSession(*way) as session:
        await session.initialize()
        told.append([tool.name for tool in (await session.list_tools()).tools])
        told.append([(await session.call_tool("search", {"text": word})).content[0].text for word in ("a", "b")])
        key |= {"accept": "application/json, text/event-stream", "mcp-session-id": session_id() or ""}
        call = {"jsonrpc": "2.0", "id": 9, "method": "tools/call"}
        refused = [call | {"params": {"name": name, "arguments": {"text": "x"}}} for name in ("delete", "search")]
        async with httpx.AsyncClient(headers=key) as client:
            for body in (*refused, refused):
                answer = await client.post(url, json=body)
                told.append([answer.status_code, answer.json()["code"]])
    return told


told = asyncio.run(visit())
serving.should_exit = True
thread.join()
print(json.dumps(told))
"""


@pytest.mark.parametrize("session", ["stateful", "stateless"])
def test_tool_permissions_and_limits_are_enforced(session, key_service, tmp_path):
    searches = Limit(name="searches", unit="request", amount=2, period="day", tool="search")
    _, token = key_service.create_key(searches, tools=["search"])
    own = str(Path(keygauge.__file__).parent.parent)
    ended = subprocess.run(
        [environments.programs("mcp") / "python", "-c", GUARDED, session, token],
        env={
            **os.environ,
            "PYTHONPATH": own,
            "KEYGAUGE_SPOOL_DIR": str(tmp_path),
            "KEYGAUGE_SERVICE_URL": key_service.service_url,
            "KEYGAUGE_SERVICE_TOKEN": key_service.service_token,
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout.splitlines()[-1]) == [
        ["search", "delete"],
        ["found a", "found b"],
        [403, "tool_not_allowed"],
        [429, "quota_exhausted"],
        [400, "request_unreadable"],
    ]
