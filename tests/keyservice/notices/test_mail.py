import pytest

from keygauge_keyservice.notices.mail import MailServer


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example", ("smtp", "mail.example", 25, None, None)),
        ("smtp://mail.example:2525", ("smtp", "mail.example", 2525, None, None)),
        ("smtps://u:p@mail.example", ("smtps", "mail.example", 465, "u", "p")),
        ("smtp+starttls://a%40b:p%3A%2F@mail.example", ("smtp+starttls", "mail.example", 587, "a@b", "p:/")),
    ],
)
def test_mail_server_is_parsed_from_its_url(url, expected):
    server = MailServer.parse(url, "keys@service.example")
    assert (server.scheme, server.host, server.port, server.user, server.password) == expected
    assert expected[4] is None or repr(expected[4]) not in repr(server)


@pytest.mark.parametrize(
    ("url", "sender"),
    [
        ("http://mail.example", "a@b.example"),
        ("smtp://", "a@b.example"),
        ("mail.example:25", "a@b.example"),
        ("smtp://mail.example:99999", "a@b.example"),
        ("smtp://mail.example", "nobody"),
    ],
)
def test_invalid_mail_server_or_sender_is_rejected(url, sender):
    with pytest.raises(ValueError):  # noqa: PT011 - urllib raises its own messages
        MailServer.parse(url, sender)
