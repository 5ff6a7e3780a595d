"""What the comparisons look at, on a list that is sorted by class."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from mmsls import runs
from mmsls.criteria import Taylor
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


def test_criteria_see_the_same_in_two_processes(sorted_cfg, tmp_path, two_gloo_processes):
    """Taylor took the gradients of the first process's share of the images."""
    runs.train(sorted_cfg)
    checkpoint = (tmp_path / 'last_checkpoint').read_text()
    sorted_cfg.dump(tmp_path / 'config.py')
    evidence = gather_evidence(sorted_cfg, checkpoint, seed=3)
    taylor = Taylor(batches=2)(evidence)
    two_gloo_processes('criteria', str(tmp_path / 'config.py'), checkpoint, str(tmp_path))
    for rank in range(2):
        theirs = torch.load(tmp_path / f'rank{rank}.pth', weights_only=False)
        assert theirs['labels'].tolist() == evidence.labels.tolist()
        assert theirs['taylor'] == taylor
        for block, rows in evidence.features.items():
            # Batches of other images differ in the last bits.
            np.testing.assert_allclose(theirs['features'][block], rows, rtol=1e-4, atol=1e-5)
