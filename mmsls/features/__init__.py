"""From a model's forward pass to labelled features: recorder -> sampler -> bank."""

from mmsls.features.bank import FeatureBank
from mmsls.features.image_sampler import ImageSampler
from mmsls.features.instance_sampler import InstanceSampler
from mmsls.features.keys import order_hash
from mmsls.features.recorder import BlockTokens, FeatureRecorder
from mmsls.features.records import Record
from mmsls.features.region_sampler import RegionSampler
from mmsls.features.samplers import Sample

__all__ = [
    'BlockTokens',
    'FeatureBank',
    'FeatureRecorder',
    'ImageSampler',
    'InstanceSampler',
    'Record',
    'RegionSampler',
    'Sample',
    'order_hash',
]
