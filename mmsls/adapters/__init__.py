"""Adapters (PETL methods), one file per paper. Importing this package registers them all."""

from mmsls.adapters.base import Adapter, adapter_class, normalise_adapter_cfg
from mmsls.adapters.convpass import Convpass
from mmsls.adapters.repadapter import RepAdapter

__all__ = ['Adapter', 'Convpass', 'RepAdapter', 'adapter_class', 'normalise_adapter_cfg']
