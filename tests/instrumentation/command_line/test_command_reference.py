import click

from keygauge.command_line.command import Noun
from keygauge.command_line.command_reference import write


def test_every_visible_command_is_listed_with_its_options():
    root, keys = Noun("keygauge"), Noun("keys", help="Keys.")
    root.add_command(keys)

    @keys.command("create", examples=("keygauge keys create prod",))
    @click.argument("name")
    @click.option("--unit", help="token | request\n  or usd")
    def create(name, unit):
        """Create a key."""

    @keys.command("secret", hidden=True)
    def secret():
        """Do not tell."""

    text = write(root)
    assert "## keygauge keys\n" in text
    assert "### keygauge keys create\n\nCreate a key." in text
    assert "keygauge keys create [OPTIONS] NAME\n$ keygauge keys create prod" in text
    assert "| `--unit TEXT` | token \\| request or usd |" in text
    assert "Do not tell" not in text
    assert text.endswith("\n")
