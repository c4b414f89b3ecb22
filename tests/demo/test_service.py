"""The metered demo API: what it serves besides its routes."""

import httpx2
import pytest

from keygauge_demo.service import create_service


@pytest.fixture
async def client(monkeypatch, tmp_path):
    monkeypatch.setenv("KEYGAUGE_MODE", "observe")
    monkeypatch.setenv("KEYGAUGE_SPOOL_DIR", str(tmp_path))
    transport = httpx2.ASGITransport(app=create_service())
    async with httpx2.AsyncClient(transport=transport, base_url="http://demo") as client:
        yield client


@pytest.fixture
async def guarded(monkeypatch, tmp_path):
    monkeypatch.setenv("KEYGAUGE_MODE", "enforce")
    monkeypatch.setenv("KEYGAUGE_SERVICE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("KEYGAUGE_SERVICE_TOKEN", "token-of-this-test")
    monkeypatch.setenv("KEYGAUGE_SPOOL_DIR", str(tmp_path))
    transport = httpx2.ASGITransport(app=create_service())
    async with httpx2.AsyncClient(transport=transport, base_url="http://demo") as client:
        yield client


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/healthz"])
async def test_open_paths_need_no_key(guarded, path):
    assert (await guarded.get(path)).status_code == 200


async def test_routes_need_a_key(guarded):
    assert (await guarded.get("/v1/models")).status_code == 401


async def test_disabled_metrics_are_reported(client):
    answer = await client.get("/metrics")
    assert answer.status_code == 503
    assert "KEYGAUGE_PROMETHEUS=1" in answer.text


async def test_routes_answer(client):
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/v1/models")).status_code == 200
