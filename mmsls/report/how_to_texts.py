"""The how-tos of a page: what is done, by which commands, and the heading in docs/ that has more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A how-to before the names of a run are filled in.

    Attributes:
        title: What it does.
        text: What it takes and what comes of it, what stands in backticks as code.
        commands: One a line; `{config}`, `{checkpoint}`, `{index}`, `{folder}`, `{probe}` and `{drop}` are filled in.
        section: How a heading in docs/ begins that has more.
    """

    title: str
    text: str
    commands: tuple[str, ...]
    section: str


BRIDGED_INDEX, PROBE_INDEX = 'bridged.json', 'probe.json'
"""Indexes that the commands leave in the run's folder."""

HOW_TO: dict[str, Text] = {
    'choose': Text(
        'See every depth, and take another',
        'The first command shows every depth that a rule can give from the stored curve, with what it costs where that '
        'was measured, and changes nothing. The second decides by hand and leaves an index of its own.',
        ('mmsls decide {index}', 'mmsls decide {index} --depths {depths} --out {folder}/by_hand.json'),
        'Choosing a depth',
    ),
    'points': Text(
        'Decide in points of your metric',
        "The host's own metric at every depth, what was removed bridged, with nothing trained: passes over the "
        'validation images. It needs the tuned model. The index of its own joins this page; the last command fits the '
        'bridges of the cut that it decides for.',
        (
            f'mmsls score {{config}} {{checkpoint}} --criterion bridged --max-drop 1 --out {{folder}}/{BRIDGED_INDEX}',
            'mmsls report {index}',
            f'mmsls bridge {{config}} {{checkpoint}} --index {{folder}}/{BRIDGED_INDEX} --out {{folder}}/bridged.pth',
        ),
        'Bridges',
    ),
    'probe': Text(
        'Ask a probe, in points',
        'The share of samples that a linear classifier on the features of each block gets right. On images that tuned '
        'the model every upper block looks good, so it is asked on the validation images.',
        (
            'mmsls score {config} {checkpoint} --criterion probe --max-drop 1 --split val '
            f'--out {{folder}}/{PROBE_INDEX}',
            'mmsls report {index}',
        ),
        'What scores the blocks',
    ),
    'probe_here': Text(
        'Ask the probe, in points',
        'The curve of the probe is on this page already, from the same samples: the command decides by it and changes '
        'its index, not that of this run. Name it in the config (`pruning_index`) to cut by it.',
        ('mmsls decide {probe} --max-drop 1',),
        'What scores the blocks',
    ),
    'peak': Text(
        'Keep up to the best block',
        'The threshold is then the best score, wherever it is, and what lies above it goes. From the stored curve, no '
        'forward pass.',
        ('mmsls decide {index} --reference peak --alpha 1',),
        'When it does not prune',
    ),
    'share': Text(
        'Allow a smaller share',
        'A lower `--alpha` removes more. From the stored curve, no forward pass.',
        ('mmsls decide {index} --alpha 0.2',),
        'Choosing a depth',
    ),
    'allow': Text(
        'Allow more points',
        'From the stored curve, no forward pass.',
        ('mmsls decide {index} --max-drop {drop}',),
        'What scores the blocks',
    ),
    'more': Text(
        'Score more labelled images',
        'A larger split, or more samples of it; the training images are the largest split as a rule.',
        ('mmsls score {config} {checkpoint} --split train --max-samples 5000 --out {folder}/more.json',),
        'What scores the blocks',
    ),
    'split': Text(
        'Judge on images that tuned nothing',
        'Features of training images are fitted to their labels, so every upper block looks good on them.',
        ('mmsls score {config} {checkpoint} --split val --out {folder}/val.json',),
        'What scores the blocks',
    ),
    'tune': Text(
        'Tune first, then score',
        'The whole chain, in a folder of its own: adapters and head are tuned at full depth before blocks are scored.',
        ('mmsls run {config} --work-dir {folder}_tuned',),
        'Decide before any training',
    ),
    'weights': Text(
        'See that the right weights were loaded',
        'The metric of the model at full depth: where it is poor, its features say nothing of the blocks either.',
        ('mmsls test {config} {checkpoint}',),
        'Loading a checkpoint',
    ),
    'test': Text(
        'Test the cut model',
        'Before you retrain it: what the cut costs as it is. Some of that comes back by retraining, or by a bridge.',
        ('mmsls test {config} {checkpoint} --cfg-options model.backbone.pruning_index={index}',),
        'Commands',
    ),
    'bridge': Text(
        'Mend what the cut breaks',
        'Affine maps in the place of the removed blocks, fitted on unlabelled training images, with nothing trained.',
        ('mmsls bridge {config} {checkpoint} --index {index} --out {folder}/bridged.pth',),
        'Bridges',
    ),
    'retrain': Text(
        'Cut, and retrain',
        'The adapters and the head that are left go on from their tuned values. A run of the whole chain does it '
        'itself: call it again as before.',
        ('mmsls train {config} --cfg-options model.backbone.pruning_index={index} load_from={checkpoint}',),
        'After the cut',
    ),
    'background': Text(
        'Tell a single class from background',
        'In the config of a detector: '
        "`dict(type='mmsls.SLSHook', sampler=dict(type='InstanceSampler', background=True))` among `custom_hooks`; "
        'then score anew.',
        ('mmsls score {config} {checkpoint}',),
        'What scores the blocks',
    ),
}
"""By what anchors are called."""
