def test_api_lists_entries(client, operator, account, key):
    answer = client.get(f"/v1/audit?account={account['id']}&action=key&limit=1", headers=operator)
    (entry,) = answer.json["entries"]
    assert (entry["action"], entry["subject"], entry["account"]) == ("key.create", key["id"], account["id"])
    older = client.get(f"/v1/audit?after={answer.json['next']}&limit=500", headers=operator).json
    assert older["next"] is None
    for query in ("limit=0", "limit=x", "after=x", "account=none", "colour=red"):
        assert client.get(f"/v1/audit?{query}", headers=operator).status_code in {404, 422}
    assert client.get("/v1/audit").status_code == 401


def test_every_change_is_in_the_audit_log(call, key, connection):
    call("PATCH", f"/v1/keys/{key['id']}", {"status": "disabled", "name": "b"})
    call("DELETE", f"/v1/keys/{key['id']}", status=204)
    rows = connection.execute("SELECT action, actor, subject FROM audit ORDER BY id").fetchall()
    assert [row["action"] for row in rows] == [
        "plan.create",
        "account.create",
        "key.create",
        "key.rename",
        "key.disable",
        "key.delete",
    ]
    assert {row["actor"] for row in rows} == {"operator"}
