# %% [markdown]
# # Prune your own segmentor in 15 minutes
#
# The twin of the [detector's tutorial](detector.md), by pixel, in MMSegmentation: tune adapters on a frozen backbone, see which blocks matter, cut the others away, bridge the gap, and keep a task of less than a megabyte. It runs as it is on scenes
# of handwritten digits, which it draws itself; set `DATA` and it runs on yours. Every cell can be run again: what is done is not done twice.
#
# Run it from the root of the repository, in a notebook that reads percent scripts or as a plain script: `python docs/tutorials/segmentor.py`.

# %% [markdown]
# ## Your data
#
# A folder with images in `train/`, `val/` and `test/`, maps of class numbers (one-channel PNG of the same size and name) in `semantic/train/`, `semantic/val/` and `semantic/test/`, and `classes.txt`, one name a line. Blocks are judged on `val`;
# what is reported comes from `test`, which decides nothing.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

DATA = os.environ.get('TUTORIAL_DATA', '')  # 'data/roads', say; '' draws digit scenes
SHORT = os.environ.get('TUTORIAL') == 'short'  # minutes become seconds, and the results mean nothing: for the tests
WORK = Path('work_dirs/tutorial_segmentor')
MAX_DROP = 1.0 if DATA else 5.0  # points of mIoU that the cut may cost before anything is retrained
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
    names = [*'0123456789', 'background']
else:
    data = Path(DATA)
    names = (data / 'classes.txt').read_text().split('\n')
    names = [name.strip() for name in names if name.strip()]

colours = (plt.get_cmap('turbo')(np.linspace(0, 1, len(names)))[:, :3] * 255).astype(int).tolist()
print(f'{len(list((data / "train").iterdir()))} training images, {len(names)} classes')


# %%
def overlay(axes, picture, labels):
    """Show a picture and its map, side by side."""
    painted = np.asarray(colours, np.uint8)[np.minimum(labels, len(names) - 1)]
    axes.imshow(np.concatenate([picture, painted], axis=1))
    axes.axis('off')


figure, row = plt.subplots(1, 3, figsize=(10, 1.9), layout='constrained')
for axes, path in zip(row, sorted((data / 'train').iterdir()), strict=False):
    labels = np.asarray(Image.open(data / 'semantic/train' / f'{path.stem}.png'))
    overlay(axes, np.asarray(Image.open(path).convert('RGB')), labels)
plt.show()

# %% [markdown]
# ## The config
#
# Any config of MMSegmentation with a Swin does, once its backbone is a `PrunedSwinTransformer` with a `base_checkpoint` and an `adapter`; here are two that have it. Only the data are yours.

# %%
from mmsls import runs

own = 'configs/seg/upernet_swin-t_ade20k/tune.py'
cfg = runs.load_config(own if DATA else 'configs/demo_seg/tune.py', str(WORK / 'run'))
for split in ('train', 'val', 'test'):
    loader = cfg[f'{split}_dataloader']
    suffix = next((data / split).iterdir()).suffix
    loader.dataset = dict(
        type='BaseSegDataset',
        data_root=f'{data}/',
        metainfo={'classes': tuple(names), 'palette': colours},
        img_suffix=suffix,
        seg_map_suffix='.png',
        data_prefix={'img_path': split, 'seg_map_path': f'semantic/{split}'},
        pipeline=loader.dataset.pipeline,
        reduce_zero_label=False,
    )
if DATA:
    cfg.model.auxiliary_head.num_classes = len(names)
cfg.model.decode_head.num_classes = len(names)
if not DATA:
    cfg.model.backbone.base_checkpoint = str(base)
if SHORT:
    cfg.train_cfg.max_iters = cfg.train_cfg.val_interval = cfg.default_hooks.checkpoint.interval = 2
print(
    f'{cfg.model.backbone.type} on {Path(cfg.model.backbone.base_checkpoint).name}, adapter {cfg.model.backbone.adapter.type}'
)

# %% [markdown]
# ## Tune, and score every block
#
# The base stays frozen; adapters and head learn. Then every depth is asked what the whole segmentor is worth there: cut above the block, an affine map in the place of what went, your own metric on `val`, nothing
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
# One number for every block: points of mIoU when the segmentor is cut above it. Stages are judged one by one, the others whole. What lies above the dashed line costs no more than `MAX_DROP`.

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
# ## What is stored, and how it is used
#
# `run/task` is the finished task: no base, only what was trained. A `TaskLibrary` opens as many of them as you like on one base; each is an ordinary model of MMSegmentation. Left the scene, right what the segmentor makes of it.

# %%
from mmseg.apis import inference_model

from mmsls.deploy.task_library import TaskLibrary

stored = sum(path.stat().st_size for path in (WORK / 'run' / 'task').iterdir())
library = TaskLibrary(cfg.model.backbone.base_checkpoint)
model = library.open(WORK / 'run' / 'task', 'mine')
print(f'stored: {stored / 1024:.0f} KiB')

figure, row = plt.subplots(1, 3, figsize=(10, 1.9), layout='constrained')
for axes, path in zip(row, sorted((data / 'test').iterdir()), strict=False):
    found = inference_model(model, str(path)).pred_sem_seg.data[0].cpu().numpy()
    overlay(axes, np.asarray(Image.open(path).convert('RGB')), found)
plt.show()

# %% [markdown]
# ## Where to go on
#
# - The same on the command line, with your own config: [My own segmentor](../howto/segmentor.md).
# - Other depths, by parameters or by time: [Choosing a depth](../howto/choosing.md).
# - A full checkpoint that needs no mmsls, ONNX: [Deploy](../howto/deploy.md).
