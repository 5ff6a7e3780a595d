"""mmsls: adapters and layer-wise pruning (SLS) for MMDetection, MMSegmentation and MMPretrain."""

from mmsls._moved import install as _install

__version__ = '0.1.0'

_install()
