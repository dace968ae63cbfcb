_base_ = ["./_base_/retinanet.py", "./_base_/backbones/resnet50.py"]

model = dict(
    backbone=_base_.peer.backbone,
    neck=dict(in_channels=_base_.peer.channels),
)
