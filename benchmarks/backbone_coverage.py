"""Which backbones of the toolboxes' stock configs mmsls takes: walks all installed ones and writes docs/backbones.md.

A family is supported where a toolbox registers `Pruned` and its name. Its outputs are compared with the host's own
class on the same random weights, once for every distinct set of arguments that a stock config gives. What is not
supported is told by the form of its blocks.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from common import machine
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmsls.backbones.timm.creating import created

ROOT = Path(__file__).resolve().parents[1]
HOSTS = ('mmdet', 'mmseg', 'mmpretrain')
IDLE = ('init_cfg', 'pretrained', 'frozen_stages', 'with_cp', 'convert_weights')
ELSEWHERE = {
    'DistilledVisionTransformer': 'its weights run through `mmsls.PrunedTimmBackbone` (`deit_*_distilled_*`)',
    'MaskFeatViT': 'pre-training: it masks patches; what it trains loads into `PrunedVisionTransformer`',
    'XCiT': 'cross-covariance attention has no mixin',
}
"""What the form of the blocks does not say."""
BESIDES = {'MAEViT': "no patch masked, as after pre-training; the stock configs pre-train, with the host's class"}
"""What must be said of a supported family."""


@dataclass
class Family:
    """What the stock configs of a toolbox say of one class of backbones.

    Attributes:
        configs: Their paths.
        arguments: Every distinct set of arguments, by its JSON text.
    """

    configs: list[Path] = field(default_factory=list)
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)


def backbones_of(cfg: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the configs of backbones inside a model's config, outermost first."""
    if isinstance(cfg, Mapping):
        own = cfg.get('backbone')
        if isinstance(own, Mapping) and 'type' in own:
            yield own
        for value in cfg.values():
            yield from backbones_of(value)


def stock_families(host: str) -> tuple[dict[str, Family], list[str]]:
    """Return a toolbox's families by name, and the configs that name no backbone or could not be read."""
    folder = Path(str(import_module(host).__file__)).parent / '.mim/configs'
    found: dict[str, Family] = defaultdict(Family)
    left = []
    for path in sorted(path for path in folder.rglob('*.py') if '_base_' not in path.parts):
        try:
            cfg = next(backbones_of(Config.fromfile(path, import_custom_modules=False).get('model')), None)
        except Exception as error:  # configs of projects whose modules are not installed, files that are no configs
            left.append(f'{path.relative_to(folder)} ({type(error).__name__})')
            continue
        if cfg is None:
            left.append(f'{path.relative_to(folder)} (no backbone)')
            continue
        kind = cfg['type'] if isinstance(cfg['type'], str) else cfg['type'].__name__
        family = found[kind]
        family.configs.append(path)
        arguments = {key: value for key, value in cfg.items() if key not in IDLE and key != 'type'}
        family.arguments.setdefault(json.dumps(arguments, sort_keys=True, default=str), dict(cfg))
    return dict(found), left


