# %% [markdown]
# # Prune your own detector in 15 minutes
#
# From pictures with boxes to a detector that is smaller and as good: tune adapters on a frozen backbone, see which blocks matter, cut the others away, bridge the gap, and keep a task of less than a megabyte.
# It runs as it is on scenes of handwritten digits, which it draws itself; set `DATA` and it runs on yours. Every cell can be run again: what is done is not done twice.
#
# Run it from the root of the repository, in a notebook that reads percent scripts (VS Code, Spyder, Jupyter with jupytext) or as a plain script: `python docs/tutorials/detector.py`.

# %% [markdown]
# ## Your data
#
# A folder in COCO's style: `annotations/train.json`, `val.json` and `test.json`, and the images in `train/`, `val/` and `test/`. Blocks are judged on `val`; what is reported comes from `test`, which decides nothing.

# %%
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt

DATA = os.environ.get('TUTORIAL_DATA', '')  # 'data/cells', say; '' draws digit scenes
SHORT = os.environ.get('TUTORIAL') == 'short'  # minutes become seconds, and the results mean nothing: for the tests
WORK = Path('work_dirs/tutorial_detector')
MAX_DROP = 1.0 if DATA else 10.0  # points of mAP that the cut may cost before anything is retrained
KEEP = (2, 1, 2, 1) if SHORT else None  # blocks of each stage by hand, whatever the curve says

# %%
from mmsls.demo.digit_scenes import SceneSettings, make_digit_scenes
from mmsls.demo.nano_swin import PretrainSettings, pretrain_nano_swin

if not DATA:
    images = {'train': 16, 'val': 16, 'test': 4} if SHORT else {'train': 400, 'val': 400, 'test': 150}
    data = make_digit_scenes(WORK / 'scenes', SceneSettings(num_images=images))
    base = WORK / 'nano_swin.pth'
    accuracy = pretrain_nano_swin(base, PretrainSettings(max_steps=2 if SHORT else None))
    print(f'a nano Swin that tells {accuracy:.0%} of unseen digits apart: the frozen base')
else:
    data = Path(DATA)


def annotations(split):
    """Return a split's images, its boxes by image, and the class names by category."""
    coco = json.loads((data / f'annotations/{split}.json').read_text())
    boxes = {image['id']: [] for image in coco['images']}
    for box in coco['annotations']:
        boxes[box['image_id']].append(box)
    return coco['images'], boxes, {category['id']: category['name'] for category in coco['categories']}


images, boxes, names = annotations('train')
print(f'{len(images)} training images, {sum(map(len, boxes.values()))} boxes, {len(names)} classes')


# %%
def draw(axes, picture, found, colour):
    """Show a picture with labelled boxes (x, y, width, height, name)."""
    axes.imshow(picture)
    axes.axis('off')
    for x, y, width, height, name in found:
        axes.add_patch(plt.Rectangle((x, y), width, height, fill=False, color=colour, linewidth=1.5))
        axes.text(x, y - 2, name, color=colour, fontsize=8)


figure, row = plt.subplots(1, 4, figsize=(10, 2.7), layout='constrained')
for axes, image in zip(row, images, strict=False):
    found = [(*box['bbox'], names[box['category_id']]) for box in boxes[image['id']]]
    draw(axes, plt.imread(data / 'train' / image['file_name']), found, 'tab:orange')
plt.show()

# %% [markdown]
# ## The config
#
# Any config of MMDetection with a Swin does, once its backbone is a `PrunedSwinTransformer` with a `base_checkpoint` and an `adapter`; here are two that have it. Only the data are yours: folders, class names, number of classes.

# %%
from mmsls import runs

cfg = runs.load_config(
    'configs/det/retinanet_swin-t_coco/tune.py' if DATA else 'configs/demo/tune.py', str(WORK / 'run')
)
for split in ('train', 'val', 'test'):
    dataset = cfg[f'{split}_dataloader'].dataset
    dataset.data_root, dataset.metainfo = f'{data}/', {'classes': tuple(names.values())}
    dataset.ann_file, dataset.data_prefix = f'annotations/{split}.json', {'img': f'{split}/'}
    if split != 'train':
        cfg[f'{split}_evaluator'].ann_file = f'{data}/annotations/{split}.json'
cfg.model.bbox_head.num_classes = len(names)
if not DATA:
    cfg.model.backbone.base_checkpoint = str(base)
if SHORT:
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
print(
    f'{cfg.model.backbone.type} on {Path(cfg.model.backbone.base_checkpoint).name}, adapter {cfg.model.backbone.adapter.type}'
)

