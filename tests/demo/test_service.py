"""The metered demo API: what it serves beside its routes."""

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


async def test_metrics_that_are_not_kept_are_told(client):
    answer = await client.get("/metrics")
    assert answer.status_code == 503
    assert "KEYGAUGE_PROMETHEUS=1" in answer.text


async def test_routes_answer(client):
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/v1/models")).status_code == 200
