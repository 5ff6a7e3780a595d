"""Commands on the pages exist, and their own parsers take what the pages give them."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib.util import find_spec

import pytest
from doc_commands import as_shown, parser_of
from page_blocks import FENCE, ROOT, blocks, pages

OURS = re.compile(r'^(tools|benchmarks|requirements)/\w+\.py$|^docs/(\w+/)*\w+\.py$')
INLINE = re.compile(r'`[^`\n]*?python ((?:tools|benchmarks)/\w+\.py)([^`\n]*)`')
TARGETS = set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.M))
PARSED_NOT = {'docs/tutorials/detector.py', 'docs/tutorials/segmentor.py'}
"""Scripts that take no arguments."""


class Refused(Exception):
    """What a parser says."""


@cache
def parser(script: str):
    found = parser_of(ROOT / script)

    def error(message: str) -> None:
        raise Refused(message)

    found.error = error
    return found


def simple_commands(code: str) -> list[list[str]]:
    """Return the words of every command of a block of shell."""
    lines = shlex.shlex(code.replace('\\\n', ' ').replace('\n', ' ; '), posix=True, punctuation_chars=';&|')
    lines.whitespace_split, lines.commenters = True, ''
    found: list[list[str]] = [[]]
    for word in lines:
        if set(word) <= set(';&|'):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def uncommented(code: str) -> str:
    return re.sub(r'(^|\s)#.*$', '', code, flags=re.M)


COMMANDS = [(block.page, words) for block in blocks('bash') for words in simple_commands(uncommented(block.code))]
CALLS = [(page, words) for page, words in COMMANDS if any(OURS.match(word) for word in words)]


@pytest.mark.parametrize(('page', 'words'), CALLS, ids=lambda part: ' '.join(part) if isinstance(part, list) else part)
def test_a_script_takes_its_arguments(page: str, words: list[str]) -> None:
    place = next(number for number, word in enumerate(words) if OURS.match(word))
    script = words[place]
    assert (ROOT / script).is_file()
    if script not in PARSED_NOT:
        parser(script).parse_args(words[place + 1 :])


def test_options_in_running_text_are_known() -> None:
    calls = {call for page in pages() for call in INLINE.findall(FENCE.sub('', page.read_text()))}
    calls = {(script, rest) for script, rest in calls if script != 'tools/NAME.py'}  # any tool
    assert len(calls) > 20
    for script, rest in calls:
        known = parser(script)._option_string_actions
        for option in re.findall(r'(?<![\w-])--[a-z][\w-]*', rest):
            assert option in known, f'{script} has no {option}'


def test_configs_modules_targets_and_tests_exist() -> None:
    for page, words in COMMANDS:
        for word in words:
            if re.fullmatch(r'(configs|tests)/[\w/.-]+', word):
                assert (ROOT / word).exists(), f'{page}: {word}'
        if words[0] == 'make':
            assert all(word in TARGETS for word in words[1:] if '=' not in word), f'{page}: {words}'
        if '-m' in words and words[words.index('-m') - 1] == 'python':
            assert find_spec(words[words.index('-m') + 1]), f'{page}: {words}'


def test_what_a_parser_does_not_know_is_refused() -> None:
    with pytest.raises(Refused, match='unrecognized arguments: --colour'):
        parser('tools/train.py').parse_args(['config.py', '--colour', 'red'])
    assert len(CALLS) > 40


def test_commands_are_shown_in_one_form() -> None:
    text = 'python tools/run_sls.py my_config.py'
    assert as_shown(text) == 'mmsls run my_config.py'
    assert as_shown('python benchmarks/rule.py') == 'python benchmarks/rule.py'
