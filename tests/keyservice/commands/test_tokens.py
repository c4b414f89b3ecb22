import json

from keygauge_keyservice.accounts import token_book


def test_tokens_are_created_listed_and_revoked(run, client, monkeypatch):
    monkeypatch.setattr(token_book, "_FRESH_S", -1)
    secret = run("tokens", "create", "ci", "--kind", "admin", "--scope", "read").strip()

    def get_status():
        return client.get("/v1/plans", headers={"Authorization": f"Bearer {secret}"}).status_code

    assert get_status() == 200
    [listed] = json.loads(run("tokens", "list", "-o", "json"))["tokens"]
    assert listed["name"] == "ci"
    run("tokens", "delete", listed["id"])
    assert get_status() == 401
    assert secret not in run("tokens", "list")
    run("tokens", "create", "shop", "--kind", "service", "--scope", "read", code=1)
