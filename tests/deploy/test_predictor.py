"""Many images with a task folder: what comes out is what the toolbox's own inference function gives."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from mmsls import runs
from mmsls.checkpoint import slim
from mmsls.commands.predict import main
from mmsls.deploy.image_folder import images_in, predict_folder
from mmsls.deploy.predictor import TaskPredictor
from mmsls.deploy.rows import row_of
from mmsls.deploy.task_folder import pack
from mmsls.deploy.task_models import with_imports

CLASSES = tuple('0123456789')


@pytest.fixture(scope='module')
def tasks(tmp_path_factory, detector_cfg, segmentor_cfg, randomise):
    """Folders of a detector and a segmentor, random weights."""
    out = {}
    for name, make in (('boxes', detector_cfg), ('pixels', segmentor_cfg)):
        folder = tmp_path_factory.mktemp(name)
        cfg = make(folder, backbone={'kept_depths': (2, 1, 2, 1)})
        model = randomise(runs.build_model(with_imports(cfg)), only_trainable=True)
        meta = {'dataset_meta': {'classes': CLASSES + (('background',) if name == 'pixels' else ())}}
        checkpoint = {'meta': meta, 'state_dict': dict(model.state_dict())}
        slim(model, checkpoint)
        torch.save(checkpoint, folder / 'slim.pth')
        out[name] = pack(cfg, folder / 'slim.pth', folder / 'task').folder
    return out


@pytest.fixture(scope='module')
def detector(tasks):
    return TaskPredictor(tasks['boxes'], device='cpu', min_score=0.0)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Five images in two folders, of two sizes, one of which is none."""
    folder = tmp_path_factory.mktemp('images')
    (folder / 'more').mkdir()
    generator = np.random.default_rng(0)
    for name, size in {'a.png': (64, 96), 'b.png': (96, 64), 'more/a.PNG': (64, 96), 'more/b.png': (64, 96)}.items():
        Image.fromarray(generator.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / name, 'PNG')
    (folder / 'broken.jpg').write_bytes(b'no image')
    (folder / 'notes.txt').write_text('no image either')
    return folder


def test_boxes_are_those_of_the_toolbox(detector, folder):
    from mmdet.apis import inference_detector

    paths = [str(folder / name) for name in ('a.png', 'b.png', 'more/b.png')]
    columns = detector({'path': paths, 'taken': [1, 2, 3]})
    assert (columns['path'], columns['taken'], columns['error']) == (paths, [1, 2, 3], [None] * 3)
    for number, path in enumerate(paths):
        found = inference_detector(detector.model, path).pred_instances
        assert np.allclose(columns['boxes'][number], found.bboxes.numpy(), atol=1e-3)
        assert columns['labels'][number] == [CLASSES[label] for label in found.labels]


def test_an_image_may_come_as_file_as_bytes_or_in_memory(detector, folder):
    paths = [folder / 'a.png', folder / 'b.png']
    expected = detector({'path': [str(path) for path in paths]})
    arrays = np.empty(2, object)  # as Ray Data gives images of several sizes
    arrays[:] = [np.asarray(Image.open(path)) for path in paths]
    for batch in ({'bytes': [path.read_bytes() for path in paths]}, {'image': arrays}):
        given = detector({**batch, 'id': [0, 1]})
        assert given['boxes'] == expected['boxes']
        assert set(given) == {'id', 'boxes', 'scores', 'labels', 'error'}


