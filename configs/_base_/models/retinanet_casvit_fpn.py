# RetinaNet on stages 2 to 4; the two extra levels come from the input of the neck.
_base_ = "mmdet::_base_/models/retinanet_r50_fpn.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="CASViT",
        arch="xs",
        out_indices=(1, 2, 3),  # the neck's first level: stage 1 gets no output norm
        drop_path_rate=0.0,
        norm_eval=True,
        init_cfg=dict(type="CASViTWeights", checkpoint="pretrained/casvit-xs_in1k.pth"),
    ),
    neck=dict(in_channels=[56, 112, 220], start_level=0),
)
