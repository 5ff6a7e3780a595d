"""The values of a config from a stranger: each is plain data that names no code, file or address, or is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmsls.deploy.known_types import DATASET_KINDS, PIPELINE_KINDS, WORDS, KnownTypes

DEEPEST = 64
LARGEST = 2**53
DROPPED = ('init_cfg', 'pretrained')
"""Other weights, by which the hosts would unpickle a file: a task's come from its folder."""
BUILT_FROM = ('conv_type', 'resize_type', 'padding_mode')
"""Arguments that hosts build as a `type`."""
BUILTIN_MODES = ('zeros', 'circular')
EVALUATED = ('dtype', 'warp_mode')
"""Arguments that hosts give to `eval`: an attribute of a module is all that they may be."""
FILES = re.compile(
    r'(ckpt|checkpoint|pretrained|_path|_file|_weight|_config|_index|^weights|^prototype|^class_weight|^ans2label)$'
)
"""Arguments that name a file, which the hosts unpickle or, where it is a config, run."""
LOCATION = re.compile(
    r'[/\\]|^~|\.(pkl|pickle|pth?|bin|ckpt|th|tar|npy|npz|py|json|txt|ya?ml|safetensors|joblib)$', re.I
)
NAME = re.compile(r'[A-Za-z_]\w*')
DOTTED = re.compile(r'[A-Za-z_]\w*(\.[A-Za-z_]\w*)+')
MEND = (
    'a task folder brings its weights along and reads no other file: take it out of the config and pack the task again'
)


