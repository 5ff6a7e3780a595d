"""Ways to say which blocks matter, SLS among them, all on the same recorded features and the same model."""

from mmsls.criteria.base import CRITERIA, AccuracyCriterion, Criterion, Evidence, FeatureCriterion
from mmsls.criteria.bridged import Bridged
from mmsls.criteria.choosing import build_criterion, kept_blocks
from mmsls.criteria.influence import BlockInfluence, CKAInfluence
from mmsls.criteria.probe import KNN, NCM, Probe
from mmsls.criteria.separation import SLS, LinearProbe, PlainSilhouette
from mmsls.criteria.simple import Magnitude, Random
from mmsls.criteria.taylor import Taylor
from mmsls.criteria.transferability import HScore, LogME

__all__ = [
    'CRITERIA',
    'KNN',
    'NCM',
    'SLS',
    'AccuracyCriterion',
    'BlockInfluence',
    'Bridged',
    'CKAInfluence',
    'Criterion',
    'Evidence',
    'FeatureCriterion',
    'HScore',
    'LinearProbe',
    'LogME',
    'Magnitude',
    'PlainSilhouette',
    'Probe',
    'Random',
    'Taylor',
    'build_criterion',
    'kept_blocks',
]
