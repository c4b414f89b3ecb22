"""A minimal HTTP browser with an IP address of its own."""

import http.client
import re
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlencode

PASSWORD = "correct horse battery"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str


@dataclass
class Browser:
    """A client that sends requests from its own address, and keeps cookies like a browser over https."""

    port: int
    address: str = "127.0.0.2"
    cookies: dict = field(default_factory=dict)

    def request(self, method, path, form=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60, source_address=(self.address, 0))
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        body = None
        if form is not None:
            body, sent["Content-Type"] = urlencode(form), "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, sent | (headers or {}))
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie") or ():
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return Answer(answer.status, answer.headers, text)

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, form, **options):
        return self.request("POST", path, form, **options)

    def sign_in(self, email, password=PASSWORD, **options):
        return self.post("/sign-in", {"email": email, "password": password}, **options)

    def csrf(self, page):
        return dict(re.findall(r'<input type="hidden" name="(csrf|form_id)" value="([^"]+)"', self.get(page).text))

    def invite(self, email, role="member", **options):
        page = self.post("/members", self.csrf("/members") | {"email": email, "role": role}, **options).text
        return re.search(r"https?://[^<\"]+/invitation/[^<\"]+", page)[0]
