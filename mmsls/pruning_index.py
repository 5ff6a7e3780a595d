"""The pruning index: the small JSON file that says how a backbone is pruned, and how that was decided."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from mmsls.files.reading import parse_json, read_text
from mmsls.files.writing import write_text
from mmsls.scoring.rule import BlockId, check_options, check_scores, decide, stage_depths

FORMAT = 'mmsls-pruning-index'
VERSION = 1
LARGEST = 1 << 20
"""Bytes that an index may have; one of a thousand blocks has a tenth of it."""
FINGERPRINT = ('type', 'embed_dims', 'depths')


@dataclass(frozen=True)
class PruningIndex:
    """The scores of a backbone's blocks, the options of the rule, and what the rule decided from them.

    Build one with `create` or `load`: they check every field. An index is not changed; `decide` returns a new one.

    Attributes:
        backbone: Fingerprint: `type`, `embed_dims` and the full `depths` of the backbone that was scored.
        adapter: Adapter config of the scored model, or None.
        base_sha256: SHA-256 of the base checkpoint (64 hexadecimal digits), or None.
        scores: Score in [-1, 1] of every `(stage, block)`.
        alpha: Share of the reference score that makes the threshold, in (0, 1].
        scope: `'model'` or `'stage'`.
        min_depth: Fewest blocks kept in every stage.
        reference: `'top'` or `'peak'`.
        thresholds: One per stage in scope `'stage'`, a single one in scope `'model'`; None where nothing was pruned for
            want of a positive reference score.
        kept_depths: Blocks kept in every stage.
        borderline: Blocks within 0.05 of their threshold: another sample or machine may decide otherwise there.
        note: Why nothing was pruned, or None.
        provenance: How the scores came about: sampler, data set, samples, seed, versions.
    """

    backbone: dict[str, Any]
    adapter: dict[str, Any] | None
    base_sha256: str | None
    scores: dict[BlockId, float]
    alpha: float
    scope: str
    min_depth: int
    reference: str
    thresholds: tuple[float | None, ...]
    kept_depths: tuple[int, ...]
    borderline: tuple[BlockId, ...]
    note: str | None
    provenance: dict[str, Any]

    @classmethod
    def create(
        cls,
        *,
        scores: Mapping[BlockId, float],
        backbone: Mapping[str, Any],
        adapter: Mapping[str, Any] | None = None,
        base_sha256: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        alpha: float = 0.3,
        scope: str = 'model',
        min_depth: int = 0,
        reference: str = 'top',
    ) -> PruningIndex:
        """Check the fields and decide the kept depths from the scores (see `mmsls.scoring.choose_depths`).

        Where a reference block does not separate the classes nothing is pruned, and `note` names the likely causes: log it.

        Raises:
            ValueError: If a field is wrong; the message names it and the values.

        Example:
            >>> vit = dict(type='PrunedVisionTransformer', embed_dims=192, depths=(4,))
            >>> scores = {(0, 0): 0.0, (0, 1): 0.1, (0, 2): 0.3, (0, 3): 0.4}
            >>> index = PruningIndex.create(scores=scores, backbone=vit)
            >>> index.kept_depths, index.decide(alpha=0.5).kept_depths
            ((3,), (3,))
            >>> index.decide(alpha=0.2, min_depth=4).kept_depths
            (4,)
        """
        table = check_scores(scores)
        decision = decide(table, alpha=alpha, scope=scope, min_depth=min_depth, reference=reference)
        index = cls(
            backbone=_check_fingerprint(backbone),
            adapter=None if adapter is None else _plain_dict('adapter', adapter),
            base_sha256=_check_sha256(base_sha256),
            scores=table,
            alpha=float(alpha),
            scope=scope,
            min_depth=int(min_depth),
            reference=reference,
            provenance=_plain_dict('provenance', {} if provenance is None else provenance),
            **vars(decision),
        )
        if index.backbone['depths'] != list(stage_depths(table)):
            raise ValueError(
                f'backbone.depths is {index.backbone["depths"]}, but the scores are of {list(stage_depths(table))}; '
                'score every block of the full, unpruned backbone'
            )
        return index

    def decide(
        self,
        alpha: float | None = None,
        scope: str | None = None,
        min_depth: int | None = None,
        reference: str | None = None,
    ) -> PruningIndex:
        """Decide anew from the stored scores: no forward pass, no embedding.

        Args:
            alpha: As in `mmsls.scoring.choose_depths`; None as stored, as for every other argument.
            scope: As in `choose_depths`.
            min_depth: As in `choose_depths`.
            reference: As in `choose_depths`.

        Returns:
            A new index; this one stays as it is.

        Raises:
            ValueError: If an argument is out of its range.
        """
        stored = {'alpha': self.alpha, 'scope': self.scope, 'min_depth': self.min_depth, 'reference': self.reference}
        given = {'alpha': alpha, 'scope': scope, 'min_depth': min_depth, 'reference': reference}
        options: dict[str, Any] = stored | {key: value for key, value in given.items() if value is not None}
        check_options(**options)
        options |= {'alpha': float(options['alpha']), 'min_depth': int(options['min_depth'])}  # numpy's are not JSON
        decision = decide(self.scores, **options)
        return replace(self, **options, **vars(decision))

    def check_backbone(self, fingerprint: Mapping[str, Any]) -> None:
        """Raise a ValueError if this index was made for another backbone.

        Args:
            fingerprint: `type`, `embed_dims` and full `depths` of the backbone that is to be pruned.

        Raises:
            ValueError: With the first field that differs and both values.

        Example:
            >>> vit = dict(type='PrunedVisionTransformer', embed_dims=192, depths=(2,))
            >>> index = PruningIndex.create(scores={(0, 0): 0.1, (0, 1): 0.4}, backbone=vit)
            >>> index.check_backbone(dict(vit, embed_dims=768))
            Traceback (most recent call last):
            ...
            ValueError: pruning index: backbone.embed_dims is 192 in the index but 768 in the model; ...
        """
        model = _check_fingerprint(fingerprint)
        for field in FINGERPRINT:
            if self.backbone[field] != model[field]:
                raise ValueError(
                    f'pruning index: backbone.{field} is {self.backbone[field]!r} in the index but {model[field]!r} in '
                    'the model; pass the index that was made for this backbone, or score it anew (tools/score.py)'
                )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index as JSON, one field a line; the file is there whole or not at all.

        Folders that are missing are made. Under distributed training, call it on rank 0 only.
        """
        write_text(self._to_json(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PruningIndex:
        """Read an index and check every field of it.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is cut short, of another format or version, lacks a field or has an unknown one, or
                if a field is wrong or disagrees with another; the message names the file, the field and both values.
        """
        try:
            return _from_fields(_parse(read_text(path, LARGEST)))
        except FileNotFoundError as error:
            hint = 'score the tuned model first (tools/score.py), or set kept_depths instead'
            raise FileNotFoundError(f'pruning index {os.fspath(path)} does not exist; {hint}') from error
        except ValueError as error:
            raise ValueError(f'pruning index {os.fspath(path)}: {error}') from error

    def _to_json(self) -> str:
        """Return the file's text: one line a field, so that people and `diff` can read it."""
        fields = {'format': FORMAT, 'version': VERSION} | {key: getattr(self, key) for key in _FIELDS}
        fields['scores'] = [
            [self.scores[stage, block] for block in range(depth)]
            for stage, depth in enumerate(stage_depths(self.scores))
        ]
        lines = (f'{json.dumps(key)}: {json.dumps(value, allow_nan=False)}' for key, value in fields.items())
        return '{\n' + ',\n'.join(lines) + '\n}\n'


_FIELDS = tuple(PruningIndex.__dataclass_fields__)


def _parse(text: str) -> dict[str, Any]:
    """Parse the text and check that it has the format, the version and exactly the fields of this release."""
    try:
        fields = parse_json(text)
    except ValueError as error:
        raise ValueError(f'{error}; copy it again, or score the model anew') from error
    if not isinstance(fields, dict):
        raise ValueError(f'holds a {type(fields).__name__}, not an object with fields; it is no pruning index')
    for field, known in (('format', FORMAT), ('version', VERSION)):
        found = fields.pop(field, None)
        if type(found) is not type(known) or found != known:
            raise ValueError(f'{field} is {found!r}, but this release of mmsls reads {known!r}; score the model anew')
    for what, names in (
        ('lacks the field', set(_FIELDS) - set(fields)),
        ('has the unknown field', set(fields) - set(_FIELDS)),
    ):
        if names:
            raise ValueError(f'{what} {min(names)!r}; version {VERSION} has exactly the fields {", ".join(_FIELDS)}')
    return fields


def _from_fields(fields: dict[str, Any]) -> PruningIndex:
    """Build an index from the parsed fields, and check that what it says was decided follows from its scores."""
    options = {key: fields[key] for key in ('alpha', 'scope', 'min_depth', 'reference')}
    index = PruningIndex.create(
        scores=_scores_from_lists(fields['scores']),
        **{key: fields[key] for key in ('backbone', 'adapter', 'base_sha256')},
        provenance=_plain_dict('provenance', fields['provenance']),
        **options,
    )
    if not (fields['note'] is None or isinstance(fields['note'], str)):
        raise ValueError(f'note is {fields["note"]!r}; it must be a text or null')
    for field in ('kept_depths', 'thresholds', 'borderline'):
        stored, ruled = json.dumps(fields[field]), json.dumps(getattr(index, field))
        if stored != ruled:
            raise ValueError(
                f'{field} is {stored}, but the rule gives {ruled} for the stored scores and options; an index is not '
                'edited by hand: call decide() with other options, or set kept_depths in the config'
            )
    return replace(index, note=fields['note'])


def _scores_from_lists(stages: Any) -> dict[BlockId, Any]:
    """Turn the file's list of scores per stage into a table; the numbers themselves are checked later."""
    if not (isinstance(stages, list) and stages and all(isinstance(blocks, list) and blocks for blocks in stages)):
        raise ValueError(f'scores is {stages!r}; it must be a list of scores for every stage, like [[0.1, 0.3]]')
    return {(stage, block): score for stage, blocks in enumerate(stages) for block, score in enumerate(blocks)}


def _check_fingerprint(fingerprint: Any) -> dict[str, Any]:
    """Return the fingerprint of a backbone as plain JSON values."""
    if not isinstance(fingerprint, Mapping) or set(fingerprint) != set(FINGERPRINT):
        raise ValueError(f'backbone is {fingerprint!r}; it must have exactly the fields {", ".join(FINGERPRINT)}')
    kind, width, depths = (fingerprint[field] for field in FINGERPRINT)
    if not (isinstance(kind, str) and kind):
        raise ValueError(f'backbone.type is {kind!r}; it must be the name of a registered backbone')
    if not _is_count(width):
        raise ValueError(f'backbone.embed_dims is {width!r}; it must be a whole number of at least 1')
    if not (isinstance(depths, list | tuple) and depths and all(map(_is_count, depths))):
        raise ValueError(f'backbone.depths is {depths!r}; it must be a list of whole numbers of at least 1')
    return {'type': kind, 'embed_dims': int(width), 'depths': [int(depth) for depth in depths]}


def _check_sha256(digest: Any) -> str | None:
    """Return the digest, or raise a ValueError if it is neither None nor 64 hexadecimal digits."""
    if digest is not None and not (isinstance(digest, str) and re.fullmatch('[0-9a-f]{64}', digest)):
        raise ValueError(f'base_sha256 is {digest!r}; it must be 64 lower-case hexadecimal digits or null')
    return digest


def _plain_dict(field: str, value: Any) -> dict[str, Any]:
    """Return a config as plain JSON values: tuples turn into lists, numpy's numbers into Python's."""
    if not isinstance(value, Mapping):
        raise ValueError(f'{field} is {value!r}; it must be a mapping of names to plain values')
    try:
        return json.loads(json.dumps(dict(value), allow_nan=False, default=lambda number: number.item()))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f'{field} is {value!r}, which JSON cannot hold ({error}); use plain finite values') from error


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
