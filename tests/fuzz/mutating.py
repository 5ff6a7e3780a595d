"""Seeded damage to files: bytes, JSON by its structure, archives by their members."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

CANARY = 'mmsls_fuzz_canary'
DEEP = '@deep@'
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    float('nan'),
    float('inf'),
    '',
    'x' * 10_000,
    '../../etc/passwd',
    f'{CANARY}.sing',
    CANARY,
    'os.system',
    '{{ fileDirname }}',
    "' + __import__('os') + '",
    '\ud800',
    '\x00',
    [],
    {},
    [[]],
    {'type': f'{CANARY}.sing'},
    {'type': CANARY},
    {'imports': [CANARY]},
    {'__tuple__': 1},
    {'__pairs__': [[{}, 1]]},
    ['0' * 64],
    '0' * 64,
    DEEP,
)
CALLS = (
    f'c{CANARY}\nsing\n(tR0',
    f'c{CANARY}\nBird\n)\x81}}b0',
    'cposix\nsystem\n(X\x04\x00\x00\x00truetR0',
    'cbuiltins\neval\n(X\x01\x00\x00\x001tR0',
)


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """Cut, flip, insert, remove, repeat or overwrite a few bytes."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0:
            del data[place:]
        elif kind == 1 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[place:place] = rng.randbytes(rng.choice((1, 4, 64)))
        elif kind == 3:
            del data[place : place + rng.choice((1, 4, 64))]
        elif kind == 4:
            data[place:place] = data[max(0, place - 16) : place] * rng.choice((1, 3))
        elif kind == 5:
            data[place : place + 8] = rng.choice((b'\xff' * 8, b'\0' * 8, b'\x7f' + b'\xff' * 7))
        else:
            data = bytearray(rng.randbytes(rng.choice((0, 1, 100)))) if rng.random() < 0.1 else data
    return bytes(data)


def fresh(rng: random.Random) -> Any:
    """Return one of the values, which the next damage may be done to."""
    return copy.deepcopy(rng.choice(VALUES))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the paths to everything inside a nest."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [inner for key, item in items for inner in [(*path, key), *places(item, (*path, key))]]


def damage_json(data: bytes, rng: random.Random) -> bytes:
    """Delete, replace, rename, move or nest fields; one file in four is damaged as bytes."""
    if rng.random() < 0.25:
        return damage_bytes(data, rng)
    content = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        found = places(content)
        if not found:
            break
        *path, last = rng.choice(found)
        parent = content
        for key in path:
            parent = parent[key]
        kind = rng.randrange(5)
        if kind == 0:
            del parent[last]
        elif kind == 1:
            parent[last] = fresh(rng)
        elif kind == 2 and isinstance(parent, dict):
            name = rng.choice(("': 1, '", CANARY, '__class__', 'type', '_scope_', 'x' * 1000, last))
            parent[name] = parent.pop(last) if rng.random() < 0.5 else fresh(rng)
        elif kind == 3:
            source = content
            for key in rng.choice(found)[: rng.randrange(1, 4)]:
                source = (
                    source[key]
                    if not isinstance(source, str | int | float | None) and key in keys_of(source)
                    else source
                )
            parent[last] = json.loads(json.dumps(source))
        else:
            parent[last] = fresh(rng)
    text = json.dumps(content)
    return text.replace(f'"{DEEP}"', '[' * 100_000 + ']' * 100_000).encode('utf-8', 'surrogatepass')


def keys_of(value: Any) -> Any:
    """Return what a container may be indexed by."""
    return value.keys() if isinstance(value, dict) else range(len(value))


def damage_lines(data: bytes, rng: random.Random) -> bytes:
    """Damage a text file by lines, or as bytes."""
    if rng.random() < 0.4:
        return damage_bytes(data, rng)
    lines = data.decode().splitlines()
    line = rng.randrange(len(lines))
    new = (
        '',
        'x',
        '../../x 1',
        '/etc/passwd 0',
        'a b ' + '9' * 5000,
        'x -1',
        '\0 1',
        'y' * 5000 + ' 1',
        'images/0.png 1.5',
        '\u0661 \u0661',
    )
    lines[line] = rng.choice(new) if rng.random() < 0.7 else lines[line] * 2
    return '\n'.join(lines).encode()


def damage_archive(
    inner: Callable[[bytes, random.Random], bytes] = damage_bytes,
) -> Callable[[bytes, random.Random], bytes]:
    """Return a function that damages one member of a zip archive and packs it anew, or the archive as bytes."""

    def damage(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.4:
            return damage_bytes(data, rng)
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, 'w') as target:
            chosen = rng.choice(source.namelist())
            if rng.random() < 0.5:  # what says how the rest is read
                chosen = next((name for name in source.namelist() if name.endswith('data.pkl')), chosen)
            for name in source.namelist():
                content = source.read(name)
                if name == chosen:
                    if rng.random() < 0.03:
                        continue
                    content = inner(content, rng)
                target.writestr(name, content, zipfile.ZIP_DEFLATED if rng.random() < 0.05 else zipfile.ZIP_STORED)
        return out.getvalue()

    return damage


def damage_pickle(data: bytes, rng: random.Random) -> bytes:
    """Put a call into a pickle, or damage it as bytes."""
    if len(data) < 4 or rng.random() < 0.5:
        return damage_bytes(data, rng)
    place = 2 if rng.random() < 0.5 else rng.randrange(2, len(data))
    return data[:place] + rng.choice(CALLS).encode('latin1') + data[place:]


def damage_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Damage the header of a safetensors file by its structure, with a length that fits, or the file as bytes."""
    if rng.random() < 0.3:
        return damage_bytes(data, rng)
    size = int.from_bytes(data[:8], 'little')
    header = damage_json(data[8 : 8 + size], rng)
    length = len(header) if rng.random() < 0.9 else rng.choice((0, 1 << 40, 1 << 63, len(data)))
    return length.to_bytes(8, 'little') + header + data[8 + size :]
