"""From a model's forward pass to labelled features: recorder -> sampler -> bank."""

from mmsls.features.bank import FeatureBank
from mmsls.features.keys import Key, dataset_order, normalise_path, order_hash
from mmsls.features.recorder import BlockTokens, FeatureRecorder
from mmsls.features.samplers import InstanceSampler, Sample, Sampler

__all__ = [
    'BlockTokens',
    'FeatureBank',
    'FeatureRecorder',
    'InstanceSampler',
    'Key',
    'Sample',
    'Sampler',
    'dataset_order',
    'normalise_path',
    'order_hash',
]
