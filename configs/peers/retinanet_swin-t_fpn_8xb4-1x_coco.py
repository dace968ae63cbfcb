_base_ = ["./_base_/retinanet.py", "./_base_/backbones/swin-t.py"]

model = dict(
    # Three maps: the norm of a fourth that is not read would never get a gradient.
    backbone=dict(_base_.peer.backbone, out_indices=(1, 2, 3)),
    neck=dict(in_channels=_base_.peer.channels[1:], start_level=0),
)
