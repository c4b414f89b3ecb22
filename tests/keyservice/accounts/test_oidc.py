from keygauge_keyservice.accounts.oidc import Attempt, OidcError, Provider


def test_reprs_do_not_show_secrets():
    provider = Provider("https://id.example", "keygauge", "a client's secret")
    attempt = Attempt("a state", "a nonce", "a verifier")
    assert "secret" not in repr(provider)
    assert not any(secret in repr(attempt) for secret in ("a nonce", "a verifier"))


def test_errors_have_a_status_and_a_detail():
    error = OidcError(403, "No member has this address.")
    assert (error.status, error.detail, str(error)) == (403, error.detail, "No member has this address.")
