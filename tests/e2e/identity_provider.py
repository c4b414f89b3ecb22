"""An OpenID Connect provider over HTTP that signs real tokens, or any others that a test needs."""

import base64
import hashlib
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "keygauge", "secret-of-the-client"


class IdentityProvider:
    """A provider whose only user is `email`; `claims`, `header` and `userinfo` override its own, and `key` signs."""

    def __init__(self):
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._answer(provider.documents[urlsplit(self.path).path]())

            def do_POST(self):
                form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
                document = provider.redeem(form, self.headers.get("Authorization", ""))
                self._answer(document, 400 if "error" in document else 200)

            def _answer(self, document, status=200):
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.documents = {
            "/.well-known/openid-configuration": self._metadata,
            "/jwks": lambda: KeySet([self.published]).as_dict(private=False),
            "/userinfo": lambda: {"sub": "7", "email": self.email, "email_verified": True, **self.userinfo},
        }
        self.rotate("1")
        self.reset()
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def reset(self):
        """Restore the behaviour of an honest provider."""
        self.key, self.email = self.published, ""
        self.claims, self.header, self.userinfo, self.codes = {}, {}, {}, {}
        self.sign = lambda header, claims: jwt.encode(header, claims, self.key)

    def rotate(self, kid):
        """Sign with a new key, and publish only that."""
        self.key = self.published = RSAKey.generate_key(2048, {"kid": kid})

    def authorize(self, address):
        """Sign in the person who was redirected to `address`; return the query of the redirect back."""
        query = dict(parse_qsl(urlsplit(address).query))
        code = f"code{len(self.codes)}"
        self.codes[code] = query
        return urlencode({"code": code, "state": query["state"], "iss": self.issuer})

    def redeem(self, form, authorization):
        """Exchange a code for tokens, once, and only for the client that requested it."""
        query = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        expected = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        is_right = (
            query is not None
            and query["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            and query["redirect_uri"] == form.get("redirect_uri")
            and authorization == f"Basic {expected}"
        )
        if not is_right:
            return {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "sub": "7", "iat": now, "exp": now + 300}
        claims |= {"nonce": query["nonce"], "email": self.email, "email_verified": True} | self.claims
        header = {"alg": "RS256", "kid": self.key.kid} | self.header
        payload = {name: value for name, value in claims.items() if value is not None}
        return {"access_token": "a", "token_type": "Bearer", "id_token": self.sign(header, payload)}

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def _metadata(self):
        paths = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "userinfo_endpoint": "/userinfo"}
        own = {name: self.issuer + path for name, path in paths.items()}
        return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks", **own}
