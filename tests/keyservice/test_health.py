from keygauge_keyservice.app import create_app
from keygauge_keyservice.config import Settings
from keygauge_keyservice.secret import Peppers


def test_ready_service_reports_ok(client):
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").json == {"status": "ok"}


def test_service_is_not_ready_before_migrations(empty_database_url):
    settings = Settings(
        database_url=empty_database_url,
        service_token="s" * 20,
        admin_token="a" * 20,
        peppers=Peppers.parse("1:" + "55" * 32),
    )
    app = create_app(settings)
    answer = app.test_client().get("/readyz")
    app.extensions["keygauge"].close()
    assert answer.status_code == 503
    assert answer.json["code"] == "migrations_pending"
