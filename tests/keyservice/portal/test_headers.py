import pytest


@pytest.mark.parametrize("path", ["/sign-in", "/keys", "/"])
def test_every_answer_of_the_portal_keeps_to_itself(client, path):
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Strict-Transport-Security" not in headers


def test_pages_are_kept_in_no_cache(client):
    assert client.get("/sign-in").headers["Cache-Control"] == "no-store"


def test_where_pages_are_encrypted_browsers_are_told_to_stay_so(client):
    headers = client.get("/sign-in", base_url="https://keys.example").headers
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
