_base_ = ["./_base_/sem-fpn.py", "./_base_/backbones/mscan-t.py"]

model = dict(
    backbone=_base_.peer.backbone,
    neck=dict(in_channels=_base_.peer.channels),
)
