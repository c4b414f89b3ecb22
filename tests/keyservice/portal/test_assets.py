import re

import pytest


@pytest.fixture
def addresses(visitor):
    return re.findall(r'(?:href|src)="(/assets/[^"]+)"', visitor.get("/sign-in").text)


def test_page_links_to_files_that_can_be_cached_for_a_year(visitor, addresses):
    assert addresses
    for address in addresses:
        answer = visitor.get(address)
        assert answer.status_code == 200
        assert answer.data
        assert "immutable" in answer.headers["Cache-Control"]


def test_file_of_another_version_is_not_cached(visitor, addresses):
    *_, name = addresses[0].split("/")
    current, other = visitor.get(addresses[0]), visitor.get(f"/assets/000000000000/{name}")
    assert other.data == current.data
    assert other.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["none.css", "..%2Fassets.py", "../assets.py", "assets.py", "%00"])
def test_other_files_are_not_found(visitor, name):
    assert visitor.get(f"/assets/1/{name}").status_code == 404
