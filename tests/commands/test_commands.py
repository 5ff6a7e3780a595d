"""The command `mmsls`: what it offers, how fast it answers, and that every sub-command says how it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmsls import __version__
from mmsls.commands import COMMANDS, FOLDER, first_line, main, module_of

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {'run': 'run_sls', 'vtab': 'run_vtab'}
HEAVY = ('torch', 'mmengine', 'numpy')


def python(code: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env, check=False)


def test_every_file_is_a_command():
    files = {path.stem for path in FOLDER.glob('[!_]*.py')}
    assert files == {module_of(command) for command in COMMANDS}


def test_every_command_but_the_two_without_a_config_has_a_script_in_a_checkout():
    scripts = {path.stem for path in (ROOT / 'tools').glob('*.py')}
    assert scripts == {SCRIPTS.get(name, module_of(name)) for name in COMMANDS if name not in ('demo', 'doctor')}


@pytest.mark.parametrize('arguments', [[], ['--help'], ['--version']])
def test_it_answers_without_importing_what_is_slow(arguments):
    done = python(
        f'import sys\nfrom mmsls.commands import main\ntry:\n    main({arguments})\nexcept SystemExit: pass\n'
        f'print([name for name in {HEAVY} if name in sys.modules])'
    )
    assert done.stdout.splitlines()[-1] == '[]', done.stderr


def test_help_lists_every_command_with_what_it_does(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--help'])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for command in COMMANDS:
        assert f'  {command:<12} {first_line(command)}\n' in said
        assert first_line(command).endswith(('.', 'report')), command


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(['--version'])
    assert capsys.readouterr().out == f'mmsls {__version__}\n'


def test_what_is_no_command_is_refused_with_all_that_are(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['scor'])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "invalid choice: 'scor'" in said
    assert 'score' in said.partition('choose from')[2]


@pytest.mark.parametrize('command', COMMANDS)
def test_a_command_says_how_it_is_called(command, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['mmsls'])
    with pytest.raises(SystemExit) as ended:
        main([command, '--help'])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f'usage: mmsls {command} ')


@pytest.mark.parametrize('command', ['train', 'score', 'run', 'export-base', 'benchmark'])
@pytest.mark.parametrize(
    ('name', 'near'), [('mmsls::camvid/tun.py', 'mmsls::camvid/tune.py'), ('mmsls::demo/tunes', 'mmsls::demo/tune.py')]
)
def test_a_name_that_is_not_there_ends_with_one_line_and_the_nearest(command, name, near, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['mmsls'])
    with pytest.raises(SystemExit) as ended:
        main([command, name, *(['out.pth'] if command == 'export-base' else [])])
    assert str(ended.value.code).startswith(f'error: config: mmsls has no {name.partition("::")[2]!r}; nearest: {near}')


def test_a_script_is_the_command():
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools/train.py'), 'mmsls::demo/tun.py'],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: config: mmsls has no 'demo/tun.py'; nearest: ")
