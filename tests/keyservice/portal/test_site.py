import re


def test_no_page_may_be_cached_or_framed(app, signed_in, customer):
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("portal.") and rule.endpoint != "portal.assets.read" and "GET" in rule.methods:
            path = re.sub(r"<any\((\w+)[^>]*>", r"\1", rule.rule)
            path = re.sub(r"<(?:\w+:)?key_id>", customer.key.id, re.sub(r"<(?![^>]*key_id)[^>]+>", "1", path))
            answer = signed_in.get(path)
            assert answer.headers.get("X-Frame-Options") == "DENY", rule
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"], rule
            assert answer.headers["Cache-Control"] in {"no-store", "no-cache, private"}, rule
