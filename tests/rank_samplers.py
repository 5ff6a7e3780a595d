"""Samplers that do something else in the second process; `ddp_worker.py` finds them beside itself."""

import os

from mmengine.dist import get_rank

from mmsls.features import InstanceSampler


class WordlessError(Exception):
    """Cannot travel to another process: it demands two arguments."""

    def __init__(self, what, where):
        super().__init__(f'{what} in {where}')


class FailsOnRankOne(InstanceSampler):
    """Has a bug that only one process meets."""

    name = 'FailsOnRankOne'

    def __call__(self, *arguments):
        if get_rank() == 1:
            raise WordlessError('a bug', 'the second process')
        return super().__call__(*arguments)


class DiesOnRankOne(InstanceSampler):
    """Takes its process down without a word, as the system does when memory runs out."""

    name = 'DiesOnRankOne'

    def __call__(self, *arguments):
        if get_rank() == 1:
            os._exit(7)
        return super().__call__(*arguments)
