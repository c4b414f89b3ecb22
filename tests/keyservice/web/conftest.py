import pytest


@pytest.fixture
def account(client, operator):
    client.post("/v1/plans", json={"id": "free", "name": "Free", "limits": []}, headers=operator)
    return client.post("/v1/accounts", json={"name": "Acme", "plan": "free"}, headers=operator).json
