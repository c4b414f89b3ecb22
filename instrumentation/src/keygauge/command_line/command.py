"""The base classes of all distributions' commands: `NOUN VERB`, with helpful usage errors."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from shlex import quote
from typing import IO, Any

import click

GROUP = "keygauge.commands"  # entry points: Click commands by noun

# Verbs that people may try, and the ones used here.
_SYNONYMS = {
    "ls": "list",
    "get": "show",
    "read": "show",
    "info": "show",
    "describe": "show",
    "add": "create",
    "new": "create",
    "set": "create",
    "change": "update",
    "edit": "update",
    "modify": "update",
    "rename": "update",
    "change-plan": "update",
    "set-limits": "update",
    "rm": "delete",
    "remove": "delete",
    "revoke": "delete",
    "suspend": "disable",
    "activate": "enable",
    "reactivate": "enable",
}


class CommandError(click.ClickException):
    """A command failed; only its message is printed, which gives the object, the cause and the fix."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message."""
        click.echo(f"keygauge: {self.message}", file=file, err=file is None)


class Verb(click.Command):
    """One command, `keygauge NOUN VERB`, with examples in its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Format the examples."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments after the verb, suggesting --account for an extra one."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name.lstrip("-").replace("-", "_")
            for one in self.params:
                if isinstance(one, click.Argument) and name in {one.name, (one.metavar or "").lower()}:
                    usage = f"{ctx.command_path} {one.make_metavar(ctx)}"
                    raise click.UsageError(f"No option {error.option_name} here: use {usage}.", ctx) from error
            raise
        except click.UsageError as error:
            if "unexpected extra argument" in error.message and any(one.name == "account" for one in self.params):
                reason = error.message.rstrip(".")
                raise click.UsageError(f"{reason}: use --account ID or NAME.", ctx) from error
            raise


class Noun(click.Group):
    """The verbs of a noun; usage errors explain the word order."""

    command_class = Verb
    group_class = type

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command named by the first word."""
        word, *others = args
        if self.get_command(ctx, word) is None and not word.startswith("-") and not ctx.resilient_parsing:
            if others and (noun := self.get_command(ctx, others[0])) and _has(noun, ctx, _SYNONYMS.get(word, word)):
                verb = _SYNONYMS.get(word, word)
                ctx.fail(f"The noun comes first: {ctx.command_path} {others[0]} {verb}.")
            if others and self.get_command(ctx, verb := _SYNONYMS.get(others[0], others[0])):
                ctx.fail(f"The verb comes before the name: {ctx.command_path} {verb} {quote(word)}.")
            known = _SYNONYMS.get(word) or next(iter(get_close_matches(word, self.list_commands(ctx), n=1)), "")
            if self.get_command(ctx, known):
                ctx.fail(f"No such command {word!r}. Did you mean {known!r}?")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments before the verb: the only option is --help."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(f"No option {error.option_name} here: options come after the verb.", ctx) from error


def _has(command: click.Command, ctx: click.Context, verb: str) -> bool:
    return isinstance(command, click.Group) and command.get_command(ctx, verb) is not None
