import csv
import io

import pytest

from keygauge_keyservice import audit


def test_page_csv_and_json_show_the_same(signed_in, customer, stranger):
    signed_in.post(f"/keys/{customer.key.id}/status", {"status": "disabled"})
    page = signed_in.get("/audit").text
    assert customer.member.email in page
    assert stranger.account.id not in page
    entries = signed_in.get("/audit.json").json["entries"]
    rows = list(csv.DictReader(io.StringIO(signed_in.get("/audit.csv").text)))
    assert [row["action"] for row in rows] == [entry["action"] for entry in entries]
    assert [entry["action"] for entry in entries] == ["key.disable", "key.create", "member.create", "account.create"]


def test_entries_are_chosen_and_come_in_pages(connection, signed_in, customer):
    for number in range(60):
        audit.append(
            connection, account_id=customer.account.id, actor="x", action="note.add", subject="s", after={"n": number}
        )
    first = signed_in.get("/audit?action=note").text
    assert first.count("note.add") == 50
    assert "key.create" not in first
    older = first.split('href="/audit?before=')[1].split('"')[0].replace("&amp;", "&")
    assert signed_in.get(f"/audit?before={older}").text.count("note.add") == 10
    assert "key.create" in signed_in.get(f"/audit?subject={customer.key.id}").text


def test_formula_is_only_text_in_the_csv(connection, signed_in, customer):
    audit.append(connection, account_id=customer.account.id, actor="=1+1", action="note.add", subject="@x")
    assert "'=1+1,note.add,'@x" in signed_in.get("/audit.csv").text


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=" + "9" * 40, "action=" + "x" * 200])
def test_wrong_filter_is_refused(signed_in, query):
    for path in ("/audit", "/audit.json"):
        assert signed_in.get(f"{path}?{query}").status_code == 422


def test_api_lists_entries(client, operator, customer):
    answer = client.get(f"/v1/audit?account={customer.account.id}&action=key&limit=1", headers=operator)
    (entry,) = answer.json["entries"]
    assert (entry["action"], entry["subject"], entry["account"]) == (
        "key.create",
        customer.key.id,
        customer.account.id,
    )
    older = client.get(f"/v1/audit?after={answer.json['next']}&limit=500", headers=operator).json
    assert older["next"] is None
    for query in ("limit=0", "limit=x", "after=x", "account=none", "colour=red"):
        assert client.get(f"/v1/audit?{query}", headers=operator).status_code in {404, 422}
    assert client.get("/v1/audit").status_code == 401
