PAGES = ("/", "/keys", "/usage", "/usage.csv", "/calls")


def test_https_responses_have_strict_transport_security(client):
    headers = client.get("/sign-in", base_url="https://keys.example").headers
    assert headers["Strict-Transport-Security"] == "max-age=31536000"


def test_every_response_has_the_security_headers(visitor, signed_in):
    answers = [signed_in.get(page) for page in (*PAGES, "/keys/unknown/delete")]
    answers += [visitor.get("/sign-in"), visitor.get("/keys"), visitor.get("/assets/x/y")]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Strict-Transport-Security" not in answer.headers
