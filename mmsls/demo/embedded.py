"""What the demo's configs need, made on the spot: scenes and a base."""

from __future__ import annotations

from pathlib import Path

from mmengine.logging import MMLogger

from mmsls.demo.digit_scenes import make_digit_scenes
from mmsls.demo.nano_swin import pretrain_nano_swin

ROOT = Path('work_dirs/demo')
"""Where the demo's configs look for it."""


def make_embedded(root: Path = ROOT) -> None:
    """Draw the scenes and pre-train the base, unless they are there already.

    Args:
        root: Folder for both.
    """
    logger = MMLogger.get_instance('mmsls.demo')
    logger.info('digit scenes: %s', make_digit_scenes(root / 'data'))
    logger.info('nano Swin: accuracy %.1f %%', 100 * pretrain_nano_swin(root / 'nano_swin.pth'))
