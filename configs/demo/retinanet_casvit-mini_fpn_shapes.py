# RetinaNet with a very small CAS-ViT, trained from scratch on the generated shapes.
_base_ = [
    "../_base_/models/retinanet_casvit_fpn.py",
    "_base_/shapes_coco.py",
    "_base_/detection_schedule.py",
]

# Without norms, neck and head take twice as long to learn from nothing.
norm_cfg = dict(type="GN", num_groups=8)
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=[1, 1, 2, 1], dims=[16, 32, 64, 96]),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[32, 64, 96], out_channels=64, num_outs=3, norm_cfg=norm_cfg),
    bbox_head=dict(
        num_classes=3,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        # Anchors of 16 to 100 pixels for objects of 15 to 70.
        anchor_generator=dict(octave_base_scale=2, strides=[8, 16, 32]),
    ),
)
val_evaluator = dict(metric=["bbox"])
test_evaluator = val_evaluator
