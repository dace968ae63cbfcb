_base_ = ["./_base_/mask-rcnn.py", "./_base_/backbones/swin-t.py"]

model = dict(
    backbone=_base_.peer.backbone,
    neck=dict(in_channels=_base_.peer.channels),
)