# %% [markdown]
# ## Tune, and score every block
#
# The base stays frozen; adapters, neck and head learn. Then every depth is asked what the whole detector is worth there: cut above the block, an affine map in the place of what went, your own metric on `val`, nothing
# trained ([what a bridge is](../concepts/bridges.md)). `run(until_score=True)` stops before anything is pruned.

# %%
import sys

from rich.console import Console

from mmsls.chain.chain import Chain
from mmsls.chain.configs import scored_by, without_sls_hook
from mmsls.report.progress import ChainProgress
from mmsls.runs.configs import with_bridge

tune = scored_by(cfg, {'type': 'Bridged', 'rounds': 0} if SHORT else 'bridged')
retrain = with_bridge(without_sls_hook(tune))


def run_chain(until_score=False):
    """Run what is left of the chain; what the host prints goes to console.log."""
    console = Console(file=sys.stdout, width=120)
    with ChainProgress(console, WORK / 'run' / 'console.log') as progress:
        decision = {} if KEEP else {'max_drop': MAX_DROP}
        return Chain(tune, WORK / 'run', progress, retrain, decision=decision).run(until_score)


rows = run_chain(until_score=True)

# %% [markdown]
# ## See what each block is worth
#
# One number for every block: points of mAP when the detector is cut above it. Stages are judged one by one, the others whole. What lies above the dashed line costs no more than `MAX_DROP`.

# %%
from mmsls.pruning_index import PruningIndex
from mmsls.report.advice import advise
from mmsls.report.score_curve import Paint, plot_curve

index = PruningIndex.load(WORK / 'run' / 'pruning_index.json')
figure, axes = plt.subplots(figsize=(8, 3.2), layout='constrained')
plot_curve(axes, index, Paint())
axes.set_xlabel('block, bottom to top')
plt.show()

print(f'kept: {index.kept_depths} of {tuple(index.foundation.depths)} blocks')
for advice in advise(index):
    print('\n  try: '.join([advice.text, *(what for what, _ in advice.tries)]))

# %% [markdown]
# Not what you want? Set `MAX_DROP` to something else, or `KEEP` to the depths that you like better, and run on from here: nothing is scored again. The page that says all this with costs and what other rules would keep is
# `run/report.html`.

# %%
from mmsls.pruning_index.choosing import by_hand

if KEEP:
    by_hand(index, KEEP).save(WORK / 'run' / 'pruning_index.json')

# %% [markdown]
# ## Cut, bridge, retrain
#
# The same call goes on from here: it cuts, fits the bridges on unlabelled training images, retrains what is left, and tests all of them on `test`.

# %%
from mmsls.report.table import markdown_table

rows = run_chain()
print(markdown_table(rows))

# %% [markdown]
# `tuned` is the full depth, `pruned` the bare cut, `bridged` the cut mended without training, `retrained` the same trained on. `time` is of one test image through the whole detector.
#
# ## What is stored, and how it is used
#
# `run/task` is the finished task: no base, only what was trained. A `TaskLibrary` opens as many of them as you like on one base; each is an ordinary model of MMDetection.

# %%
from mmdet.apis import inference_detector

from mmsls.deploy.task_library import TaskLibrary

stored = sum(path.stat().st_size for path in (WORK / 'run' / 'task').iterdir())
library = TaskLibrary(cfg.model.backbone.base_checkpoint)
model = library.open(WORK / 'run' / 'task', 'mine')
print(f'stored: {stored / 1024:.0f} KiB')

images, boxes, names = annotations('test')
figure, row = plt.subplots(1, 4, figsize=(10, 2.7), layout='constrained')
for axes, image in zip(row, images, strict=False):
    path = data / 'test' / image['file_name']
    found = inference_detector(model, str(path)).pred_instances
    found = found[found.scores > 0.4].cpu().numpy()
    classes = model.dataset_meta['classes']
    told = [
        (x, y, r - x, b - y, classes[label]) for (x, y, r, b), label in zip(found.bboxes, found.labels, strict=True)
    ]
    draw(axes, plt.imread(path), told, 'tab:cyan')
plt.show()

# %% [markdown]
# ## Where to go on
#
# - The same on the command line, with your own config: [My own detector](../howto/detector.md).
# - Other depths, by parameters or by time: [Choosing a depth](../howto/choosing.md).
# - A full checkpoint that needs no mmsls, ONNX: [Deploy](../howto/deploy.md).
