_base_ = ["./_base_/sem-fpn.py", "./_base_/backbones/resnet50.py"]

model = dict(
    # As in mmseg's recipe: nothing is frozen, and statistics are learnt over the whole batch.
    backbone=dict(
        _base_.peer.backbone,
        frozen_stages=-1,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        norm_eval=False,
    ),
    neck=dict(in_channels=_base_.peer.channels),
)
