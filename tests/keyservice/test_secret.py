import hashlib
import hmac

import pytest

from keygauge_keyservice.secret import PepperError, Peppers, generate_pepper

DIGEST = hashlib.sha256(b"token").digest()


def test_hash_is_an_hmac_with_the_pepper_of_its_version():
    peppers = Peppers({1: b"a" * 32, 2: b"b" * 32})
    assert peppers.hash(DIGEST, 1) == hmac.new(b"a" * 32, DIGEST, hashlib.sha256).digest()
    assert peppers.hash(DIGEST, 1) != peppers.hash(DIGEST, 2)
    assert peppers.matches(DIGEST, version=1, expected=peppers.hash(DIGEST, 1))
    assert not peppers.matches(DIGEST, version=2, expected=peppers.hash(DIGEST, 1))


def test_error_names_a_missing_pepper():
    with pytest.raises(PepperError, match="pepper 2 is missing"):
        Peppers({1: b"a" * 32}).hash(DIGEST, 2)


def test_generated_peppers_differ_and_can_be_parsed():
    assert generate_pepper() != generate_pepper()
    assert Peppers.parse(generate_pepper()).newest == 1
