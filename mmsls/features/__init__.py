"""From a model's forward pass to labelled features: recorder -> sampler -> bank."""

from mmsls.features.bank import FeatureBank
from mmsls.features.counts import Counts
from mmsls.features.image_sampler import ImageSampler
from mmsls.features.instance_sampler import InstanceSampler
from mmsls.features.keys import Key, order_hash
from mmsls.features.recorder import BlockTokens, FeatureRecorder
from mmsls.features.records import PassRecords, Record
from mmsls.features.region_sampler import RegionSampler
from mmsls.features.samplers import Sample, Sampler

__all__ = [
    'BlockTokens',
    'Counts',
    'FeatureBank',
    'FeatureRecorder',
    'ImageSampler',
    'InstanceSampler',
    'Key',
    'PassRecords',
    'Record',
    'RegionSampler',
    'Sample',
    'Sampler',
    'order_hash',
]
