from __future__ import annotations

import pytest
from mmengine.config import Config

from mmsls.vtab.dataset import VTAB1k
from mmsls.vtab.settings import for_epochs, for_machine, for_retraining, for_task

CONFIG = 'configs/cls/vtab/{}.py'


@pytest.fixture
def cfg(request):
    def run(name='deit-tiny_convpass'):
        return Config.fromfile(request.config.rootpath / CONFIG.format(name))

    return run


def test_a_task_sets_data_classes_and_adapter(cfg):
    given = cfg()
    made = for_task(given, 'svhn', 'elsewhere')
    for loader in (made.train_dataloader, made.test_dataloader):
        assert (loader.dataset.task, loader.dataset.data_root) == ('svhn', 'elsewhere')
    assert made.model.head.num_classes == 10
    assert (made.model.backbone.adapter.scale, made.model.backbone.adapter.xavier_init) == (100.0, True)
    assert given.train_dataloader.dataset.task == 'cifar'


def test_an_adapter_gets_its_own_facts(cfg):
    made = for_task(cfg('vit-b_repadapter'), 'caltech101')
    assert made.model.backbone.adapter == {'type': 'mmsls.RepAdapter', 'rank': 8, 'scale': 5.0}
    assert made.model.head.num_classes == 102
    assert made.test_dataloader.dataset.data_root == 'data/vtab-1k'


@pytest.mark.parametrize('name', ['deit-tiny_convpass', 'vit-b_repadapter'])
def test_a_task_of_ones_own_sets_data_and_classes_alone(cfg, name, tmp_path):
    (tmp_path / 'leaves').mkdir()
    (tmp_path / 'leaves' / 'train800val200.txt').write_text('oak.png 0\nash.png 1\nelm.png 2\n')
    given = cfg(name)
    made = for_task(given, 'leaves', str(tmp_path))
    assert made.model.head.num_classes == 3
    assert made.model.backbone.adapter == given.model.backbone.adapter
    assert made.train_dataloader.dataset.task == 'leaves'


def test_retraining_at_a_constant_rate(cfg):
    given = cfg()
    made = for_retraining(given, 1e-5)
    assert (made.optim_wrapper.optimizer.lr, made.param_scheduler) == (1e-5, [])
    assert (given.optim_wrapper.optimizer.lr, len(given.param_scheduler)) == (1e-3, 2)
    assert made.optim_wrapper.optimizer.weight_decay == 1e-4
    longer = for_retraining(given, epochs=200)
    assert longer.train_cfg.max_epochs == 200
    assert for_retraining(given).pretty_text == given.pretty_text  # it does not score anyway
    with pytest.raises(ValueError, match=r'retrain_lr must be above 0, got -1'):
        for_retraining(given, -1)


def test_an_unknown_task_is_refused(cfg):
    with pytest.raises(ValueError, match=r"task: no task is called 'sun39'.*'sun397'"):
        for_task(cfg(), 'sun39')


def test_a_config_of_other_data_is_refused(cfg):
    given = cfg()
    given.test_dataloader.dataset.type = 'ImageNet'
    with pytest.raises(ValueError, match=r"mmsls\.VTAB1k.*'ImageNet'"):
        for_task(given, 'svhn')


@pytest.mark.parametrize('written', [VTAB1k, 'VTAB1k', 'mmsls.VTAB1k', 'mmsls.vtab.dataset.VTAB1k'])
def test_the_data_sets_type_means_the_same_however_it_is_written(cfg, written):
    given = cfg()
    for loader in (given.train_dataloader, given.test_dataloader):
        loader.dataset.type = written
    assert for_task(given, 'svhn').test_dataloader.dataset.task == 'svhn'


@pytest.mark.parametrize(('epochs', 'warm_up'), [(100, 10), (200, 20), (20, 2), (5, 1), (2, 1)])
def test_the_schedule_is_stretched(cfg, epochs, warm_up):
    given = cfg()
    made = for_epochs(given, epochs)
    linear, cosine = made.param_scheduler
    assert made.train_cfg.max_epochs == epochs
    assert (linear.begin, linear.end) == (0, warm_up)
    assert (cosine.begin, cosine.end, cosine.T_max) == (warm_up, epochs, epochs - warm_up)
    assert given.train_cfg.max_epochs == 100


def test_schedulers_of_other_shapes_are_stretched_too(cfg):
    given = cfg()
    given.param_scheduler = [
        {'type': 'CosineAnnealingLR', 'T_max': 100},
        {'type': 'MultiStepLR', 'milestones': [60, 80]},
        {'type': 'LinearLR', 'by_epoch': False, 'begin': 0, 'end': 500},
    ]
    cosine, steps, iterations = for_epochs(given, 50).param_scheduler
    assert cosine == {'type': 'CosineAnnealingLR', 'T_max': 50}
    assert steps.milestones == [30, 40]
    assert iterations.end == 500


def test_one_epoch_is_possible_and_none_is_not(cfg):
    linear, cosine = for_epochs(cfg(), 1).param_scheduler
    assert (linear.begin, linear.end, cosine.begin, cosine.end) == (0, 1, 0, 1)
    with pytest.raises(ValueError, match='epochs'):
        for_epochs(cfg(), 0)


def test_loaders_of_a_small_machine(cfg):
    made = for_machine(cfg(), workers=0, batch_size=7)
    for loader in (made.train_dataloader, made.test_dataloader):
        assert (loader.num_workers, loader.persistent_workers, loader.batch_size) == (0, False, 7)
    assert for_machine(cfg()).train_dataloader == cfg().train_dataloader
