"""What an index file says was decided, held against its curve and rule."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmsls.pruning_index.choice import Choice, check_fits
from mmsls.pruning_index.fields import checked
from mmsls.pruning_index.file import CHOSEN, SUBSET
from mmsls.scoring.decision import Decision


def read_decision(fields: Mapping[str, Any], ruled: Decision, depths: Sequence[int]) -> tuple[Decision, Choice | None]:
    """Return what a file says is kept, and how it was chosen, if not by whoever set the rule.

    It is what the rule gives, unless the file says that it was chosen by hand, or that the whole model was tried out
    and nothing less would do.

    Args:
        fields: Those of the file.
        ruled: What its rule gives for its curve.
        depths: Blocks of every stage at full depth.

    Raises:
        ValueError: Naming the field that is wrong or disagrees, and both values.
    """
    note, choice = fields['note'], Choice.of(fields[CHOSEN]) if CHOSEN in fields else None
    if not (note is None or isinstance(note, str)):
        raise ValueError(f'note is {note!r}; it must be a text or null')
    if choice is not None and (choice.by_hand or (choice.by == 'verify' and fields['kept_depths'] == list(depths))):
        if SUBSET in fields:
            raise ValueError(f'{SUBSET} is {repr(fields[SUBSET])[:200]}, but chosen.by is {choice.by!r}; leave it out')
        return set_aside(check_fits(checked('kept_depths', fields['kept_depths']), depths), note), choice
    for name, value in {'kept_depths': ruled.kept_depths, SUBSET: ruled.subset or None}.items():
        stored, found = json.dumps(fields.get(name)), json.dumps(value)
        if stored != found:
            raise ValueError(
                f'{name} is {stored}, but the rule gives {found} for the stored scores and options; an index is not '
                f'edited by hand: choose with mmsls decide, call decide() with other options, or set {name} in the '
                'config'
            )
    return Decision(**{**vars(ruled), 'note': note}), choice


def set_aside(kept_depths: tuple[int, ...], note: str | None = None) -> Decision:
    """Return a decision that sets the rule aside."""
    return Decision(kept_depths=kept_depths, thresholds=(), borderline=(), note=note)
