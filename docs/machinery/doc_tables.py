"""Tables of the reference pages, from the registries, the configs and the parsers of the tools."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import timm
import torch
import yaml
from doc_commands import ROOT, parser_of
from mmengine.config import Config

from mmsls.adapters import Adapter, Selection
from mmsls.adapters.base import GIVEN
from mmsls.adapters.layer_adapter import LayerAdapter
from mmsls.criteria import CRITERIA
from mmsls.registry import ADAPTERS, HOOKS, MODELS
from mmsls.scoring.curve import POINTS

HOSTS = {'mmdet': 'MMDetection', 'mmseg': 'MMSegmentation', 'mmpretrain': 'MMPreTrain'}
BASES = ROOT / 'configs/_base_/backbones'


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(str(cell).replace("|", chr(92) + "|") for cell in line)} |' for line in lines)


def first_line(value: Any) -> str:
    """Return the first sentence of a docstring, on one line."""
    text = inspect.getdoc(value) or ''
    return ' '.join(text.split('\n\n')[0].split())


def arguments(kind: type, leave_out: Container[str] = ()) -> str:
    """Return the arguments of a constructor with their defaults."""
    found = [
        parameter
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.name not in leave_out and parameter.kind is not parameter.VAR_KEYWORD
    ]
    told = [p.name if p.default is p.empty else f'{p.name}={p.default!r}' for p in found]
    return f'`{", ".join(told)}`' if told else 'none'


def kind_of(adapter: type[Adapter]) -> str:
    """Return what an adapter works on, in words."""
    if issubclass(adapter, Selection):
        return "trains parameters of the base's"
    return 'changes layers' if issubclass(adapter, LayerAdapter) else 'beside or on a branch'


def adapters() -> str:
    """Return the table of adapters."""
    rows = [
        (f'`{name}`', kind_of(kind), 'yes' if kind.mergeable else 'no', arguments(kind, GIVEN), first_line(kind))
        for name, kind in sorted(ADAPTERS.module_dict.items())
    ]
    return markdown(('`type=mmsls.…`', 'kind', 'merges', 'arguments', 'what it is'), rows)


def read_by(criterion: Any) -> str:
    """Return the options of the rule that read a criterion's numbers."""
    if criterion.kind == 'importance':
        return '`keep`'
    return '`max_drop`, `alpha`' if criterion.unit == POINTS else '`alpha`'


def criteria() -> str:
    """Return the table of criteria."""
    rows = [
        (
            f'`{name}`',
            read_by(kind),
            getattr(kind, 'unit', ''),
            getattr(kind, 'needs', 'features'),
            arguments(kind),
            first_line(kind),
        )
        for name, kind in sorted(CRITERIA.module_dict.items())
    ]
    return markdown(('`criterion=…`', 'read by', 'unit', 'looks at', 'arguments', 'what it says of a block'), rows)


def hooks() -> str:
    """Return the table of hooks."""
    rows = [
        (f'`mmsls.{name}`', arguments(kind), first_line(kind))
        for name, kind in sorted(HOOKS.module_dict.items())
        if kind.__module__.startswith('mmsls.')
    ]
    return markdown(('`type=…`', 'arguments', 'what it does'), rows)


def backbones() -> str:
    """Return the table of backbones, by toolbox."""
    rows = []
    for host, name in HOSTS.items():
        ours = import_module(f'mmsls.integrations.{host}')
        rows += [
            (f'`{kind.__name__}`', name, f'`mmsls.integrations.{host}`', f'`{host}.{kind.__bases__[1].__name__}`')
            for kind in vars(ours).values()
            if inspect.isclass(kind) and kind.__module__ == ours.__name__
        ]
    timm = MODELS.get('PrunedTimmBackbone')
    rows.append((f'`mmsls.{timm.__name__}`', 'all three', 'any of the three', "timm's Vision Transformers and Swins"))
    return markdown(('`type=…`', 'toolbox', '`custom_imports`', 'extends'), rows)


def bases() -> str:
    """Return the table of bases that the shipped configs name."""
    rows = []
    for path in sorted(BASES.glob('*.py')):
        backbone = Config.fromfile(path).backbone
        named = backbone.get('base_checkpoint', '')
        told = f'`{named}`' if str(named).startswith(('http', 'timm:', 'work_dirs')) else 'a file of your own'
        rows.append((f'`{path.relative_to(ROOT)}`', f'`{backbone.type}`', size_of(backbone), told))
    return markdown(('file for `_base_`', 'backbone', 'blocks', 'base'), rows)


def size_of(backbone: Any) -> str:
    """Return the blocks of a backbone as its config names them."""
    depths = backbone.get('depths') or backbone.get('num_layers') or backbone.get('arch')
    if depths is None:
        with torch.device('meta'):  # only its depth is asked for
            model = timm.create_model(backbone.model_name, pretrained=False, num_classes=0)
        blocks = getattr(model, 'blocks', None)
        depths = [len(stage.blocks) for stage in model.layers] if blocks is None else len(blocks)
    return '-'.join(map(str, depths)) if isinstance(depths, (list, tuple)) else str(depths)


def commands() -> str:
    """Return every tool with its options, as its own parser knows them."""
    parts = []
    for script in sorted((ROOT / 'tools').glob('*.py')):
        parser = parser_of(script)
        about = ' '.join((parser.description or '').split())
        rows = [
            (f'`{", ".join(action.option_strings) or action.metavar or action.dest}`', (action.help or '').strip())
            for action in parser._actions
            if action.dest != 'help'
        ]
        parts.append(
            f'### `python tools/{script.name}` {{#{script.stem}}}\n\n{about}\n\n{markdown(("argument", "what"), rows)}'
        )
    return '\n\n'.join(parts)


def models() -> str:
    """Return the model zoo, from the metafiles that model-index.yml lists."""
    listed = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    rows = []
    for path in map(Path, listed):
        # BaseLoader: figures stay texts, 0.470 and not 0.47.
        for model in yaml.load((ROOT / path).read_text(), yaml.BaseLoader)['Models']:
            results = [result for result in model['Results'] if 'Metrics' in result]
            told = '; '.join(map(result_text, results))
            rows.append((f'`{model["Name"]}`', f'`{model["Config"]}`', model['Metadata']['Training Data'], told))
    return markdown(('model', 'config', 'data', 'measured here'), rows)


def result_text(result: dict[str, Any]) -> str:
    """Return the figures of a result, with a link to the page that they stand on."""
    figures = ', '.join(f'{name} {value}' for name, value in result['Metrics'].items())
    page = Path(result['Page'])
    return f'{result["Dataset"]}: [{figures}](../results/{page.name})'


TABLES: dict[str, Callable[[], str]] = {
    'adapters': adapters,
    'backbones': backbones,
    'bases': bases,
    'commands': commands,
    'criteria': criteria,
    'hooks': hooks,
    'models': models,
}
