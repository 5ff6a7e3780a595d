"""mmsls: adapters and layer-wise pruning (SLS) for MMDetection, MMSegmentation and MMPretrain."""

from mmsls import _config_names, _moved

__version__ = '0.1.0'

_moved.install()
_config_names.install()
