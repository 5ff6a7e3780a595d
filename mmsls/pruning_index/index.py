"""The pruning index: the small JSON file that says how a backbone is pruned, and how that was decided."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmsls.files.reading import read_text
from mmsls.files.writing import write_text
from mmsls.pruning_index.choice import Choice
from mmsls.pruning_index.fields import checked, plain_dict
from mmsls.pruning_index.file import CHOSEN, PUBLISHED, SUBSET, check_criterion, from_text, to_text
from mmsls.pruning_index.foundation import FINGERPRINT, Foundation, fingerprinted
from mmsls.pruning_index.reading import read_decision
from mmsls.scoring.curve import BlockId, Curve
from mmsls.scoring.decision import Decision
from mmsls.scoring.doubts import decided, points_of
from mmsls.scoring.rule import Rule

OF_ONE_RULE = ('stability', 'together', 'asked_max_drop')
"""What the provenance says of one decision."""
WHOLE = 'whole'
"""What it says of a criterion that rates every stage on its own: the value of the whole model."""
OF_ONE_SCOPE = ('drop_errors',)
"""What it says of the blocks that are read together."""
LARGEST = 1 << 20
"""Bytes that an index file may have; one of a thousand blocks has a tenth of it."""
PARTS: dict[str, Collection[str]] = {
    'rule': Rule.options(),
    'decision': (*Decision.__dataclass_fields__, 'kept_blocks'),
    'foundation': ('adapter', 'base_sha256'),
}
"""What can be asked of an index directly, by the part that answers."""


@dataclass(frozen=True)
class PruningIndex:
    """A criterion's curve over a backbone's blocks, the rule that read it, and what it decided.

    Build one with `create` or `load`: they check every field. An index is not changed; `decide` returns a new one.
    Options of the rule (`alpha`, ...), parts of the decision (`kept_depths`, `thresholds`, ...), `adapter` and
    `base_sha256` can be asked of the index directly.

    Attributes:
        foundation: The scored model's: `type`, `embed_dims` and full `depths` of the backbone, `adapter` and
            `base_sha256`.
        criterion: What made the curve: its `type` and settings.
        curve: Its number for every `(stage, block)`.
        rule: The rule that read it.
        decision: What the rule decided, or what was chosen by hand.
        provenance: How the curve came about: sampler, data set, samples, seed, versions. Where the criterion judges
            sample by sample or image by image, `stability` says how sure the decision is, and `drop_errors` the
            standard error of what every block loses against the best one. `chance`: points that guessing reaches.
        extra: Fields of a newer minor version, kept as they are.
        chosen: How what is kept was chosen, where that was by hand or to reach a target (`mmsls decide`); None where
            the rule was set.
    """

    foundation: Foundation
    criterion: dict[str, Any]
    curve: Curve
    rule: Rule
    decision: Decision
    provenance: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)
    chosen: Choice | None = None

    @classmethod
    def create(
        cls,
        *,
        scores: Curve | Mapping[BlockId, float],
        backbone: Mapping[str, Any],
        adapter: Mapping[str, Any] | None = None,
        base_sha256: str | None = None,
        criterion: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        rule: Rule | None = None,
        **options: Any,
    ) -> PruningIndex:
        """Check the fields and decide the kept depths.

        Where a reference block does not separate the classes nothing is pruned, and `note` names the likely causes: log
            it.

        Args:
            scores: The curve; bare numbers are mean silhouettes.
            backbone: Fingerprint: `type`, `embed_dims` and the full `depths` of the backbone that was scored.
            adapter: Adapter config of the scored model, or None.
            base_sha256: SHA-256 of the base checkpoint (64 hexadecimal digits), or None.
            criterion: See the class; None for SLS as published.
            provenance: See the class.
            rule: The rule; by default the published one.
            **options: Options of the rule that differ.

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
        about = plain_dict('provenance', {} if provenance is None else provenance)
        curve = replace(scores if isinstance(scores, Curve) else Curve(scores), chance=points_of(about, 'chance'))
        rule = replace(rule or Rule(), **options)
        index = cls(
            foundation=replace(
                fingerprinted(backbone),
                adapter=checked('adapter', adapter),
                base_sha256=None if base_sha256 is None else checked('base_sha256', base_sha256),
            ),
            criterion=check_criterion(PUBLISHED if criterion is None else criterion),
            curve=curve,
            rule=rule,
            decision=decided(rule, curve, about),
            provenance=about,
        )
        if index.foundation.depths != curve.depths:
            raise ValueError(
                f'backbone.depths is {list(index.foundation.depths)}, but the scores are of {list(curve.depths)}; '
                'score every block of the full, unpruned backbone'
            )
        return index

    def __getattr__(self, name: str) -> Any:
        # Asked only for what the class lacks.
        for part, names in PARTS.items():
            if name in names:
                return getattr(getattr(self, part), name)
        raise AttributeError(f'{type(self).__name__} has no attribute {name!r}')

    @property
    def backbone(self) -> dict[str, Any]:
        """The fingerprint: `type`, `embed_dims` and the full `depths` of the backbone that was scored."""
        return self.foundation.as_dict(FINGERPRINT)

    @property
    def scores(self) -> Mapping[BlockId, float]:
        """The curve's number for every `(stage, block)`."""
        return self.curve.values

    def decide(self, **options: Any) -> PruningIndex:
        """Decide anew from the stored curve: no forward pass, no embedding.

        Args:
            **options: Those of `Rule` (`alpha`, `scope`, `min_depth`, `reference`, `max_drop`, or `keep` where that was
                decided by); what is absent or None stays as stored, but for a stored `max_drop`, which `alpha` or
                `reference` end.

        Returns:
            A new index; this one stays as it is. Without options it keeps the same, however that was chosen. Another
            rule loses what the provenance says of one rule alone (`OF_ONE_RULE`): that needs the samples, or the model.
            A `max_drop` that was lowered because the stages lost too much together stays lowered where the same is
            asked for again.

        Raises:
            ValueError: If an option does not exist or is out of its range, the curve is not in the unit of `max_drop`,
                or it rates single blocks and the option depths, or the other way round, or every stage on its own and
                the scope is `'model'`.
        """
        if all(value is None for value in options.values()):
            return self
        if options.get('max_drop') is not None and options['max_drop'] == self.provenance.get('asked_max_drop'):
            options = {**options, 'max_drop': self.rule.max_drop}
        return self.ruled(self.rule.but(**options))

    def ruled(self, rule: Rule, chosen: Choice | None = None) -> PruningIndex:
        """Decide anew by a rule.

        Args:
            rule: The rule.
            chosen: The target that it was set for; None: it was set for itself.

        Raises:
            ValueError: If the curve is not in the unit of `max_drop`, or rates every stage on its own and the scope is
                `'model'`.
        """
        if WHOLE in self.provenance:
            rule.check_stages(len(self.foundation.depths), self.criterion['type'])
        gone = (*(OF_ONE_RULE if rule != self.rule else ()), *(OF_ONE_SCOPE if rule.scope != self.scope else ()))
        same = {name: value for name, value in self.provenance.items() if name not in gone}
        return replace(self, rule=rule, decision=decided(rule, self.curve, same), provenance=same, chosen=chosen)

    def knowing(self, **about: Any) -> PruningIndex:
        """Return an index with more in its `provenance`, and a `note` that takes it into account."""
        known = plain_dict('provenance', {**self.provenance, **about})
        return replace(self, decision=decided(self.rule, self.curve, known), provenance=known)

    @property
    def told(self) -> str:
        """What decided, in words."""
        if self.chosen is None:
            return f'{self.rule.told}, scope {self.rule.scope}'
        return (
            self.chosen.told
            if self.chosen.by_hand
            else f'{self.rule.told}, scope {self.rule.scope}, {self.chosen.told}'
        )

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
        ours, model = self.backbone, fingerprinted(fingerprint).as_dict(FINGERPRINT)
        for name in FINGERPRINT:
            if ours[name] != model[name]:
                raise ValueError(
                    f'pruning index: backbone.{name} is {ours[name]!r} in the index but {model[name]!r} in '
                    'the model; pass the index that was made for this backbone, or score it anew (mmsls score)'
                )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index as JSON, one field a line; the file is there whole or not at all.

        Folders that are missing are made. Under distributed training, call it on rank 0 only.
        """
        write_text(self._to_text(), os.path.expanduser(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PruningIndex:
        """Read an index of this version or an older one, and check every field of it.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is cut short, of another format or a newer version, lacks a field or has an unknown
                one, or if a field is wrong or disagrees with another; the message names the file, the field and both
                values.
        """
        try:
            return cls._from_text(read_text(os.path.expanduser(path), LARGEST))
        except FileNotFoundError as error:
            hint = 'score the tuned model first (mmsls score), or set kept_depths instead'
            raise FileNotFoundError(f'pruning index {os.fspath(path)} does not exist; {hint}') from error
        except ValueError as error:
            said = str(error)  # with values, which may be as long as the file
            raise ValueError(f'pruning index {os.fspath(path)}: {said[:1000]}{"..." * (len(said) > 1000)}') from error

    def _to_text(self) -> str:
        told = {
            **self.foundation.as_dict(('adapter', 'base_sha256')),
            'backbone': self.backbone,
            'unit': self.curve.unit,
            'scores': self.curve.to_lists(),
            'rule': self.rule.as_dict(),
            **vars(self.decision),
            **({SUBSET: self.decision.subset} if self.decision.subset else {}),
        }
        known = {name: value for name, value in vars(self).items() if name != CHOSEN}
        return to_text({**known, **told, **({CHOSEN: self.chosen.as_dict()} if self.chosen else {})}, self.extra)

    @classmethod
    def _from_text(cls, text: str) -> PruningIndex:
        """Build an index from a file's text, and check that what it says was decided follows from its curve."""
        fields, extra = from_text(text)
        options = fields['rule']
        if not isinstance(options, dict) or set(options) - set(Rule.options()):
            raise ValueError(f'rule is {options!r}; it must hold options out of {", ".join(Rule.options())}')
        index = cls.create(
            scores=Curve.from_lists(fields['scores'], fields['unit']),
            rule=Rule(**options),
            **{name: fields[name] for name in ('backbone', 'adapter', 'base_sha256')},
            criterion=check_criterion(fields['criterion']),
            provenance=plain_dict('provenance', fields['provenance']),
        )
        decision, chosen = read_decision(fields, index.decision, index.curve.depths)
        return replace(index, decision=decision, chosen=chosen, extra=extra)
