"""The command `nglkeras` does what the scripts of reproduce/ do."""

import json
import subprocess
import sys

import pytest
from conftest import HEAVY, ROOT, run_python

from nglkeras.__main__ import COMMANDS, main

# They measure, check and pack the project's folder, which the package does not have.
OF_THE_FOLDER = {"benchmark", "pack", "report", "verify"}
SCRIPTS = {path.stem: path for path in (ROOT / "reproduce").glob("*.py")}


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "nglkeras", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_each_script_is_a_command_with_the_same_options():
    assert set(COMMANDS) == set(SCRIPTS) - OF_THE_FOLDER
    code = f"""
import contextlib, io, json, runpy, sys
from nglkeras.__main__ import COMMANDS, main

def options(run, *arguments):
    text, sys.argv = io.StringIO(), [*arguments, "--help"]
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        run()
    return text.getvalue().rpartition("options:")[2]

for name in COMMANDS:
    path = f"{ROOT / "reproduce"}/{{name}}.py"
    by_script = options(lambda: runpy.run_path(path, run_name="__main__"), path)
    print(json.dumps([name, by_script, options(main, "nglkeras", name)]))
    print(*set({HEAVY}) & sys.modules.keys(), file=sys.stderr, end="")
"""
    run = run_python(code)
    assert run.stderr == ""
    for name, by_script, by_command in map(json.loads, run.stdout.splitlines()):
        assert by_script == by_command != "", name


def test_they_are_listed_in_a_line_each():
    run = command()
    assert (run.returncode, run.stderr) == (0, "")
    assert [name for name in COMMANDS if f"  {name}" not in run.stdout.replace(", ", "  ")] == []
    assert max(map(len, run.stdout.splitlines())) <= 110


def test_figures_are_drawn(tmp_path, monkeypatch, capsys):
    arguments = ["glo-figure2", "--out", str(tmp_path), "--format", "svg"]
    monkeypatch.setattr(sys, "argv", ["nglkeras", *arguments])
    main()
    assert capsys.readouterr().out == f"written: {tmp_path / 'glo_figure2.svg'}\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["tabel2"], "unknown command 'tabel2'; choose from: table1, table2"),
        (["table2", "--scale", "huge"], "unknown scale 'huge'"),
        (["status", "--watch", "no"], "argument --watch: no is not a positive number"),
    ],
)
def test_mistakes(arguments, error):
    run = command(*arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(f"error: {error}")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["table2"], ["figure1"]])
def test_without_the_packages_of_the_experiments(arguments):
    missing = f"import sys; sys.modules['msgspec'] = None; sys.argv[1:] = {arguments}"
    run = run_python(f"{missing}; from nglkeras.__main__ import main; main()")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "error: msgspec is not installed: pip install 'nglkeras[reproduce]'\n"
