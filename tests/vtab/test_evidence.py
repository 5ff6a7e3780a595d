"""What the comparisons look at, on a list that is sorted by class."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import pytest

from mmsls import runs
from mmsls.vtab.evidence import gather_evidence


@pytest.fixture
def sorted_cfg(vit_cfg, digits_root, tmp_path):
    folder = tmp_path / 'digits'
    shutil.copytree(Path(digits_root) / 'digits', folder)
    path = folder / 'train800val200.txt'
    path.write_text('\n'.join(sorted(path.read_text().split('\n')[:-1], key=lambda line: line[-1])) + '\n')
    cfg = vit_cfg(work_dir=str(tmp_path))
    cfg.train_dataloader.dataset.data_root = cfg.test_dataloader.dataset.data_root = str(tmp_path)
    cfg.train_dataloader.batch_size = 8
    return cfg


def test_the_first_batches_hold_many_classes(sorted_cfg, tmp_path):
    runs.train(sorted_cfg)
    checkpoint = (tmp_path / 'last_checkpoint').read_text()
    evidence = gather_evidence(sorted_cfg, checkpoint, seed=0)
    labels = [sample.gt_label.item() for batch in islice(evidence.batches, 2) for sample in batch['data_samples']]
    assert len(set(labels)) > 6
    assert evidence.labels.tolist() == sorted(evidence.labels.tolist())
    again = [sample.gt_label.item() for batch in islice(evidence.batches, 2) for sample in batch['data_samples']]
    assert again == labels
