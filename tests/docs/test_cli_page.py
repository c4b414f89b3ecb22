"""docs/reference/cli.md is the output of `keygauge reference`."""

from pathlib import Path

import click

from keygauge import cli
from keygauge.command_line import command_reference
from keygauge.command_line.command import Noun, Verb

PAGE = Path(__file__).parents[2] / "docs/reference/cli.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == command_reference.write(cli.keygauge), (
        "run: keygauge reference > docs/reference/cli.md"
    )


def commands(group=cli.keygauge, path="keygauge"):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def test_every_command_has_help_and_examples():
    for path, command in commands():
        assert command.help, path
        if isinstance(command, click.Group):
            assert isinstance(command, Noun), path
            continue
        assert isinstance(command, Verb), path
        assert any(path in example for example in command.examples), path


def test_list_commands_support_json_csv_and_ids():
    lists = [command for path, command in commands() if path.endswith(" list")]
    assert len(lists) >= 9
    for command in lists:
        options = {option for one in command.params for option in one.opts}
        assert {"--output", "-o", "--quiet", "--url", "--token"} <= options
