# Semantic FPN with a very small CAS-ViT, trained from scratch on the generated shapes.
_base_ = [
    "../_base_/models/fpn_casvit.py",
    "_base_/shapes_ade.py",
    "_base_/segmentation_schedule.py",
]

model = dict(
    data_preprocessor=dict(size=(160, 160)),
    backbone=dict(
        arch=dict(_delete_=True, depths=[1, 1, 2, 1], dims=[16, 32, 64, 96]),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[16, 32, 64, 96], out_channels=64),
    decode_head=dict(
        in_channels=[64, 64, 64, 64],
        channels=64,
        num_classes=4,
        norm_cfg=dict(type="BN", requires_grad=True),
    ),
)
