"""A real OpenID Connect provider, built with Authlib's server, for sign-in tests."""

import logging
import threading
from contextlib import contextmanager
from types import SimpleNamespace

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, jsonify, request
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import make_server

CLIENT_SECRET = "secret-of-the-client"
CALLBACK = "http://localhost/sign-in/sso/done"


class Client(ClientMixin):
    client_id = "keygauge"

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return CALLBACK

    def get_allowed_scope(self, scope):
        return scope

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri == CALLBACK

    def check_client_secret(self, client_secret):
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type == "authorization_code"


class Code(SimpleNamespace, AuthorizationCodeMixin):
    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope

    def get_nonce(self):
        return self.nonce

    def get_auth_time(self):
        return None

    get_acr = get_amr = get_auth_time


class Idp:
    """A provider at which every user is `email`; `claims` override those of the id token."""

    def __init__(self):
        self.email, self.is_verified, self.email_in_id_token = "", True, True
        self.claims, self.codes, self.requests = {}, {}, []
        self.key = self.published_key = RSAKey.generate_key(2048, {"kid": "1"})
        self.issuer = ""
        self.app = Flask("idp")
        self._make_server()
        self.app.add_url_rule("/.well-known/openid-configuration", view_func=self.metadata)
        self.app.add_url_rule("/jwks", view_func=self.jwks)
        self.app.add_url_rule("/userinfo", view_func=self.userinfo)

    def metadata(self):
        paths = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "userinfo_endpoint": "/userinfo"}
        return jsonify(
            {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}
            | {name: self.issuer + path for name, path in paths.items()}
        )

    def jwks(self):
        return jsonify(KeySet([self.published_key]).as_dict(private=False))

    def userinfo(self):
        assert request.headers["Authorization"].startswith("Bearer ")
        return jsonify({"sub": "7", "email": self.email, "email_verified": self.is_verified})

    def user_claims(self):
        email = {"email": self.email, "email_verified": self.is_verified} if self.email_in_id_token else {}
        return {"sub": "7", **email, **self.claims}

    def _make_server(self):
        server = AuthorizationServer(
            self.app, lambda client_id: Client() if client_id == "keygauge" else None, lambda token, request: None
        )
        server.register_grant(make_grant(self), [make_open_id(self), CodeChallenge(required=True)])

        @self.app.get("/authorize")
        def authorize():
            self.requests.append(dict(request.args))
            grant = server.get_consent_grant()
            return server.create_authorization_response(grant_user=SimpleNamespace(id="7"), grant=grant)

        self.app.add_url_rule("/token", view_func=server.create_token_response, methods=["POST"])


def make_grant(idp):
    class Grant(AuthorizationCodeGrant):
        def save_authorization_code(self, code, request):
            payload = request.payload
            kept = {name: payload.data.get(name) for name in ("nonce", "code_challenge", "code_challenge_method")}
            idp.codes[code] = Code(code=code, redirect_uri=payload.redirect_uri, scope=payload.scope, **kept)

        def query_authorization_code(self, code, client):
            return idp.codes.get(code)

        def delete_authorization_code(self, authorization_code):
            del idp.codes[authorization_code.code]

        def authenticate_user(self, authorization_code):
            return SimpleNamespace(id="7")

    return Grant


def make_open_id(idp):
    class OpenId(OpenIDCode):
        def resolve_client_private_key(self, client):
            return idp.key

        def get_client_algorithm(self, client):
            return "RS256"

        def get_client_claims(self, client):
            return {"iss": idp.issuer}

        def exists_nonce(self, nonce, request):
            return any(code.nonce == nonce for code in idp.codes.values())

        def generate_user_info(self, user, scope):
            return idp.user_claims()

    return OpenId(require_nonce=True)


@contextmanager
def serving():
    """Serve a provider on loopback; AUTHLIB_INSECURE_TRANSPORT must be set to allow that."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    idp = Idp()
    server = make_server("127.0.0.1", 0, idp.app, threaded=True)
    idp.issuer = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield idp
    server.shutdown()
    thread.join()
    server.server_close()
