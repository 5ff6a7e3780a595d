"""mmsls: adapters and layer-wise pruning (SLS) for MMDetection, MMSegmentation and MMPretrain."""

__version__ = '0.1.0'
