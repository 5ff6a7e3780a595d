"""How-tos: every command of theirs is one that its tool takes, with a run's own names in it."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from mmsls.report.advice import advise
from mmsls.report.how_to import how_to, how_tos
from mmsls.report.how_to_texts import HOW_TO
from mmsls.report.origin import Origin

DOCS = Path(__file__).resolve().parents[2] / 'docs'
ORIGIN = Origin('/x/my tune.py', ('train_cfg.max_epochs=1', 'a=[1,2]'), '/x/epoch_1.pth')


@pytest.mark.parametrize('origin', [ORIGIN, Origin()])
@pytest.mark.parametrize('key', sorted(HOW_TO))
def test_every_command_is_one_that_its_tool_takes(index_of, tmp_path, key, origin):
    index = index_of(about={'checkpoint': 'epoch_1.pth' if origin.config else 'untuned'})
    found = how_to(key, tmp_path / 'pruning_index.json', index, origin)
    assert found.commands
    for command in found.commands:
        name, tool, *rest = shlex.split(command)
        assert name == 'mmsls'
        args = import_module(f'mmsls.commands.{tool}').parser().parse_args(rest)
        assert '{' not in command
        if hasattr(args, 'config') and args.config and origin.config:
            assert args.config == '/x/my tune.py'
            assert args.cfg_options['train_cfg.max_epochs'] == 1


def test_every_heading_that_is_named_is_in_the_docs():
    pages = [path.read_text() for path in DOCS.rglob('*.md')]
    sections = [heading for page in pages for heading in re.findall(r'^##? (.*)$', page, re.MULTILINE)]
    for text in HOW_TO.values():
        assert any(section.startswith(text.section) for section in sections), text.section


def test_advice_is_followed_by_what_it_asks_for(index_of, tmp_path):
    index = index_of((0.5,) * 5 + (0.6,))
    found = how_tos(advise(index), tmp_path / 'pruning_index.json', index, ORIGIN)
    assert list(found) == ['points', 'peak', 'choose']
    assert found['points'].commands[0] == (
        "mmsls score '/x/my tune.py' /x/epoch_1.pth --criterion bridged --max-drop 1 "
        f"--out {tmp_path}/bridged.json --cfg-options train_cfg.max_epochs=1 'a=[1,2]'"
    )


def test_a_probe_that_is_here_is_read_and_not_scored_again(index_of, tmp_path):
    path = tmp_path / 'pruning_index.json'
    assert 'mmsls score' in how_to('probe', path, index_of(), ORIGIN).commands[0]
    index_of().save(tmp_path / 'also_probe.json')
    assert how_to('probe', path, index_of(), ORIGIN).commands == (
        f'mmsls decide {tmp_path}/also_probe.json --max-drop 1',
    )
    fitted = index_of(about={'split': 'train'})  # labels that the features were fitted to
    assert '--split val' in how_to('probe', path, fitted, ORIGIN).commands[0]
