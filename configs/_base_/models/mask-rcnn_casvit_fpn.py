# Mask R-CNN on all four stages, five pyramid levels.
_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="CASViT",
        arch="xs",
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.0,
        norm_eval=True,
        init_cfg=dict(type="CASViTWeights", checkpoint="pretrained/casvit-xs_in1k.pth"),
    ),
    neck=dict(in_channels=[48, 56, 112, 220]),
)
