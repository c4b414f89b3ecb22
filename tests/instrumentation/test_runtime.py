import logging

import pytest

from keygauge.runtime import Runtime
from keygauge.settings import Settings

TOKEN = "test-service-token-0123456789"


@pytest.mark.parametrize(
    ("given", "told", "address"),
    [
        (
            {"service_url": "http://localhost:9", "service_token": TOKEN},
            "mode enforce, service shop, keys and limits from http://127.0.0.1:9",
            "http://127.0.0.1:9",
        ),
        ({"mode": "observe"}, "mode observe, service shop, keys and limits from nowhere", ""),
    ],
)
def test_the_start_is_one_line_without_a_token(caplog, tmp_path, given, told, address):
    with caplog.at_level(logging.INFO, "keygauge.runtime"):
        Runtime(Settings(spool_dir=tmp_path, service_name="shop", **given)).stop()
    (record,) = [record for record in caplog.records if record.levelno == logging.INFO]
    assert told in record.getMessage()
    assert record.__dict__["keygauge.key_service"] == address
    assert TOKEN not in str(record.__dict__)
