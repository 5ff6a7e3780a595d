"""From a model's forward pass to labelled features: recorder -> sampler -> bank."""

from mmsls.features.bank import FeatureBank
from mmsls.features.image_sampler import ImageSampler
from mmsls.features.instance_sampler import InstanceSampler
from mmsls.features.keys import Key, dataset_order, normalise_path, order_hash
from mmsls.features.recorder import BlockTokens, FeatureRecorder
from mmsls.features.region_sampler import RegionSampler
from mmsls.features.samplers import Sample, Sampler

__all__ = [
    'BlockTokens',
    'FeatureBank',
    'FeatureRecorder',
    'ImageSampler',
    'InstanceSampler',
    'Key',
    'RegionSampler',
    'Sample',
    'Sampler',
    'dataset_order',
    'normalise_path',
    'order_hash',
]
