"""Which other criteria a config asks for (`also`), and what is there without asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmsls.criteria import build_criterion
from mmsls.criteria.choosing import described, needs_of

BY_DEFAULT = ('probe', 'ncm')
"""Both in points, with standard errors, and a few per cent of what SLS takes on the same samples."""

Setting = str | type | Mapping[str, Any]


def settled_also(also: Any, criterion: Setting) -> tuple[Setting, ...]:
    """Return the criteria whose curves are left beside that of the run's own.

    Args:
        also: Names, classes or configs of criteria, or one of them; the run's own is left out of them. None: `probe`
            and `ncm`, where the run's own looks at features or tries the model (others are done in no time, and
            features would not be cheap there).
        criterion: The run's own.

    Raises:
        ValueError: If there is no such criterion, one is named twice or is the run's own with other settings, or it
            needs passes of its own.

    Example:
        >>> settled_also(None, 'sls'), settled_also(None, 'ncm'), settled_also('knn', 'sls')
        (('probe', 'ncm'), ('probe',), ('knn',))
        >>> settled_also(['ncm', 'NCM'], 'sls')
        Traceback (most recent call last):
        ...
        ValueError: also: NCM is named twice; each criterion has one curve and one file
    """
    own = build_criterion(criterion)
    if also is None:
        cheap = needs_of(own) in ('features', 'trial')
        return tuple(name for name in BY_DEFAULT if cheap and name_of(name) != type(own).__name__)
    given = (also,) if isinstance(also, str | type | Mapping) else also
    if not isinstance(given, Sequence):
        raise ValueError(f'also is {also!r}; it must be a list of criteria such as ["probe", "ncm"], empty for none')
    found: dict[str, Setting] = {}
    for one in given:
        name = name_of(one)
        if name.lower() in (other.lower() for other in found):
            raise ValueError(f'also: {name} is named twice; each criterion has one curve and one file')
        found[name] = one
    others = {name: one for name, one in found.items() if described(one) != described(criterion)}
    for name, one in others.items():
        if name.lower() == type(own).__name__.lower():
            raise ValueError(
                f'also: the run is scored by {name} with other settings; leave it out, or change criterion'
            )
        check_cheap(name, needs_of(build_criterion(one)))
    return tuple(others.values())


def name_of(criterion: Setting) -> str:
    """Return the name of a criterion, as its index records it.

    Raises:
        ValueError: If there is none of that name, or it does not take the arguments.
    """
    try:
        return str(described(criterion)['type'])
    except ValueError as error:
        raise ValueError(f'also: {str(error).removeprefix("criterion: ")}') from error


def check_cheap(name: str, needs: str) -> None:
    """Refuse a criterion that needs passes of its own.

    Raises:
        ValueError: Naming it.
    """
    if needs not in ('features', 'model'):
        raise ValueError(
            f'also: {name} makes passes of its own, so it comes in no other run; score by it alone: mmsls score CONFIG '
            f'CHECKPOINT --criterion {name.lower()} --out {name.lower()}.json, in the same folder: the report shows '
            'both'
        )
