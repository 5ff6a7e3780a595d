"""What an adapter costs at inference, and what is left once it is merged: Swin-T and ViT-S, in turns, one process."""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import show
from torch import nn

from mmsls.adapters import adapter_class
from mmsls.cost.complexity import latencies
from mmsls.deploy.merging import merge_backbone
from mmsls.integrations import mmdet, mmseg

METHODS = ('RepAdapter', 'LoRA', 'SSF', 'BitFit', 'Convpass', 'AdaptFormer', 'Bottleneck', 'Mona')
VIT_S: dict[str, Any] = {'embed_dims': 384, 'num_heads': 6, 'img_size': 224, 'final_norm': True}
BACKBONES: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    'Swin-T': (mmdet.PrunedSwinTransformer, {}),
    'ViT-S/16': (mmseg.PrunedVisionTransformer, VIT_S),
}


def tuned(cls: Any, arguments: dict[str, Any], base: str, method: str) -> nn.Module:
    """Build a backbone with a method's adapters, away from their start, where they would do nothing."""
    model = cls(**arguments, base_checkpoint=base, adapter={'type': method}, fused_attention=True).eval()
    for parameter in (parameter for parameter in model.parameters() if parameter.requires_grad):
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    return model.requires_grad_(False)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=10)
    parser.add_argument('--size', type=int, nargs=2, default=(224, 224), metavar=('HEIGHT', 'WIDTH'))
    args = parser.parse_args()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    image = torch.randn(1, 3, *args.size, device=device)
    for name, (cls, arguments) in BACKBONES.items():
        bare = cls(**arguments, fused_attention=True).requires_grad_(False).eval().to(device)
        with tempfile.TemporaryDirectory() as folder:
            base = str(Path(folder) / 'base.pth')
            torch.save(bare.state_dict(), base)
            models = {method: tuned(cls, arguments, base, method).to(device) for method in METHODS}
            merged = {
                m: tuned(cls, arguments, base, m).to(device) for m in METHODS if adapter_class({'type': m}).mergeable
            }
        for method, model in merged.items():
            model.load_state_dict(models[method].state_dict())
            merge_backbone(model)
        differences = {
            method: max((a - b).abs().max().item() for a, b in zip(models[method](image), model(image), strict=True))
            for method, model in merged.items()
        }
        forwards = {'bare': partial(bare, image)}
        forwards |= {method: partial(model, image) for method, model in models.items()}
        forwards |= {f'{method} merged': partial(model, image) for method, model in merged.items()}
        seconds = latencies(forwards, args.repeats)
        rows = [('bare backbone', f'{seconds["bare"] * 1e3:.1f}', '1.00', '', '', '')]
        for method in METHODS:
            after = seconds.get(f'{method} merged')
            rows.append(
                (
                    method,
                    f'{seconds[method] * 1e3:.1f}',
                    f'{seconds[method] / seconds["bare"]:.2f}',
                    '' if after is None else f'{after * 1e3:.1f}',
                    'does not merge' if after is None else f'{after / seconds["bare"]:.2f}',
                    '' if after is None else f'{differences[method]:.1e}',
                )
            )
        header = ('method', 'ms', 'time / bare', 'merged ms', 'merged / bare', 'max difference')
        show(f'{name} backbone, eval, 1x{args.size[0]}x{args.size[1]}', header, rows)


if __name__ == '__main__':
    main()
