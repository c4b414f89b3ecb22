import json
from datetime import UTC, datetime, timedelta

from keygauge_keyservice import jobs
from keygauge_keyservice.accounts import plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.notices import channels, outbox
from keygauge_keyservice.notices.mail import MailServer
from keygauge_keyservice.notices.worker import Worker

OWNER = "owner@acme.example"


def test_mail_goes_to_a_member_with_a_stable_message_id(connection, account, mailbox, notify):
    channels.create(connection, account_id=account.id, form="email", target=OWNER, kinds=["quota"], actor=OWNER)
    notify()
    mail = MailServer.parse(f"smtp://127.0.0.1:{mailbox.server_address[1]}", "KeyGauge <notices@example.com>")
    assert Worker(mail).deliver(connection, now=datetime.now(UTC)) == 1
    [taken] = mailbox.taken
    assert (taken["To"], taken["Subject"]) == (OWNER, "80% used")
    [delivery] = outbox.list_deliveries(connection, account.id)
    assert taken["Message-ID"] == f"<{delivery.id}@example.com>"


def test_delivery_without_a_mail_server_has_an_error(connection, account, notify):
    channels.create(connection, account_id=account.id, form="email", target=OWNER, kinds=["quota"], actor=OWNER)
    notify()
    Worker().deliver(connection, now=datetime.now(UTC))
    assert outbox.list_deliveries(connection, account.id)[0].error == "no mail server is configured"


def test_unexpected_failure_of_one_delivery_does_not_stop_others(connection, account, mailbox, notify):
    channels.create(connection, account_id=account.id, form="email", target=OWNER, kinds=["quota"], actor=OWNER)
    connection.execute("UPDATE notice_channel SET target = 'a@['")  # not valid in a mail header
    channels.create(connection, account_id=account.id, form="email", target=OWNER, kinds=["quota"], actor=OWNER)
    notify()
    mail = MailServer.parse(f"smtp://127.0.0.1:{mailbox.server_address[1]}", "KeyGauge <notices@example.com>")
    assert Worker(mail).deliver(connection, now=datetime.now(UTC)) == 1
    assert [taken["To"] for taken in mailbox.taken] == [OWNER]
    states = {one.target: (one.status, one.error) for one in outbox.list_deliveries(connection, account.id)}
    assert states == {OWNER: ("delivered", None), "a@[": ("retrying", "it could not be sent")}


def test_worker_finds_expiring_and_unused_keys_and_nearly_used_quotas(connection, account, settings, webhook):
    webhook()
    given, now = {"peppers": settings.peppers, "account_id": account.id, "actor": "test"}, datetime.now(UTC)
    expiring, _ = keys.create(connection, name="expiring", expires_at=now + timedelta(days=3), **given)
    keys.create(connection, name="expired", expires_at=now, **given)
    unused, _ = keys.create(connection, name="unused", **given)
    connection.execute("UPDATE key SET created_at = now() - interval '100 days' WHERE id = %s", (unused.id,))
    limit = plans.Limit(name="daily", subject="key", unit="request", amount=10, period="day")
    plans.replace_limits(connection, "pro", [limit], actor="test")
    connection.execute(
        "INSERT INTO limit_state (id, account_id, head, cells, ends) SELECT id || ':' || %s, %s, "
        "extract(epoch FROM date_trunc('day', %s, 'UTC')), '{9}', ARRAY[2::bigint ^ 60]::bigint[] FROM plan_limit",
        (expiring.id, account.id, now),
    )
    assert Worker().find(connection, now=now) == 4
    queued = connection.execute("SELECT name, subject FROM notice ORDER BY name").fetchall()
    assert [row["name"].split(":")[0] for row in queued] == ["expiring", "quota", "quota", "unused"]
    assert all("“expiring”" in row["subject"] or "“unused”" in row["subject"] for row in queued)


def test_worker_reports_each_change_once(connection, account, settings, receiver, sender, webhook):
    webhook()
    given = {"peppers": settings.peppers, "account_id": account.id, "actor": "test"}
    key, _ = keys.create(connection, name="prod", **given)
    keys.set_status(connection, key.id, "disabled", actor=OWNER)
    worker, now = Worker(webhooks=sender), datetime.now(UTC)
    assert [worker.find(connection, now=now), worker.find(connection, now=now)] == [1, 0]
    assert worker.deliver(connection, now=datetime.now(UTC)) == 1
    assert "“prod” was disabled" in json.loads(receiver.taken[0][2])["data"]["subject"]


def test_one_job_delivers_everything_due(connection, account, receiver, sender, webhook, notify):
    webhook()
    for number in range(25):
        notify(name=str(number))
    _, deliver = jobs.notice_jobs(Worker(webhooks=sender))
    deliver.do(connection)
    assert len(receiver.taken) == 25
