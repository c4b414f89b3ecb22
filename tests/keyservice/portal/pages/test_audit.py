import csv
import io
import re
from pathlib import Path

import pytest

import keygauge_keyservice
from keygauge_keyservice.journal import audit
from keygauge_keyservice.portal import audit_text


def test_page_csv_and_json_have_the_same_entries(signed_in, customer, stranger):
    signed_in.post(f"/keys/{customer.key.id}/status", {"status": "disabled"})
    page = signed_in.get("/audit").text
    assert customer.member.email in page
    assert stranger.account.id not in page
    entries = signed_in.get("/audit.json").json["entries"]
    rows = list(csv.DictReader(io.StringIO(signed_in.get("/audit.csv").text)))
    assert [row["action"] for row in rows] == [entry["action"] for entry in entries]
    assert [entry["action"] for entry in entries] == ["key.disable", "key.create", "member.create", "account.create"]
    assert rows[0]["before"] == rows[0]["after"] == ""
    assert ">JSON, latest 500<" in page


def test_entries_are_filtered_and_paginated(connection, signed_in, customer):
    for number in range(60):
        audit.append(
            connection, account_id=customer.account.id, actor="x", action="note.add", subject="s", after={"n": number}
        )
    first = signed_in.get("/audit?action=note").text
    assert first.count("Support note added<") == 50
    assert "Key created" not in first
    older = first.split('href="/audit?before=')[1].split('"')[0].replace("&amp;", "&")
    assert signed_in.get(f"/audit?before={older}").text.count("Support note added<") == 10
    assert "Key created" in signed_in.get(f"/audit?subject={customer.key.id}").text


def test_page_describes_changes_in_words_and_files_keep_the_codes(connection, signed_in, customer):
    def write(action, **after):
        audit.append(connection, account_id=customer.account.id, actor="x", action=action, subject="s", after=after)

    limit = {"name": "rpm", "unit": "request", "amount": 1200, "window_s": 60, "subject": "key", "model": "m"}
    write("key.replace_limits", limits=[limit, {"of": "another version"}])
    write("key.change", expires_at="2026-12-05T10:30:00+00:00", routes=[], networks=["10.0.0.0/8", "::1"], app=None)
    write("key.change", rotate_every_days=30)
    write("key.rotate", secret=2, grace_s=86400)
    write("key.rotate", secret=3, grace_s=0)
    write("price.set", valid_from="2026-12-01T00:00:00+00:00", tiers=[{"input": 10**9, "output": 2 * 10**9}])
    write("plan.set_price", monthly_nanousd=499 * 10**9)
    page = re.sub(r"<[^>]+>", "", signed_in.get("/audit").text)
    for words in (
        *("Key limits updated", "1,200 requests per minute, per key, model m only", "another version"),
        *("Expires: 5 Dec 2026, 10:30 UTC", "Endpoints: All", "Networks: 10.0.0.0/8, ::1", "Application: None"),
        *("Rotation reminder: every 30 days", "Old secret expires: after 1 day", "Old secret expires: immediately"),
        *("input $1.00, output $2.00", "Monthly price: $499.00"),
    ):
        assert words in page, words
    assert not re.search(r"\b(key|plan|price)\.[a-z_]+|_s\b|_nanousd|T10:30", page)
    assert "key.replace_limits" in signed_in.get("/audit.csv").text


def test_every_action_has_a_description():
    source = Path(keygauge_keyservice.__file__).parent
    written = {
        code for file in source.rglob("*.py") for code in re.findall(r'"((?:[a-z]+)\.[a-z_]+)"', file.read_text())
    }
    recorded = {code for code in written if code.split(".")[0] in {"account", "key", "member", "note", "plan", "price"}}
    assert len(recorded) > 20
    assert [code for code in sorted(recorded) if audit_text.action(code) == code] == []


def test_formulas_are_text_in_the_csv(connection, signed_in, customer):
    audit.append(connection, account_id=customer.account.id, actor="=1+1", action="note.add", subject="@x")
    assert "'=1+1,note.add,'@x" in signed_in.get("/audit.csv").text


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=" + "9" * 40, "action=" + "x" * 200])
def test_invalid_filter_is_rejected(signed_in, query):
    for path in ("/audit", "/audit.json"):
        assert signed_in.get(f"{path}?{query}").status_code == 422
