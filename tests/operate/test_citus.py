"""A ledger distributed by Citus, if KEYGAUGE_TEST_CITUS_URL names an empty database with Citus."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from polling import until

from keygauge_keyservice import citus, database
from keygauge_keyservice.billing import billing
from keygauge_keyservice.ledger.replicas import reconcile
from keygauge_keyservice.usage import usage

URL = os.environ.get("KEYGAUGE_TEST_CITUS_URL")


@pytest.mark.skipif(not URL, reason="KEYGAUGE_TEST_CITUS_URL names no database: Citus is in no registry of CI's")
def test_calls_usage_invoices_and_reconciliation_work_on_a_distributed_ledger(install):
    installation = install(URL)
    with database.connect(URL) as connection:
        citus.distribute(connection, shards=4)
        assert citus.distribute(connection, shards=4) == []
    account = installation.account()
    _, token = installation.key(account)
    for _ in range(20):
        assert installation.call(token) == 200
    until(lambda: installation.events() >= 20)
    now = datetime.now(UTC)
    with installation.connect() as connection:
        range_ = {"start": now - timedelta(days=2), "end": now + timedelta(hours=1)}
        for account_id in (account, None):
            assert usage.totals(connection, account_id=account_id, **range_).requests >= 20
            assert usage.series(connection, bucket="hour", account_id=account_id, group_by="route", **range_)
            assert usage.breakdown(connection, account_id=account_id, by=("route", "model"), **range_)
        assert billing.close_periods(connection, now=now + timedelta(days=40))
        hour = now.replace(minute=0, second=0, microsecond=0)
        assert reconcile.find_drift(connection, hour - timedelta(hours=1), hour + timedelta(hours=1)) == []