class PartCheck:
    """The check of one part of a config, value by value.

    Args:
        known: What may be built and imported.
        dropped: Gets the place of what is left out.
    """

    def __init__(self, known: KnownTypes, dropped: list[str]) -> None:
        self.known, self.dropped = known, dropped

    def checked(self, value: Any, place: str, kinds: Sequence[str], scope: str, depth: int = 0) -> Any:
        """Return a value as plain data, or raise a ValueError that names the place."""
        if depth > DEEPEST:
            raise ValueError(f'{place[:200]}: nested deeper than {DEEPEST} levels')
        if isinstance(value, Mapping):
            return self._mapping(value, place, kinds, scope, depth)
        if isinstance(value, (list, tuple)):
            items = (self.checked(x, f'{place}[{n}]', kinds, scope, depth + 1) for n, x in enumerate(value))
            return type(value)(items) if type(value) in (list, tuple) else tuple(items)
        if isinstance(value, str):
            self._check_text(value, place, kinds, scope)
        elif isinstance(value, (int, float)) and not abs(value) <= LARGEST:  # NaN is neither
            raise ValueError(refusal(place, value, 'no finite number that a model could be built of'))
        elif not (value is None or isinstance(value, (bool, int, float))):
            raise ValueError(
                refusal(place, value, 'no plain data; name classes and functions by their registered names')
            )
        return value

    def _mapping(self, value: Mapping[Any, Any], place: str, kinds: Sequence[str], scope: str, depth: int) -> Any:
        scope = value.get('_scope_', scope)
        if not self.known.is_scope(scope):
            raise ValueError(refusal(f'{place}._scope_', scope, 'no scope of the toolboxes or of a trusted module'))
        out: dict[Any, Any] = {}
        for key, item in value.items():
            where = f'{place}.{key}'
            self._check_key(key, place)
            if key in DROPPED:
                if item not in (None, False):
                    self.dropped.append(where)
            elif key == 'type' and kinds:
                out[key] = self._type(item, place, kinds, scope)
            else:
                self._check_argument(key, item, where, kinds, scope)
                inner = kinds_inside(key, kinds)
                out[key] = self.checked(item, where, inner, scope, depth + 1)
        return out

    def _type(self, name: Any, place: str, kinds: Sequence[str], scope: str) -> str:
        """Return the registered name of a `type`."""
        found = self.known.registered_name(name, kinds, scope) if isinstance(name, str) else None
        if found is None and isinstance(name, str):
            path, _, word = name.rpartition('.')
            argument = place.rpartition('.')[2]
            found = word if word in WORDS.get(argument, ()) and path.split('.')[0] in ('', 'mmcv') else None
        if found is None:
            raise ValueError(
                refusal(
                    f'{place}.type',
                    name,
                    f'which no registry of scope {scope!r} knows; register it in a module that custom_imports lists '
                    '(and, if it is your own, pass its name in trusted=, --trust), and write its registered name',
                )
            )
        return found

    def _check_argument(self, key: Any, item: Any, where: str, kinds: Sequence[str], scope: str) -> None:
        """Refuse an argument by which a host would read a file, evaluate text or import a module."""
        if not kinds or not isinstance(key, str):
            return
        if key == 'trust_remote_code' and item:
            raise ValueError(refusal(where, item, 'code from elsewhere'))
        if key == 'sys_path' or (key == 'backend' and item == 'memcached'):
            raise ValueError(
                refusal(where, item, "MMEngine's memcached client, which imports from a path that the config names")
            )
        if key == 'decode_backend' and item == 'pickle':
            raise ValueError(refusal(where, item, 'a way to read images that runs what they hold'))
        if not isinstance(item, str):
            return
        if key in BUILT_FROM and item not in BUILTIN_MODES and not self.known.registered_name(item, kinds, scope):
            raise ValueError(refusal(where, item, f'which no registry of scope {scope!r} knows'))
        if key in EVALUATED and not (NAME.fullmatch(item) or DOTTED.fullmatch(item)):
            raise ValueError(refusal(where, item, 'a text that the host would evaluate'))
        if key != 'base_checkpoint' and FILES.search(key):
            raise ValueError(refusal(where, item, MEND))

    def _check_key(self, key: Any, place: str) -> None:
        if isinstance(key, str):
            if key.startswith('__') or key in ('_base_', '_delete_', '_reserved_'):
                raise ValueError(refusal(f'{place}.{key[:50]}', key, 'no key of a config, but of what reads it'))
            check_writable(key, place)
        elif not (key is None or isinstance(key, (bool, int, float))):
            raise ValueError(refusal(place, key, 'no key of plain data'))

    def _check_text(self, text: str, place: str, kinds: Sequence[str], scope: str) -> None:
        check_writable(text, place)
        if not kinds:
            return
        key = re.sub(r'(\[\d+\])+$', '', place).rpartition('.')[2]
        if key == 'base_checkpoint':
            return
        if LOCATION.search(text) and not re.fullmatch(r'\d+/\d+', text):
            raise ValueError(refusal(place, text, f'a path or an address; {MEND}'))
        if DOTTED.fullmatch(text) and key not in EVALUATED and self.known.registered_name(text, kinds, scope) is None:
            raise ValueError(refusal(place, text, 'a dotted name that no registry knows, which a host might import'))


def kinds_inside(key: Any, kinds: Sequence[str]) -> Sequence[str]:
    """Return from which registries the value of a key is built; a data set's `metainfo` is built from none."""
    if key == 'metainfo' and kinds == DATASET_KINDS:
        return ()
    return PIPELINE_KINDS if key in ('pipeline', 'transforms') and kinds == DATASET_KINDS else kinds


def check_writable(text: str, place: str) -> None:
    """Refuse text that MMEngine would replace in a config file (`{{ fileDirname }}`), or that no file can hold.

    Raises:
        ValueError: That names the place.
    """
    if '{{' in text:
        raise ValueError(refusal(place, text, "a placeholder, which MMEngine's config reader fills in"))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(refusal(place, text, f'no text ({error.reason})')) from error


def refusal(place: str, value: Any, why: str) -> str:
    """Return the message for a value that is refused."""
    return f'{place[:300]} is {repr(value)[:120]}, {why}'
