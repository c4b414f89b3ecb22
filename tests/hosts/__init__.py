"""The same app in every framework: an item, a stream, an endless stream, a failure, and an item below a prefix.

Each framework is imported only with its app: otherwise a process would spend most of its startup on the others.
"""

import asyncio
import json
import os
import time
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

CHAT = {
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
}
LAST = json.dumps({**CHAT, "object": "chat.completion.chunk"})
DATA = ['{"choices": []}', LAST, "[DONE]"]
SSE = "text/event-stream"
ENDLESS = int(os.environ.get("ENDLESS", "1000"))  # chunks: more than any test client waits for
PAUSE_S = 0.01


def lines(count=None):
    for data in [DATA[0]] * count if count else DATA:
        yield f"data: {data}\n\n"
        if count:
            time.sleep(PAUSE_S)


async def alines(count=None):
    for data in [DATA[0]] * count if count else DATA:
        yield f"data: {data}\n\n"
        await asyncio.sleep(PAUSE_S if count else 0)


@dataclass
class Host:
    """An app of one framework, with the routes of its items, which depend on the framework."""

    app: Any
    item: str = "/items/{n}"
    sub_item: str = "/sub/{tenant}/items/{n}"
    is_asgi: bool = True


def _make(module, **options):
    return import_module(f"hosts.{module}").make(**options)


HOSTS = {
    "starlette": partial(_make, "starlette"),
    "fastapi": partial(_make, "fastapi"),
    "litestar": partial(_make, "litestar"),
    "quart": partial(_make, "quart"),
    "flask": partial(_make, "flask"),
    "django-asgi": partial(_make, "django", is_asgi=True),
    "django-wsgi": partial(_make, "django", is_asgi=False),
    "falcon-asgi": partial(_make, "falcon", is_asgi=True),
    "falcon-wsgi": partial(_make, "falcon", is_asgi=False),
}
OF_WSGI = {"flask", "django-wsgi", "falcon-wsgi"}


def mount(host):
    """Mount an app below /mnt in another ASGI or WSGI app."""
    return import_module("hosts.starlette" if host.is_asgi else "hosts.flask").mount(host.app)