def shrunk(cls: type[nn.Module], cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return a backbone's arguments with at most two blocks a stage; all else as the config has it."""
    arguments = {key: value for key, value in cfg.items() if key not in IDLE}
    defaults = {key: value.default for key, value in inspect.signature(cls).parameters.items()}
    if 'arch' in {**defaults, **arguments}:
        arch = arguments.get('arch', defaults.get('arch'))
        known: dict[str, Any] = getattr(cls, 'arch_zoo', {})
        arch = known.get(arch.lower(), arch) if isinstance(arch, str) else arch
        arguments['arch'] = arch if isinstance(arch, str) else shorter(arch)
    else:
        depth = 'depths' if 'depths' in defaults else 'num_layers'
        arguments |= shorter({depth: arguments.get(depth, defaults[depth])})
    if any(part in cls.__name__ for part in ('ViT', 'VisionTransformer', 'DeiT', 'BEiT', 'MAE')):
        outs = arguments.get('out_indices', -1)
        arguments['out_indices'] = [1] if isinstance(outs, int) or len(outs) == 1 else [0, 1]
    return arguments


def shorter(arch: Mapping[str, Any]) -> dict[str, Any]:
    """Return an architecture with at most two blocks a stage.

    Example:
        >>> shorter({'embed_dims': 96, 'depths': [2, 2, 6, 2]}), shorter({'num_layers': 12})
        ({'embed_dims': 96, 'depths': [2, 2, 2, 2]}, {'num_layers': 2})
    """
    found = dict(arch)
    if 'depths' in found:
        found['depths'] = [min(depth, 2) for depth in found['depths']]
    if 'num_layers' in found:
        found['num_layers'] = min(found['num_layers'], 2)
    return found


@torch.no_grad()
def compared(host: str, cfg: Mapping[str, Any]) -> str:
    """Return `equal`, or the largest difference between a host's backbone and ours on the same random weights."""
    models = import_module(f'{host}.registry').MODELS
    torch.manual_seed(0)
    try:
        arguments = shrunk(models.get(cfg['type']), cfg)
        theirs = models.build(arguments)
        ours = models.build({**arguments, 'type': f'Pruned{cfg["type"]}', 'fused_attention': False})
        ours.load_state_dict(theirs.state_dict())
        theirs.eval()
        ours.eval()
        size = arguments.get('img_size', 224)
        channels = arguments.get('in_channels', 3)
        image = torch.randn(1, channels, *([size] * 2 if isinstance(size, int) else size))
        pairs = list(zip(flat(put_out(ours, image)), flat(put_out(theirs, image)), strict=True))
    except Exception as error:  # said in the table, which goes on
        return f'fails ({type(error).__name__}: {str(error).splitlines()[0][:80]})'
    difference = max(float((x - y).abs().max()) for x, y in pairs)
    return 'equal' if difference == 0 else f'differs by {difference:.1e}'


def put_out(model: nn.Module, image: torch.Tensor) -> Any:
    """Return what a backbone puts out, no patch masked."""
    return model(image, mask=None) if 'mask' in inspect.signature(model.forward).parameters else model(image)


def flat(outs: Any) -> list[torch.Tensor]:
    """Return the tensors of nested tuples and lists."""
    return [outs] if isinstance(outs, torch.Tensor) else [part for out in outs for part in flat(out)]


def why_not(host: str, cfg: Mapping[str, Any]) -> str:
    """Return why a family is not supported, by the form of its blocks."""
    name = str(cfg['type'])
    if name.split('.')[-1] in ELSEWHERE:
        return ELSEWHERE[name.split('.')[-1]]
    try:
        model = import_module(f'{host}.registry').MODELS.build({k: v for k, v in cfg.items() if k not in IDLE})
    except Exception as error:  # whatever a host raises where it misses a package or a file
        return f'not built here ({type(error).__name__}: {str(error).splitlines()[0][:60]})'
    blocks = sorted({type(block).__name__ for block in attending(model)})
    return (
        f'no mixin for its blocks ({", ".join(blocks)})' if blocks else 'no attention: a convolutional network or MLP'
    )


def attending(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a model that hold an attention module, the innermost ones in a list."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList | nn.Sequential)]
    found = [block for blocks in lists for block in blocks if is_attending(block)]
    return [
        block for block in found if not any(other is not block and other in set(block.modules()) for other in found)
    ]


def is_attending(block: nn.Module) -> bool:
    """Whether a block has attention somewhere inside, and is no such module itself."""
    if not isinstance(block, nn.Module):
        return False  # some hosts keep a None in the place of a layer
    inner = [type(module).__name__.lower() for module in block.modules() if module is not block]
    return any('attention' in name or 'msa' in name or name.endswith('attn') for name in inner)


def timm_verdict(family: Family) -> tuple[bool, str]:
    """Return whether `mmsls.PrunedTimmBackbone` takes what a toolbox's own wrapper of timm is given, and which."""
    taken, refused = set(), set()
    for cfg in family.arguments.values():
        name = str(cfg['model_name'])
        try:
            with torch.device('meta'):
                created(name, None, {})
            taken.add(name)
        except ValueError:
            refused.add(name)
    told = [f'{word} {", ".join(sorted(names))}' for word, names in (('takes', taken), ('not', refused)) if names]
    return not refused, f'`mmsls.PrunedTimmBackbone`: {"; ".join(told)}'


def verdict(host: str, name: str, family: Family) -> tuple[bool, str]:
    """Return whether a family is supported, and how that was seen, or why not."""
    models = import_module(f'{host}.registry').MODELS
    if name.split('.')[-1] == 'TIMMBackbone':
        return timm_verdict(family)
    if models.get(f'Pruned{name}') is None:
        return False, why_not(host, next(iter(family.arguments.values())))
    results: dict[str, int] = defaultdict(int)
    for cfg in family.arguments.values():
        results[compared(host, cfg)] += 1
        print(host, name, dict(results), flush=True)
    told = [f'{count} {"set" if count == 1 else "sets"} {word}' for word, count in results.items()]
    return True, '; '.join([*told, *([BESIDES[name]] if name in BESIDES else [])])


def table() -> list[str]:
    """Return the page, line by line."""
    rows, left = [], {}
    for host in HOSTS:
        import_module(f'mmsls.integrations.{host}')
        import_module(f'{host}.utils').register_all_modules(init_default_scope=False)
        init_default_scope(host)
        families, left[host] = stock_families(host)
        for name, family in sorted(families.items(), key=lambda item: -len(item[1].configs)):
            supported, told = verdict(host, name, family)
            rows.append((host, name, len(family.configs), supported, told))
    taken = sum(row[2] for row in rows if row[3])
    skipped = ', '.join(f'{len(paths)} of {host}' for host, paths in left.items() if paths)
    return [
        *HEAD,
        f'{taken} of {sum(row[2] for row in rows)} stock configs stand on a supported backbone. Left out, since they '
        f'name no backbone or could not be read: {skipped or "none"}. {machine()}.',
        '',
        "| toolbox | family | stock configs | supported | outputs against the host's on the same weights, or why not |",
        '| --- | --- | ---: | --- | --- |',
        *(
            f'| {host} | {name} | {count} | {"yes" if yes else "no"} | {told} |'
            for host, name, count, yes, told in rows
        ),
    ]


HEAD = [
    '# Backbones: what the stock configs of the toolboxes stand on',
    '',
    'Written by `python benchmarks/backbone_coverage.py`, which walks every config that the installed MMDetection, '
    'MMSegmentation and MMPretrain bring along.',
    'A supported family is registered as `Pruned` and its name; `equal` means that every tensor that it puts out is, '
    "bit for bit, the host's, on random weights, for one",
    'distinct set of arguments after the other, with at most two blocks a stage and without fused attention. Models of '
    'timm (`mmsls.PrunedTimmBackbone`) are compared with timm in the tests.',
    '',
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/backbones.md')
    out = parser.parse_args().out
    out.write_text('\n'.join(table()) + '\n')
    print(f'written: {out}')


if __name__ == '__main__':
    main()
