import click
import pytest
from click.testing import CliRunner

from keygauge.command_line.command import CommandError, Noun, Verb


@pytest.fixture
def run():
    root, keys = Noun("keygauge"), Noun("keys")
    root.add_command(keys)

    @keys.command("create", examples=("keygauge keys create prod",))
    @click.argument("name")
    @click.option("--account")
    def create(name, account):
        if name == "taken":
            raise CommandError("There is one already: choose another name.")
        click.echo(f"{name} of {account}")

    @keys.command("list")
    def list_keys():
        click.echo("none")

    def run(*words):
        result = CliRunner().invoke(root, words)
        return result.exit_code, result.output

    return run


def test_verb_runs_and_shows_examples_in_its_help(run):
    assert run("keys", "create", "prod", "--account", "acme") == (0, "prod of acme\n")
    assert "keygauge keys create prod" in run("keys", "create", "--help")[1]


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (("create", "keys"), "The noun comes first: keygauge keys create."),
        (("ls", "keys"), "The noun comes first: keygauge keys list."),
        (("keys", "prod", "create"), "The verb comes before the name: keygauge keys create prod."),
        (("keys", "my prod", "ls"), "The verb comes before the name: keygauge keys list 'my prod'."),
        (("keys", "new"), "Did you mean 'create'?"),
        (("keys", "ls"), "Did you mean 'list'?"),
        (("keys", "paint"), "No such command 'paint'"),
        (("keys", "--output", "json"), "options come after the verb"),
        (("keys", "create", "prod", "acme"), "use --account ID or NAME"),
    ],
)
def test_wrong_word_order_is_explained(run, words, way_out):
    code, output = run(*words)
    assert code == 2
    assert way_out in output


def test_command_error_is_one_line(run):
    assert run("keys", "create", "taken") == (1, "keygauge: There is one already: choose another name.\n")


def test_verb_without_examples_shows_none(run):
    assert "Examples" not in run("keys", "list", "--help")[1]
    assert isinstance(Verb("x").examples, tuple)
