_base_ = ["./_base_/mask-rcnn.py", "./_base_/backbones/resnet18.py"]

model = dict(
    backbone=_base_.peer.backbone,
    neck=dict(in_channels=_base_.peer.channels),
)
