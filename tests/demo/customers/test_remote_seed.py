from datetime import UTC, datetime
from threading import Thread

import pytest
from ports import free_port
from werkzeug.serving import make_server

from keygauge_demo.customers import profiles, remote_seed
from keygauge_demo.customers.remote_seed import Operator
from keygauge_demo.settings import DemoError
from keygauge_keyservice.accounts import accounts, memberships, passwords
from keygauge_keyservice.keys import keys

NOW = datetime.now(UTC)


@pytest.fixture
def url(app):
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def load(url, settings, tmp_path):
    def load(connection=None):
        operator = Operator(url, settings.admin_token)
        return remote_seed.load_or_create(operator, connection, file=tmp_path / "new" / "seed.json", now=NOW)

    return load


def test_customers_are_created_once_through_the_api(load, connection):
    planted = load()
    assert {one.name for one in accounts.list_accounts(connection)} == {one.name for one in profiles.ACCOUNTS}
    statuses = {key.name: keys.require(connection, planted.key_ids[key.name]).status for key in keys_of_all()}
    assert statuses == {key.name: "active" if key.is_enabled else "disabled" for key in keys_of_all()}
    assert load() == planted
    keys.delete(connection, next(iter(planted.key_ids.values())), actor="test")
    assert load().key_ids != planted.key_ids


def test_with_the_database_members_can_sign_in(load, connection):
    planted = load(connection)
    for account in profiles.ACCOUNTS:
        _, password_hash = memberships.find_credentials(connection, account.email)
        assert passwords.verify(password_hash, planted.password)


def test_refusing_or_unreachable_key_service_is_reported(url, tmp_path):
    for operator, message in (
        (Operator(url, "wrong-token-0123456789"), "refused POST /v1/plans: 401"),
        (Operator(f"http://127.0.0.1:{free_port()}", "token"), "does not answer"),
    ):
        with pytest.raises(DemoError, match=message):
            remote_seed.load_or_create(operator, None, file=tmp_path / "seed.json", now=NOW)
    assert list(tmp_path.iterdir()) == []


def keys_of_all():
    return [key for account in profiles.ACCOUNTS for key in account.keys]
