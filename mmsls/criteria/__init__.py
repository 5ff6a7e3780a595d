"""Ways to say which blocks matter, SLS among them, all on the same recorded features and the same model."""

from mmsls.criteria.base import CRITERIA, Criterion, Evidence, FeatureCriterion, build_criterion, kept_blocks
from mmsls.criteria.influence import BlockInfluence, CKAInfluence
from mmsls.criteria.separation import SLS, LinearProbe, PlainSilhouette
from mmsls.criteria.simple import Magnitude, Random
from mmsls.criteria.taylor import Taylor

__all__ = [
    'CRITERIA',
    'SLS',
    'BlockInfluence',
    'CKAInfluence',
    'Criterion',
    'Evidence',
    'FeatureCriterion',
    'LinearProbe',
    'Magnitude',
    'PlainSilhouette',
    'Random',
    'Taylor',
    'build_criterion',
    'kept_blocks',
]
