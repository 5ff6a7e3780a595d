from __future__ import annotations

from mmsls.features.keys import order_hash


def test_order_hash_sees_order_and_number():
    keys = [(0, 1, 0), (0, 1, 1), (0, 2, 0)]
    moved = [(1, record, number) for _, record, number in keys]
    assert len({order_hash(keys), order_hash(keys[::-1]), order_hash(keys[:2]), order_hash(moved)}) == 4
    assert len(order_hash(keys)) == 16
