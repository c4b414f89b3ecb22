import subprocess
import sys

import pytest

from keygauge import cli, doctor
from keygauge.command import CommandError


def test_without_a_command_it_lists_what_is_there(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert "doctor" in text
    assert "Installed: keygauge 0.1.0" in text


def test_the_version_names_every_distribution(capsys):
    with pytest.raises(SystemExit) as ending:
        cli.main(["--version"])
    assert ending.value.code == 0
    assert "keygauge 0.1.0" in capsys.readouterr().out


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as ending:
        cli.main(["brew"])
    assert ending.value.code == 2
    assert "brew" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(CommandError("no way"), 1), (KeyboardInterrupt(), 130)])
def test_a_command_that_fails_says_why_and_no_more(monkeypatch, capsys, error, code):
    def fail(**_options):
        raise error
        yield

    monkeypatch.setattr(doctor, "examine", fail)
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr().err == ("keygauge: no way\n" if code == 1 else "")


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "keygauge.cli", "--help"], capture_output=True, text=True, check=True)
    assert "doctor" in done.stdout
