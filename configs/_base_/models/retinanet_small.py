# RetinaNet at a size that two CPU cores train in minutes: 64 channels, three levels, two convolutions a head.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'
model = dict(
    neck=dict(out_channels=64, start_level=0, add_extra_convs=False, num_outs=3),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        anchor_generator=dict(octave_base_scale=3, strides=[8, 16, 32]),
    ),
    test_cfg=dict(nms_pre=300),
)
