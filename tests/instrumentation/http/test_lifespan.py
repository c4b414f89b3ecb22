"""Apps that fail in their lifespan, under uvicorn's own lifespan protocol."""

import pytest
from starlette.applications import Starlette
from uvicorn import Config
from uvicorn.lifespan.on import LifespanOn


async def raises_at_once(scope, receive, send):
    raise RuntimeError("no lifespan here")


async def raises_at_its_start(scope, receive, send):
    await receive()
    raise RuntimeError("cannot start")


async def takes_no_part(scope, receive, send):
    return


async def start(app, lifespan):
    """Start like uvicorn; return whether it goes on to serve, and whether the app supports the lifespan."""
    config = Config(app, lifespan=lifespan)
    config.load()
    life = LifespanOn(config)
    await life.startup()
    serves, takes_part = not life.should_exit, not life.error_occurred
    await life.shutdown()
    return serves, takes_part


@pytest.mark.parametrize("app", [raises_at_once, raises_at_its_start])
async def test_server_that_requires_a_lifespan_fails_as_without_keygauge(guard, app):
    assert await start(guard(app), "on") == await start(app, "on") == (False, False)


async def test_app_that_fails_to_start_is_reported(guard):
    assert await start(guard(raises_at_its_start), "auto") == await start(raises_at_its_start, "auto") == (True, False)


@pytest.mark.parametrize("app", [raises_at_once, takes_no_part, Starlette()])
async def test_app_without_a_lifespan_gets_keygauges(guard, app):
    guarded = guard(app)
    assert await start(guarded, "auto") == (True, True)
    assert guarded._process.runtime is None
