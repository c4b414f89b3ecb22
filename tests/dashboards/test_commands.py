import argparse

import pytest

from keygauge_dashboards.commands import register


@pytest.fixture
def run():
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())

    def run(*words):
        arguments = parser.parse_args(["dashboards", *map(str, words)])
        return arguments.run(arguments)

    return run


def test_check_fails_until_the_files_are_built(run, tmp_path, capsys):
    assert run("check", "--folder", tmp_path) == 1
    assert "keygauge-overview.json is stale" in capsys.readouterr().err
    assert run("build", "--folder", tmp_path) == 0
    assert "keygauge-overview.json" in capsys.readouterr().out
    assert run("check", "--folder", tmp_path) == 0


def test_check_fails_when_a_file_was_edited(run, tmp_path):
    run("build", "--folder", tmp_path)
    with (tmp_path / "docs/dashboards.md").open("a") as page:
        page.write("my own words")
    assert run("check", "--folder", tmp_path) == 1
