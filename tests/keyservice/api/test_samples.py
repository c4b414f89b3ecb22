"""The examples of the OpenAPI document, run as they stand there."""

import os
import shutil
import subprocess
import threading

import pytest
from werkzeug.serving import make_server

from keygauge_keyservice.accounts import accounts, members, plans
from keygauge_keyservice.api import samples
from keygauge_keyservice.app import API
from keygauge_keyservice.openapi import document

TABLES = {"ACCOUNT": "account", "KEY": "key", "TOKEN": "token", "INVITATION": "invitation", "MEMBER": "member"} | {
    "NOTIFICATION": "notice_channel"
}
FIRST = ("createPlan", "createAccount", "createKey", "createToken")  # what the others are about
LAST = ("deleteKey", "removeMember", "withdrawInvitation", "deleteNotification", "deletePlan", "deleteAccount")
TABLES["NOTIFICATION"] = "notice_channel"
COMMANDS = {"Shell": ("bash", "-c"), "Python": (), "JavaScript": ("node", "--input-type=module", "-e")}
PROGRAMS = {"Shell": ("bash", "curl"), "Python": (), "JavaScript": ("node",)}


def operations():
    """Operators' operations in an order in which they work: what is there is made first and deleted last."""
    found = {one["operationId"]: one for item in document(API)["paths"].values() for one in item.values()}
    of_operators = [name for name, one in found.items() if {"operator": []} in one["security"]]
    of_operators.sort(key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name in LAST))
    return [found[name] for name in of_operators]


def add_people(connection):
    (account,) = accounts.list_accounts(connection)
    for role in ("owner", "member"):
        password = "correct horse battery"
        members.create(
            connection, account_id=account.id, email=f"{role}@example.com", password=password, role=role, actor="test"
        )


@pytest.fixture
def environment(app, settings, monkeypatch):
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("KEYGAUGE", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("KEYGAUGE_ADMIN_TOKEN", settings.admin_token)
    monkeypatch.setenv("PLAN", "pro")
    yield monkeypatch
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lang", COMMANDS)
def test_every_sample_runs(environment, connection, lang):
    if missing := [program for program in PROGRAMS[lang] if not shutil.which(program)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert len(operations()) > 25
    plans.create(connection, plan_id="spare", name="Spare", limits=[], actor="test")
    for operation in operations():
        if operation["operationId"] == "deletePlan":
            environment.setenv("PLAN", "spare")  # the other is in use
        if operation["operationId"] == "deleteAccount":
            spare = accounts.create(connection, name="Spare", plan_id="pro", actor="test")
            environment.setenv("ACCOUNT", spare.id)
        (source,) = [one["source"] for one in operation["x-codeSamples"] if one["lang"] == lang]
        if lang == "Python":
            exec(compile(source, operation["operationId"], "exec"), {})
        else:
            ran = subprocess.run([*COMMANDS[lang], source], capture_output=True, text=True, env=os.environ, check=False)
            assert ran.returncode == 0, (source, ran.stdout, ran.stderr)
        if operation["operationId"] == "createAccount":
            add_people(connection)
        for variable, table in TABLES.items():
            if row := connection.execute(f"SELECT id FROM {table} ORDER BY id DESC").fetchone():
                environment.setenv(variable, str(row["id"]))


def test_samples_are_of_operations_that_exist():
    names = {operation["operationId"] for operation in operations()}
    assert {*samples.BODIES, *samples.QUERIES, *samples.ONCE} <= names
    assert all(len(operation["x-codeSamples"]) == 3 for operation in operations())
