"""compose.yaml: it conforms to the Compose specification, and starts a complete and secure stack."""

import importlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import uuid
from contextlib import suppress
from datetime import date
from importlib import metadata, resources
from pathlib import Path, PurePosixPath

import psycopg
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from psycopg import sql

from keygauge_dashboards.provisioning import DASHBOARDS_PATH
from keygauge_demo import remote
from keygauge_keyservice import database
from keygauge_keyservice.ledger import partition
from keygauge_keyservice.secret import Peppers


@pytest.fixture(scope="module")
def text(root):
    return (root / "compose.yaml").read_text()


@pytest.fixture(scope="module")
def compose(text):
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def services(compose):
    return compose["services"]


@pytest.fixture
def env(root):
    printed = subprocess.run([root / "collector/env.sh"], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in printed.splitlines())


def test_it_conforms_to_the_compose_specification(compose):
    import jsonschema  # noqa: PLC0415 - takes seconds to import in every worker

    schema = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    jsonschema.validate(compose, json.loads(schema.read_text()))


def test_every_service_is_defined(services):
    parts = {"postgres", "keyservice", "demo", "traffic", "collector", "prometheus", "alertmanager", "grafana"}
    assert parts <= set(services)


def test_mounted_files_exist_and_are_read_only(services, compose, root):
    for service in services.values():
        for volume in service.get("volumes", []):
            source, _, *mode = volume.split(":")
            if source.startswith("./"):
                assert (root / source).exists(), source
                assert mode == ["ro"]
            else:
                assert source in compose["volumes"]


def test_long_running_services_have_a_health_check(services):
    for name, service in services.items():
        assert ("healthcheck" in service) is (service["restart"] != "no"), name


def test_dependencies_exist_and_can_be_satisfied(services):
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            ends = services[name]["restart"] == "no"
            assert condition["condition"] == ("service_completed_successfully" if ends else "service_healthy")


def test_images_are_pinned_by_digest(services, root):
    files = [root / file for file in ("Dockerfile", "collector/Dockerfile")]
    images = [image for file in files for image in re.findall(r"^FROM (\S+:\S+)", file.read_text(), re.MULTILINE)]
    images += [service["image"] for service in services.values() if "build" not in service]
    assert len(images) > 6
    assert [
        image for image in images if not re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}", image)
    ] == []
    assert len({image.partition("@")[0] for image in images}) == len(set(images))  # one digest per image


def locked(root, name):
    """Return the versions that an image installs, by name; each line must have hashes."""
    text = (root / f"locked/{name}.txt").read_text().replace("\\\n", "")
    for line in text.splitlines():
        assert re.fullmatch(r"[\w.-]+==\S+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+", line), line[:80]
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["build", "keyservice", "demo"])
def test_images_install_the_tested_versions_by_hash(root, name):
    tested = dict(re.findall(r"^([\w.-]+)==(\S+)", (root / "constraints.txt").read_text(), re.MULTILINE))
    versions = locked(root, name)
    assert {(name, version) for name, version in versions.items() if tested.get(name, version) != version} == set()
    installs = re.findall(r"pip install (.*?)(?= &&|\n|$)", (root / "Dockerfile").read_text())
    assert f"--require-hashes -r locked/{name}.txt" in " ".join(installs)
    assert all("--require-hashes" in install or "--no-index --no-deps" in install for install in installs)


@pytest.mark.parametrize(
    ("name", "distributions"),
    [
        ("keyservice", ["keygauge[otlp,prometheus]", "keygauge-keyservice"]),
        (
            "demo",
            ["keygauge[otlp,prometheus]", "keygauge-keyservice[embedded]", "keygauge-dashboards", "keygauge-demo"],
        ),
    ],
)
def test_images_install_all_requirements_of_their_distributions(root, name, distributions):
    needed, waiting = set(), [Requirement(text) for text in distributions]
    while waiting:
        one = waiting.pop()
        for text in metadata.requires(one.name) or ():
            inner = Requirement(text)
            is_needed = any(
                inner.marker is None or inner.marker.evaluate({"extra": extra, "python_version": "3.13"})
                for extra in one.extras or {""}
            )
            if is_needed and (canonicalize_name(inner.name), *inner.extras) not in needed:
                needed.add((canonicalize_name(inner.name), *inner.extras))
                waiting.append(inner)
    own = {"keygauge", "keygauge-keyservice", "keygauge-dashboards", "keygauge-demo"}
    assert {one[0] for one in needed} - own <= set(locked(root, name))


def test_collector_image_has_the_version_that_tests_run(root):
    builder = yaml.safe_load((root / "collector/builder.yaml").read_text())
    assert f"collector-contrib:{builder['dist']['version']}@" in (root / "collector/Dockerfile").read_text()


