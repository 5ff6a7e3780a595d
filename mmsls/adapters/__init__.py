"""Adapters (PETL methods), one file per paper. Importing this package registers them all."""

from mmsls.adapters.adaptformer import AdaptFormer
from mmsls.adapters.base import Adapter, adapter_class, normalise_adapter_cfg
from mmsls.adapters.bottleneck import Bottleneck
from mmsls.adapters.convpass import Convpass
from mmsls.adapters.lora import LoRA
from mmsls.adapters.mona import Mona
from mmsls.adapters.repadapter import RepAdapter
from mmsls.adapters.selections import BitFit, HeadOnly, NormTuning, Selection
from mmsls.adapters.ssf import SSF

__all__ = [
    'SSF',
    'AdaptFormer',
    'Adapter',
    'BitFit',
    'Bottleneck',
    'Convpass',
    'HeadOnly',
    'LoRA',
    'Mona',
    'NormTuning',
    'RepAdapter',
    'Selection',
    'adapter_class',
    'normalise_adapter_cfg',
]
