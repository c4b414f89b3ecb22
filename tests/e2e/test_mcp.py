"""An MCP server: each tool call is a call of its own, with the usage that the tool states."""

import json
import os
import subprocess
from pathlib import Path

import environments
import pytest

import keygauge

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
def test_tool_states_its_own_call(session, tmp_path):
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