def test_everything_listens_on_loopback_only(services):
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_there_are_no_default_secrets(text, env):
    references = re.findall(r"\$\{(\w+)([^}]*)\}", text)
    assert {name for name, _ in references} == set(env)
    assert all(rest.startswith(":?") and "make env" in rest for _, rest in references)


def test_new_secrets_are_long_and_different(env, root):
    assert len({value.removeprefix("1:") for value in env.values()}) == len(env)
    assert all(re.fullmatch(r"(1:)?[0-9a-f]{64}", value) for value in env.values())
    assert Peppers.parse(env["KEYGAUGE_PEPPER"])
    assert ".env" in (root / ".gitignore").read_text().split()


def test_grafana_finds_its_files(services, root):
    mounts = dict(volume.split(":")[1::-1] for volume in services["grafana"]["volumes"] if volume.startswith("./"))
    assert (root / mounts[DASHBOARDS_PATH] / "keygauge-overview.json").is_file()
    home = PurePosixPath(services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (root / mounts[str(home.parent)] / home.name).is_file()
    assert (root / mounts["/etc/grafana/provisioning"] / "datasources/keygauge.yaml").is_file()


def test_grafana_escapes_names_in_queries(services):
    """Without the feature toggle, a double quote in a selected name ends the string in PromQL."""
    assert services["grafana"]["environment"]["GF_FEATURE_TOGGLES_ENABLE"] == "prometheusSpecialCharsInLabelValues"


def test_anonymous_grafana_users_are_viewers(services):
    assert services["grafana"]["environment"]["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_addresses_refer_to_services(services, root):
    configuration = yaml.safe_load((root / "collector/prometheus.yaml").read_text())
    jobs = configuration["scrape_configs"] + configuration["alerting"]["alertmanagers"]
    targets = [target for job in jobs for config in job["static_configs"] for target in config["targets"]]
    sources = yaml.safe_load(
        (root / "dashboards/generated/grafana/provisioning/datasources/keygauge.yaml").read_text()
    )["datasources"]
    hosts = {re.sub(r"^\w+://", "", address).split(":")[0] for address in targets + [item["url"] for item in sources]}
    assert hosts - {"127.0.0.1"} <= set(services)


def test_copied_paths_exist(root):
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (root / "Dockerfile").read_text(), re.MULTILINE)
    ignored = (root / ".dockerignore").read_text().splitlines()
    for path in " ".join(copied).split():
        assert (root / path).exists()
        assert f"!{path}" in ignored


def test_images_run_as_an_unprivileged_user(root):
    stages = (root / "Dockerfile").read_text().split("\nFROM ")
    assert "USER 10001" in next(stage for stage in stages if stage.splitlines()[0].endswith(" AS run"))
    assert all(stage.startswith("run AS ") for stage in stages if "\nCMD" in stage)


def test_our_containers_write_only_to_their_volumes_and_tmp(services):
    ours = {name: service for name, service in services.items() if service.get("build", {}).get("target")}
    assert set(ours) == {"migrate", "keyservice", "demo", "traffic"}
    for service in ours.values():
        assert service["read_only"]
        assert service["tmpfs"] == ["/tmp"]
        assert service["cap_drop"] == ["ALL"]


def test_commands_exist(services, root):
    start = json.loads(re.search(r'^CMD (\["keygauge".*\])$', (root / "Dockerfile").read_text(), re.MULTILINE)[1])
    for command in (start, services["migrate"]["command"]):
        shown = subprocess.run(
            [sys.executable, "-m", "keygauge.cli", *command[1:], "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert all(word in shown for word in command if word.startswith("--"))


@pytest.mark.parametrize(
    ("service", "name"), [("prometheus", "prometheus"), ("alertmanager", "prometheus-alertmanager")]
)
def test_programs_accept_their_options(services, service, name, program):
    path = program(name)
    shown = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
    options = [option.split("=")[0] for option in services[service]["command"]]
    assert options
    assert all(option in shown.stdout + shown.stderr for option in options)


def test_traffic_runs_a_demo_program_with_its_settings(services, root, env):
    traffic = services["traffic"]
    scripts = tomllib.loads((root / "demo/pyproject.toml").read_text())["project"]["scripts"]
    module, function = scripts[traffic["command"][0]].split(":")
    assert callable(getattr(importlib.import_module(module), function))
    given = {
        name: re.sub(r"\$\{(\w+)[^}]*\}", lambda found: env[found[1]], text)
        for name, text in traffic["environment"].items()
    }
    settings = remote.Settings.from_environment(given)
    assert settings.service_url == services["demo"]["environment"]["KEYGAUGE_SERVICE_URL"]
    assert settings.seconds is None
    assert f"{settings.state / 'seed.json'}" in traffic["healthcheck"]["test"]


def test_demo_app_of_the_image_can_be_created(root):
    module, factory = re.search(r'"--factory", "([\w.]+):(\w+)"', (root / "Dockerfile").read_text()).groups()
    assert callable(getattr(importlib.import_module(module), factory))


def test_prometheus_has_the_token_that_the_key_service_requires(services, compose, root):
    jobs = yaml.safe_load((root / "collector/prometheus.yaml").read_text())["scrape_configs"]
    files = [job["authorization"]["credentials_file"] for job in jobs if "authorization" in job]
    assert files == [f"/run/secrets/{name}" for name in services["prometheus"]["secrets"]]
    variables = [compose["secrets"][name]["environment"] for name in services["prometheus"]["secrets"]]
    assert set(variables) <= set(services["keyservice"]["environment"])


@pytest.fixture
def grafana_address(postgresql, connection, database_url, run, root, monkeypatch):
    """The database address of Grafana's role, after its script has run."""
    monkeypatch.setenv("KEYGAUGE_GRAFANA_DATABASE_PASSWORD", "it's a test")
    script = f"--file={root / 'collector/grafana_role.sql'}"
    with psycopg.connect(postgresql.get_uri(), autocommit=True) as turns:
        turns.execute("SELECT pg_advisory_lock(1)")  # roles are per server, which other workers use too
        try:
            run("psql", database_url, "--no-psqlrc", "--set=ON_ERROR_STOP=1", script)
            yield psycopg.conninfo.make_conninfo(database_url, user="keygauge_grafana", password="it's a test")
        finally:
            for change in ("NOLOGIN PASSWORD NULL CONNECTION LIMIT -1", "RESET temp_file_limit"):
                connection.execute(sql.SQL("ALTER ROLE keygauge_grafana {}").format(sql.SQL(change)))


def test_role_script_lets_grafana_sign_in(grafana_address):
    with psycopg.connect(grafana_address) as grafana:
        assert grafana.execute("SHOW statement_timeout").fetchone() == ("15s",)
        assert grafana.execute("SELECT count(*) FROM event").fetchone() == (0,)  # the view: the schema comes first
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            grafana.execute("SELECT count(*) FROM public.event")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock(1, 2)",
        "SELECT lo_from_bytea(0, 'left behind')",
        "CREATE TEMPORARY TABLE much AS SELECT 1",
        "SET temp_file_limit = -1",
    ],
)
def test_role_script_revokes_public_privileges_from_grafana(grafana_address, statement):
    """Dashboard viewers can send any statement, including one that lifts a setting that is only a default."""
    with psycopg.connect(grafana_address, autocommit=True) as grafana:
        grafana.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            grafana.execute(statement)


@pytest.fixture
def role_address(postgresql, empty_database_url, run, root, monkeypatch):
    """The database address of the containers' key service, on a new server."""
    monkeypatch.setenv("KEYGAUGE_DATABASE_PASSWORD", "it's a test")
    name = f"keygauge_{uuid.uuid4().hex[:8]}"  # roles are per server, which other tests use too
    script = (root / "collector/database_role.sql").read_text()
    file = Path(tempfile.mkstemp(suffix=".sql")[1])
    file.write_text(re.sub(r"\bkeygauge\b(?!_)", name, script))
    file.chmod(0o644)
    run("psql", empty_database_url, "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--file={file}")
    file.unlink()
    yield psycopg.conninfo.make_conninfo(empty_database_url, user=name, password="it's a test")
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("REASSIGN OWNED BY {} TO postgres").format(sql.Identifier(name)))
        drop_role(connection, sql.Identifier(name))


def drop_role(connection, role):
    """Drop a role, unless other tests have given it privileges in their databases meanwhile."""
    connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
    with suppress(psycopg.errors.DependentObjectsStillExist):
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


def test_the_key_service_needs_no_superuser(role_address):
    with database.connect(role_address) as connection:
        assert database.migrate(connection)
        rights = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert set(rights.values()) == {False}
        partition.ensure(connection, {date(2026, 5, 1)})
        may_look = connection.execute("SELECT has_schema_privilege('keygauge_grafana', 'grafana', 'USAGE') AS may")
        assert may_look.fetchone()["may"]


@pytest.fixture
def other_role(connection):
    """A role that exists before Grafana's script runs."""
    role = sql.Identifier(f"other_{uuid.uuid4().hex}")
    connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    yield role
    drop_role(connection, role)


@pytest.mark.usefixtures("other_role", "grafana_address")
def test_role_script_revokes_nothing_from_other_roles(connection, other_role):
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(other_role))
        connection.execute("SELECT pg_advisory_xact_lock(1)")
        connection.execute("CREATE TEMPORARY TABLE own ON COMMIT DROP AS SELECT 1")
