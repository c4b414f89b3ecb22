"""The command `keygauge`, with the commands of all installed distributions."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import distributions, entry_points

import click
from click.shell_completion import get_completion_class

from keygauge.command_line import command_reference
from keygauge.command_line.command import GROUP, Noun, Verb

_INTERRUPTED = 130  # as shells report it: 128 + SIGINT
_FAILED = 1
_COMPLETE = "_KEYGAUGE_COMPLETE"  # set by shells that ask Click for completions


class _Commands(Noun):
    """All nouns, each loaded only when used, so that a broken distribution does not affect the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        return sorted({*super().list_commands(ctx), *(point.name for point in entry_points(group=GROUP))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one."""
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        for point in entry_points(group=GROUP, name=cmd_name):
            try:
                loaded: click.Command = point.load()
            except ImportError as error:
                text = f"{point.name}: {point.value} cannot be loaded ({error}): reinstall its distribution"
                click.echo(f"keygauge: {text}", err=True)
            else:
                return loaded
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = keygauge.main(words, prog_name="keygauge", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    return code if isinstance(code, int) else 0


def _installed() -> str:
    """Return the installed distributions of KeyGauge and their versions."""
    found = {item.name: item.version for item in distributions() if item.name and item.name.startswith("keygauge")}
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()))


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - Click's signature
    if value:
        click.echo(_installed())
        ctx.exit()


@click.command(
    cls=Verb,
    examples=(
        "source <(keygauge completion bash)",
        "keygauge completion fish > ~/.config/fish/completions/keygauge.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion of commands and options for a shell."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(found(keygauge, {}, "keygauge", _COMPLETE).source())


@click.command(cls=Verb, examples=("keygauge reference > commands.md",))
def reference() -> None:
    """Print this reference of all commands, as Markdown."""
    click.echo(command_reference.write(keygauge), nl=False)


keygauge = _Commands(
    "keygauge",
    commands=[completion, reference],
    help="Meter and guard an API by key: `keygauge NOUN VERB`.",
    epilog="`keygauge NOUN --help` lists the verbs of a noun, and each has examples.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_show_version,
            help="Show versions.",
        )
    ],
)


if __name__ == "__main__":
    sys.exit(main())
