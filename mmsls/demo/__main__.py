"""Make what the demo's configs need: `python -m mmsls.demo` draws the scenes and pre-trains the base, once."""

from __future__ import annotations

from pathlib import Path

from mmengine.logging import MMLogger

from mmsls.demo.digit_scenes import make_digit_scenes
from mmsls.demo.nano_swin import pretrain_nano_swin

ROOT = Path('work_dirs/demo')

if __name__ == '__main__':
    logger = MMLogger.get_instance('mmsls.demo')
    logger.info('digit scenes: %s', make_digit_scenes(ROOT / 'data'))
    logger.info('nano Swin: accuracy %.1f %%', 100 * pretrain_nano_swin(ROOT / 'nano_swin.pth'))
