import pytest

from keygauge_keyservice.accounts import token_book, tokens


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch):
    monkeypatch.setattr(token_book, "_FRESH_S", -1)


@pytest.fixture
def make(connection):
    def make(kind="admin", name="deploy", **options):
        return tokens.create(connection, kind=kind, name=name, actor="test", **options)

    return make


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def test_the_audit_log_names_the_token(client, connection, make):
    token, secret = make(name="deploy")
    plan = {"id": "free", "name": "Free", "limits": []}
    assert client.post("/v1/plans", json=plan, headers=bearer(secret)).status_code == 201
    row = connection.execute("SELECT actor FROM audit WHERE action = 'plan.create'").fetchone()
    assert row["actor"] == "token deploy"
    client.get("/v1/plans", headers=bearer(secret))
    [listed] = tokens.list_tokens(connection)
    assert (listed.id, listed.last_used_at is not None) == (token.id, True)


def test_a_spool_belongs_to_the_service_that_sent_it_first(client, make, replica):
    secrets = {name: make(kind="service", name=name)[1] for name in ("shop", "search")}
    rotated = make(kind="service", name="shop")[1]

    def send(headers):
        return client.post("/v1/events?spool=ab&first=0", data=b"[]\n", headers=headers).status_code

    assert send(bearer(secrets["shop"])) == 200
    assert send(bearer(rotated)) == 200
    assert send(bearer(secrets["search"])) == 403
    assert send(replica) == 403
    assert client.post("/v1/events?spool=cd&first=0", data=b"[]\n", headers=replica).status_code == 200
