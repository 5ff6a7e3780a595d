"""The words of the advice: what is said in each case, and what to try, with the how-to for it."""

from __future__ import annotations

Try = tuple[str, str]
"""What to try, and the how-to for it (`mmsls.report.how_to_texts`)."""

IN_POINTS = ('decide in points of your metric, with a bridge in the place of what goes', 'points')
PROBE = ('ask a probe in points, on images that tuned nothing', 'probe')
PEAK = ('keep up to the best block', 'peak')
MORE = ('score more labelled images: a larger split, or more samples', 'more')
TUNE = ('tune first, then score', 'tune')
TEST_CUT = ('test the cut model before you retrain it', 'test')
BACKGROUND = ('let a detector tell its class from background', 'background')

FEW = 'Only {told} were looked at: another draw may well decide otherwise.'
ONE_CLASS = 'There is only one class, and nothing to tell it from: a score of classes means nothing here.'
UNTUNED = (
    '{text} What was scored is the untuned base: its features were never fitted to these classes, so the top blocks '
    'say little.'
)
BY_HAND = (
    '{kept} of {full} blocks were chosen by hand, whatever the curve says: only a test of the cut model tells what '
    'that costs.'
)
SHARE = (
    'The least important blocks go until a share of {keep:g} of them is left; these numbers compare blocks with '
    'each other and say nothing of what the cut costs.'
)
TEXTS: dict[str, tuple[str, tuple[Try, ...]]] = {
    'flat_zero': (
        'No block of {where} tells the classes apart: the best value is {high} {unit}. There is nothing to decide by, '
        'and {kept}. Likely the model is not tuned to this task, its checkpoint was not loaded, the classes differ in '
        'what a pooled feature loses, or there are too few samples of each.',
        (('see that the right checkpoint was loaded and its metric is good', 'weights'), IN_POINTS, PROBE),
    ),
    'fallen_top': (
        'The score of {where} peaks below the top and falls off towards it ({high} at best), so a threshold relative '
        'to the top block removes nothing there; {kept}.',
        (PEAK, IN_POINTS),
    ),
    'flat_high': (
        'Every block of {where} scores high ({low} to {high}): the classes are apart low down already, and no step '
        'says where the task needs no more blocks. {kept}; at {asked} that is likely to be too few, and to cost more '
        'of your metric than retraining brings back.',
        (IN_POINTS, PEAK),
    ),
    'slope': (
        'The score of {where} rises from block to block up to the top ({low} to {high}), without a step: every block '
        'still adds something, and {kept}.',
        (IN_POINTS, ('allow a smaller share: a lower `--alpha`', 'share')),
    ),
    'whole': ('The rule finds no block of {where} to remove ({asked}, values {low} to {high}); {kept}.', (IN_POINTS,)),
    'step': (
        'The blocks of {where} above the cut add little by this measure ({low} to {high} {unit}, {asked}); {kept}.',
        (('cut, and retrain what is left', 'retrain'),),
    ),
}
"""What is said and what to try, by case; of cases that hold for as many blocks the upper one counts."""
TEXTS_IN_POINTS: dict[str, tuple[str, tuple[Try, ...]]] = {
    'flat_high': (
        'All blocks of {where} lie within {asked} of each other ({low} to {high}): by this measure the lowest do as '
        'well as the top, and {kept}. On images that tuned the model that is no surprise and no proof.',
        (
            ('see that the images that judge tuned nothing', 'split'),
            ('test the cut model before you trust it, and retrain', 'test'),
        ),
    ),
    'slope': (
        'The value of {where} rises up to the top ({low} to {high} points): every depth below loses more than {asked} '
        'allows, and {kept}.',
        (
            ('allow more points', 'allow'),
            ('mend what the cut breaks by a bridge', 'bridge'),
        ),
    ),
}
"""The same where the rule allows a drop in points."""
