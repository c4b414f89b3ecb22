"""The code samples of the OpenAPI document, run unchanged."""

import json
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager

import pytest
from werkzeug.serving import make_server

from keygauge_keyservice.accounts import accounts, members, plans
from keygauge_keyservice.api.document import samples
from keygauge_keyservice.app import API
from keygauge_keyservice.billing import billing
from keygauge_keyservice.openapi import document

TABLES = {"ACCOUNT": "account", "KEY": "key", "TOKEN": "token", "INVITATION": "invitation", "MEMBER": "member"} | {
    "NOTIFICATION": "notice_channel"
}
FIRST = ("createPlan", "createAccount", "createKey", "createToken")  # the others need what these create
LAST = ("deleteKey", "removeMember", "withdrawInvitation", "deleteNotification", "deletePlan", "deleteAccount")
TABLES["NOTIFICATION"] = "notice_channel"
SET = ("KEYGAUGE", "KEYGAUGE_ADMIN_TOKEN", "PLAN", "PERIOD")
PROGRAMS = {"Shell": ("bash", "curl"), "Python": (), "JavaScript": ("node",)}
# One process runs all samples, each as its own module: starting Node.js takes longer than running a sample.
NODE = """
import {createInterface} from "node:readline";

let count = 0;
for await (const line of createInterface({input: process.stdin})) {
  const {environ, source} = JSON.parse(line);
  Object.assign(process.env, environ);
  await import(`data:text/javascript,${encodeURIComponent(source)}#${count++}`);
  console.log("ran");
}
"""


def operations():
    """Return the operators' operations in an order that works: what others need is created first and deleted last."""
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


def in_shell(source):
    ran = subprocess.run(["bash", "-c", source], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, (source, ran.stdout, ran.stderr)


def in_python(source):
    exec(compile(source, "sample", "exec"), {})


@contextmanager
def in_node(directory):
    with (directory / "errors").open("w+") as errors:
        command = ["node", "--input-type=module", "-e", NODE]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True) as process:

            def run(source):
                environ = {name: os.environ[name] for name in (*SET, *TABLES) if name in os.environ}
                process.stdin.write(json.dumps({"environ": environ, "source": source}) + "\n")
                process.stdin.flush()
                assert "ran\n" in iter(process.stdout.readline, ""), (source, (directory / "errors").read_text())

            yield run


@pytest.fixture
def run(lang, tmp_path):
    """Run a sample in its language; a failure shows the sample and its output."""
    if missing := [program for program in PROGRAMS[lang] if not shutil.which(program)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if lang == "JavaScript":
        with in_node(tmp_path) as run_in_node:
            yield run_in_node
    else:
        yield {"Shell": in_shell, "Python": in_python}[lang]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lang", PROGRAMS)
def test_every_sample_runs(run, environment, connection, lang):
    assert len(operations()) > 25
    plans.create(connection, plan_id="spare", name="Spare", limits=[], actor="test")
    for operation in operations():
        if operation["operationId"] == "deletePlan":
            environment.setenv("PLAN", "spare")  # the other is in use
        if operation["operationId"] == "deleteAccount":
            spare = accounts.create(connection, name="Spare", plan_id="pro", actor="test")
            environment.setenv("ACCOUNT", spare.id)
        if operation["operationId"] == "setInvoicePaid":
            connection.execute("UPDATE account SET created_at = now() - interval '100 days'")
            environment.setenv("PERIOD", str(billing.close_periods(connection)[0].period))
        (source,) = [one["source"] for one in operation["x-codeSamples"] if one["lang"] == lang]
        run(source)
        if operation["operationId"] == "createAccount":
            add_people(connection)
        for variable, table in TABLES.items():
            if row := connection.execute(f"SELECT id FROM {table} ORDER BY id DESC").fetchone():
                environment.setenv(variable, str(row["id"]))


def test_samples_belong_to_existing_operations():
    names = {operation["operationId"] for operation in operations()}
    assert {*samples.BODIES, *samples.QUERIES, *samples.ONCE} <= names
    assert all(len(operation["x-codeSamples"]) == 3 for operation in operations())
