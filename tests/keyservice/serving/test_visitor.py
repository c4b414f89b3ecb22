from keygauge_keyservice.serving.visitor import address, visitor


def scope(*headers, client=("192.0.2.1", 4711)):
    return {"headers": [(name.encode(), value.encode()) for name, value in headers], "client": client}


def test_a_session_or_token_is_one_visitor_from_any_address():
    for header in (("cookie", "a=1; keygauge_session=x; b=2"), ("authorization", "Bearer x")):
        here, there = scope(header), scope(header, client=("192.0.2.2", 1))
        assert visitor(here, 0) == visitor(there, 0)
        assert visitor(here, 0) != visitor(scope((header[0], header[1].replace("x", "y"))), 0)
    assert visitor(scope(("cookie", "keygauge_session=x")), 0) == visitor(
        scope(("cookie", "b=3"), ("cookie", " keygauge_session=x;c=4")), 0
    )


def test_other_visitors_are_distinguished_by_address():
    assert visitor(scope(), 0) == visitor(scope(("cookie", "other=1"), client=("192.0.2.1", 1)), 0)
    assert visitor(scope(), 0) != visitor(scope(client=("192.0.2.2", 4711)), 0)
    assert visitor(scope(client=None), 0) == visitor(scope(client=("unix:", 0)), 0)


def test_only_the_configured_number_of_proxies_is_trusted():
    told = scope(("x-forwarded-for", "203.0.113.9, 198.51.100.7"), ("x-forwarded-for", " 198.51.100.8 "))
    assert [address(told, proxies) for proxies in range(5)] == [
        *("192.0.2.1", "198.51.100.8", "198.51.100.7", "203.0.113.9", "192.0.2.1")
    ]


def test_an_ipv6_network_and_all_invalid_addresses_count_as_one_address():
    assert address(scope(client=("2001:db8::1", 1)), 0) == address(scope(client=("2001:db8::2", 1)), 0)
    assert address(scope(("x-forwarded-for", "nonsense")), 1) == ""
