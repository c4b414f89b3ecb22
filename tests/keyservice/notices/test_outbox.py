from datetime import UTC, datetime, timedelta

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.notices import outbox
from keygauge_keyservice.notices.worker import Worker


def test_each_notice_is_queued_once_for_channels_of_its_kind(connection, account, webhook, notify):
    webhook()
    webhook(kinds=["invoice"])
    assert [notify(), notify()] == [True, False]
    assert notify(name="quota:monthly::2027-01-01T00:80")
    assert len(outbox.list_deliveries(connection, account.id)) == 2


def test_delivery_is_retried_with_the_same_id_until_it_arrives(connection, receiver, sender, webhook, notify):
    webhook()
    notify()
    worker, now = Worker(webhooks=sender), datetime.now(UTC)
    receiver.answers += [500, 302]
    assert worker.deliver(connection, now=now) == 0
    assert worker.deliver(connection, now=now + timedelta(seconds=1)) == 0  # not due yet
    assert worker.deliver(connection, now=now + outbox.RETRIES[0]) == 0
    assert worker.deliver(connection, now=now + outbox.RETRIES[0] + outbox.RETRIES[1]) == 1
    assert len({headers["webhook-id"] for _, headers, _ in receiver.taken}) == 1
    assert [path for path, _, _ in receiver.taken] == ["/hook?x=1"] * 3  # no redirect is followed


def test_delivery_that_always_fails_is_given_up_with_its_error(connection, account, receiver, sender, webhook, notify):
    webhook()
    notify()
    worker, now = Worker(webhooks=sender), datetime.now(UTC)
    receiver.answers += [503] * 20
    for wait in (timedelta(0), *outbox.RETRIES, timedelta(days=30)):
        now += wait
        worker.deliver(connection, now=now)
    [delivery] = outbox.list_deliveries(connection, account.id)
    assert (delivery.next_at, delivery.delivered_at, delivery.attempts) == (None, None, len(outbox.RETRIES) + 1)
    assert delivery.error == "receiver.test answered 503"


def test_claim_of_a_dead_process_is_taken_over(connection, receiver, sender, webhook, notify):
    webhook()
    notify()
    now = datetime.now(UTC)
    assert len(outbox.claim(connection, now=now)) == 1  # by a process that dies
    worker = Worker(webhooks=sender)
    assert worker.deliver(connection, now=now + timedelta(seconds=30)) == 0
    assert worker.deliver(connection, now=now + timedelta(minutes=3)) == 1
    assert len(receiver.taken) == 1


def test_account_with_many_notices_does_not_delay_others(connection, webhook, notify):
    other = accounts.create(connection, name="Other", plan_id="pro", actor="test")
    webhook()
    for number in range(50):
        assert notify(name=str(number))
    webhook(other)
    assert notify(other)
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert other.id in {claimed.message.account_id for claimed in outbox.claim(connection, now=now)}
    assert {len(outbox.claim(connection, now=now)) for _ in range(6)} == {10, 1, 0}


def test_test_notification_goes_to_one_channel(connection, account, receiver, sender, webhook):
    one, _ = webhook(), webhook()
    outbox.add_test(connection, account_id=account.id, channel_id=one.id)
    assert Worker(webhooks=sender).deliver(connection, now=datetime.now(UTC)) == 1
    assert b"Test notification" in receiver.taken[0][2]
