"""The format and checksum of keys."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge import key

ALPHABET = string.ascii_letters + string.digits


@given(st.sampled_from(["live", "test"]))
def test_generated_key_round_trips(environment):
    key_id = key.new_id()
    token = key.generate(environment, key_id)
    assert len(token) == key.LENGTH
    assert token.startswith(f"kg_{environment}_{key_id}_")
    assert key.parse(token) == key_id


@given(st.integers(0, key.LENGTH - 1), st.sampled_from(ALPHABET + "_-é"))
def test_every_single_character_substitution_is_rejected(place, character):
    token = key.generate("live")
    changed = token[:place] + character + token[place + 1 :]
    assert key.parse(changed) == (key.parse(token) if changed == token else None)


@given(st.text())
def test_any_text_is_parsed_without_error(text):
    assert key.parse(text) is None


def test_new_secret_keeps_the_id():
    key_id = key.new_id()
    first, second = key.generate("live", key_id), key.generate("live", key_id)
    assert first != second
    assert key.parse(first) == key.parse(second) == key_id


def test_digest_is_sha_256():
    assert key.digest("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_unknown_environment_error_names_the_allowed_values():
    with pytest.raises(ValueError, match="'live' or 'test'"):
        key.generate("prod")


def test_id_of_an_imported_key_depends_only_on_its_digest():
    made = {key.imported_id(key.digest(f"sk-{number}")) for number in range(200)}
    assert len(made) == 200
    assert all(len(key_id) == 12 and set(key_id) <= set(ALPHABET) for key_id in made)
    assert key.imported_id(bytes(32)) == key.imported_id(bytes(32))
