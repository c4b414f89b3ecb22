import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from keygauge import cli
from keygauge.command_line import doctor
from keygauge.command_line.command import GROUP, CommandError


def test_without_a_command_it_lists_the_commands(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert "doctor" in text
    assert "keygauge NOUN --help" in text


def test_version_lists_every_distribution(capsys):
    assert cli.main(["--version"]) == 0
    assert "keygauge 0.1.0" in capsys.readouterr().out


def test_unknown_command_is_rejected(capsys):
    assert cli.main(["brew"]) == 2
    assert "brew" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(CommandError("no way"), 1), (KeyboardInterrupt(), 130)])
def test_failing_command_prints_only_its_message(monkeypatch, capsys, error, code):
    def fail(**_options):
        raise error
        yield

    monkeypatch.setattr(doctor, "examine", fail)
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr().err == ("keygauge: no way\n" if code == 1 else "\n")


def test_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "keygauge.cli", "--help"], capture_output=True, text=True, check=True)
    assert "doctor" in done.stdout


def test_command_loads_only_itself():
    script = "import sys; from keygauge import cli; cli.main(['doctor', '--help']); print('flask' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--after-restore" in done.stdout
    assert done.stdout.endswith("False\n")


def test_broken_distribution_does_not_affect_others(monkeypatch, capsys):
    points = EntryPoints(
        [
            EntryPoint("gone", "keygauge_gone:gone", GROUP),
            EntryPoint("doctor", "keygauge.command_line.doctor:command", GROUP),
        ]
    )
    monkeypatch.setattr(cli, "entry_points", points.select)
    assert cli.main([]) == 0
    captured = capsys.readouterr()
    assert "doctor" in captured.out
    assert "gone: keygauge_gone:gone cannot be loaded" in captured.err
    assert cli.main(["gone"]) == 2


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_is_printed(capsys, shell):
    assert cli.main(["completion", shell]) == 0
    assert "_KEYGAUGE_COMPLETE" in capsys.readouterr().out


def test_shells_complete_nouns_and_verbs(monkeypatch, capsys):
    monkeypatch.setenv("_KEYGAUGE_COMPLETE", "zsh_complete")
    monkeypatch.setenv("COMP_WORDS", "keygauge dashboards b")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        cli.main([])
    assert "build" in capsys.readouterr().out