def test_boxes_below_the_score_are_left_out(tasks, detector, folder):
    path = str(folder / 'a.png')
    scores = detector({'path': [path]})['scores'][0]
    middle = sorted(scores)[len(scores) // 2]
    some = TaskPredictor(tasks['boxes'], device='cpu', min_score=middle)({'path': [path]})['scores'][0]
    assert some == [score for score in scores if score >= middle]


def test_what_is_no_image_costs_its_own_row_alone(detector, folder):
    columns = detector({'path': [str(folder / name) for name in ('broken.jpg', 'a.png', 'gone.png')]})
    assert [error is None for error in columns['error']] == [False, True, False]
    assert [boxes is None for boxes in columns['boxes']] == [True, False, True]
    assert 'FileNotFoundError' in columns['error'][2]
    assert 'uint8' in detector({'image': [np.zeros((4, 4, 3))]})['error'][0]
    assert detector({'bytes': [b'none']})['error'][0]


def test_a_batch_without_images_is_refused(detector):
    with pytest.raises(ValueError, match="columns \\['name'\\], none of which is one of image, bytes, path"):
        detector({'name': ['a']})


def test_a_batch_of_no_images_is_refused_before_anything_is_written(detector, folder, tmp_path):
    with pytest.raises(ValueError, match='batch_size is 0; it must be at least 1'):
        predict_folder(detector, folder, tmp_path / 'out', batch_size=0)
    assert not (tmp_path / 'out').exists()


def test_the_command_writes_a_line_for_each_image_and_a_map(tasks, folder, tmp_path, capsys):
    from mmseg.apis import inference_model

    with pytest.raises(SystemExit) as ended:
        main([str(tasks['pixels']), str(folder), str(tmp_path / 'out'), '--device', 'cpu', '--batch-size', '2'])
    assert ended.value.code == 1  # of broken.jpg
    assert 'predictions.jsonl: 5 images, 1 of them could not be read' in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / 'out/predictions.jsonl').read_text().splitlines()]
    assert [row['path'] for row in rows] == ['a.png', 'b.png', 'broken.jpg', 'more/a.PNG', 'more/b.png']
    model = TaskPredictor(tasks['pixels'], device='cpu').model
    for row in rows:
        if row['error'] is None:
            found = inference_model(model, str(folder / row['path'])).pred_sem_seg.data[0].numpy()
            assert np.array_equal(np.asarray(Image.open(tmp_path / 'out' / row['map'])), found)
            assert sum(row['shares'].values()) == pytest.approx(1)
            assert set(row['shares']) == {*CLASSES, 'background'}


def test_parts_make_the_whole_and_nothing_is_replaced(tasks, folder, tmp_path):
    parts = [images_in(folder, (number, 3)) for number in (1, 2, 3)]
    assert sorted(path for some in parts for path in some) == images_in(folder)
    (tmp_path / 'out').mkdir()
    with pytest.raises(SystemExit, match='exists; name a new folder'):
        main([str(tasks['boxes']), str(folder), str(tmp_path / 'out')])


@pytest.mark.parametrize(
    ('where', 'part', 'message'),
    [('nowhere', (1, 1), 'no folder at'), ('.', (4, 3), 'numbered from 1 to 3'), ('empty', (1, 1), 'holds no file')],
)
def test_a_folder_without_images_is_refused(tmp_path, where, part, message):
    (tmp_path / 'empty').mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        images_in(tmp_path / where, part)


def test_a_classifier_gives_a_label_and_masks_are_run_lengths():
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData
    from mmpretrain.structures import DataSample
    from pycocotools.mask import decode

    sample = DataSample().set_pred_score(torch.tensor([0.1, 0.7, 0.2]))
    assert row_of(sample, ('cat', 'dog'), 0.3) == {'label': 'dog', 'score': pytest.approx(0.7)}
    mask = torch.rand(1, 5, 7) > 0.5
    found = InstanceData(bboxes=torch.rand(1, 4), scores=torch.ones(1), labels=torch.zeros(1).long(), masks=mask)
    row = row_of(DetDataSample(pred_instances=found), ('cat',), 0.3)
    assert np.array_equal(decode(row['masks'][0]), mask[0])
    with pytest.raises(ValueError, match='a prediction holds nothing'):
        row_of(DataSample(), (), 0.3)


def test_bytes_of_a_map_are_a_png(tasks, folder):
    row = TaskPredictor(tasks['pixels'], device='cpu')({'path': [str(folder / 'a.png')]})
    assert Image.open(io.BytesIO(row['map'][0])).size == (96, 64)
