from __future__ import annotations

import time

import torch
from torch import nn

from mmsls.cost.complexity import count_macs, count_parameters, latencies, training_bytes


def test_macs_of_known_layers():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 8 * 8, 10))
    macs = count_macs(lambda: model(torch.zeros(2, 3, 8, 8)))
    assert macs == 2 * (3 * 9 * 4 * 64 + 256 * 10)


def test_attention_is_counted():
    q = torch.zeros(2, 3, 5, 7)
    assert count_macs(lambda: nn.functional.scaled_dot_product_attention(q, q, q)) == 2 * 2 * 3 * 5 * 5 * 7


def test_fused_attention_has_the_hosts_macs(mmdet_host):
    image = torch.zeros(1, 3, 32, 32)
    stock, fused = mmdet_host.stock(), mmdet_host.pruned()
    assert count_macs(lambda: fused(image)) == count_macs(lambda: stock(image)) > 0


def test_stored_parameters_leave_the_base_out(mmdet_host, base_file):
    model = nn.ModuleDict(
        {
            'backbone': mmdet_host.pruned(base_checkpoint=base_file, adapter={'type': 'Convpass'}),
            'head': nn.Linear(2, 3),
        }
    )
    model['head'].bias.requires_grad_(False)
    counts = count_parameters(model)
    adapters_and_norms = sum(p.numel() for p in model['backbone'].parameters() if p.requires_grad)
    assert counts.stored == adapters_and_norms + 9
    assert counts.trained == adapters_and_norms + 6
    assert counts.total == sum(p.numel() for p in model.parameters())


def test_latencies_rank_calls():
    seconds = latencies({'short': lambda: time.sleep(0.001), 'long': lambda: time.sleep(0.02)}, repeats=3, warmup=0)
    assert seconds['long'] > 5 * seconds['short']


def test_below_the_first_adapter_nothing_is_kept_for_a_gradient(mmseg_vit_host, randomise, tmp_path):
    torch.save(mmseg_vit_host.base_of(randomise(mmseg_vit_host.stock())), tmp_path / 'base.pth')
    image, spent, graphs = torch.rand(2, 3, 64, 64), {}, {}
    for blocks in ((0, 1, 2, 3), (2, 3), (3,)):
        adapter = {'type': 'Convpass', 'rank': 2, 'blocks': list(blocks)}
        model = mmseg_vit_host.pruned(base_checkpoint=str(tmp_path / 'base.pth'), adapter=adapter).train()
        needed = []
        for _, block in model.iter_blocks():
            block.register_forward_hook(lambda _, __, output, needed=needed: needed.append(output.requires_grad))
        spent[blocks] = training_bytes(model, lambda model=model: model(image))
        graphs[blocks] = needed
    assert graphs == {(0, 1, 2, 3): [True] * 4, (2, 3): [False, False, True, True], (3,): [False, False, False, True]}
    whole, half, quarter = spent.values()
    assert half < whole / 2
    assert quarter < whole / 4
