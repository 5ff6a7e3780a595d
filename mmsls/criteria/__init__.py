"""Other ways to say which blocks matter, on the same recorded features and the same model: what SLS is compared with."""

from mmsls.criteria.base import CRITERIA, Criterion, Evidence, kept_blocks
from mmsls.criteria.influence import BlockInfluence, CKAInfluence
from mmsls.criteria.separation import LinearProbe, PlainSilhouette
from mmsls.criteria.simple import Magnitude, Random
from mmsls.criteria.taylor import Taylor

__all__ = [
    'CRITERIA',
    'BlockInfluence',
    'CKAInfluence',
    'Criterion',
    'Evidence',
    'LinearProbe',
    'Magnitude',
    'PlainSilhouette',
    'Random',
    'Taylor',
    'kept_blocks',
]
