"""A host's own tests with Starlette's TestClient see a failing lifespan as they do without KeyGauge."""

import pytest
from starlette.testclient import TestClient

from keygauge.asgi import KeyGaugeMiddleware


async def fails(scope, receive, send):
    raise LookupError(scope["type"])


def test_failure_before_startup_is_raised(tmp_path):
    app = KeyGaugeMiddleware(fails, mode="observe", spool_dir=tmp_path)
    with pytest.raises(LookupError, match="lifespan"), TestClient(app):
        pass
    app._process.stop()
