"""What a config's settings of scoring mean: the arguments of `BlockScorer`, and the criterion that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmsls.criteria import SLS, build_criterion
from mmsls.features.also_settings import settled_also
from mmsls.features.tasks import sampler_class, sampler_for_scope
from mmsls.parallel.ranks import jobs_here
from mmsls.scoring.embedding import check_perplexity
from mmsls.scoring.overriding import overridden
from mmsls.scoring.rule import Rule


def scorer_options(
    settings: Mapping[str, Any], default_scope: str | None, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Settle the arguments of `BlockScorer`: what is set nowhere follows the host's task.

    Args:
        settings: Arguments of an `SLSHook`; those of the hook alone are left out.
        default_scope: The host's scope, which names the task.
        overrides: What wins over the settings unless None.

    Raises:
        ValueError: If an option of the rule is out of its range, or does not fit the criterion.
    """
    options = {key: value for key, value in settings.items() if key not in ('interval', 'out_file')}
    options = overridden(options, overrides or {})
    sampler = options.get('sampler') or sampler_for_scope(default_scope)
    rest = {key: value for key, value in options.items() if value is not None and key not in Rule.options()}
    criterion = build_criterion(rest.get('criterion', 'sls'))
    of_task = getattr(sampler_class(sampler), 'default_scope', 'stage')
    rule = Rule.of(options, scope=getattr(criterion, 'default_scope', of_task))
    check_reads(rule, criterion)
    also = settled_also(options.get('also'), rest.get('criterion', 'sls'))
    return {**rest, 'sampler': sampler, 'rule': rule, 'also': also}


def check_reads(rule: Rule, criterion: Any) -> None:
    """Refuse a rule that cannot read a criterion's curve.

    Raises:
        ValueError: If they rate depths and single blocks, or not in the unit of `max_drop`.
    """
    rule.check_kind(criterion.kind, type(criterion).__name__)
    rule.check_unit(criterion.unit)


def settled_criterion(criterion: str | type | Mapping[str, Any], perplexity: float, n_jobs: int | None) -> Any:
    """Build a criterion; SLS takes the settings of t-SNE where its own config names none.

    Raises:
        ValueError: If there is none of that name, or a setting is out of range.
    """
    check_perplexity(perplexity)
    built = build_criterion(criterion)
    if isinstance(built, SLS):
        named = criterion if isinstance(criterion, Mapping) else {}
        built.perplexity = named.get('perplexity', perplexity)
        built.n_jobs = jobs_here(named.get('n_jobs', n_jobs))
        check_perplexity(built.perplexity)
    return built
