"""The reference of all commands as Markdown, generated from the commands."""

from __future__ import annotations

from collections.abc import Iterator

import click

from keygauge.command_line.command import Verb

_HEAD = """# Command line

Printed by `keygauge reference`, with the commands of all installed distributions. The form is `keygauge NOUN VERB
[ID or NAME]`; accounts are always given as `--account ID|NAME`.

- **Connection**: directly on the database of `KEYGAUGE_DATABASE_URL` (or the one that `keygauge serve` keeps in
  `KEYGAUGE_DATA_DIR`), or against a key service with the token's permissions: `export
  KEYGAUGE_URL=https://keys.example.com KEYGAUGE_TOKEN=…`.
- **Output**: a table on a terminal, tab-separated lines in a pipe; `--output json` is the API's document, `--output
  csv` is for spreadsheets, `--quiet` prints ids only. Messages go to standard error. Exit codes: 0 success, 1 refused
  or failed, 2 wrong command line.
- **Values**: durations `90s`, `5m`, `1h`, `7d`; times `2030-01-31`, `2030-01-31T12:00:00Z` or a duration from now;
  money `$2.50`.
- **Completion**: `source <(keygauge completion bash)`, also for zsh and fish.
"""


def write(commands: click.Group) -> str:
    """Return the reference."""
    context = click.Context(commands, info_name="keygauge")
    return "\n".join((_HEAD, *_sections(commands, context, level=2))) + "\n"


def _sections(group: click.Group, context: click.Context, *, level: int) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        below = click.Context(command, info_name=name, parent=context)
        yield from _section(command, below, level)
        if isinstance(command, click.Group):
            yield from _sections(command, below, level=level + 1)


def _section(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    yield f"{'#' * level} {context.command_path}\n"
    yield f"{command.help or ''}\n"
    if isinstance(command, click.Group):
        return
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    examples = command.examples if isinstance(command, Verb) else ()
    yield "\n".join(("```text", usage, *(f"$ {example}" for example in examples), "```\n"))
    options = (one for one in command.params if isinstance(one, click.Option))
    if records := [record for one in options if (record := one.get_help_record(context))]:
        yield "| option | |\n|---|---|"
        yield "\n".join(f"| `{_cell(name)}` | {_cell(text)} |" for name, text in records) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
