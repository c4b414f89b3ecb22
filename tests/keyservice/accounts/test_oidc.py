from keygauge_keyservice.accounts.oidc import Attempt, OidcError, Provider


def test_no_repr_shows_a_secret():
    provider = Provider("https://id.example", "keygauge", "a client's secret")
    attempt = Attempt("a state", "a nonce", "a verifier")
    assert "secret" not in repr(provider)
    assert not any(secret in repr(attempt) for secret in ("a nonce", "a verifier"))


def test_an_error_has_a_status_and_says_why():
    error = OidcError(403, "No member has this address.")
    assert (error.status, error.detail, str(error)) == (403, error.detail, "No member has this address.")
