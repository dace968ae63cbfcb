_base_ = "./mask-rcnn_casvit-xs_fpn_8xb4-1x_coco.py"

model = dict(
    backbone=dict(
        arch="s",
        init_cfg=dict(checkpoint="pretrained/casvit-s_in1k.pth"),
    ),
    neck=dict(in_channels=[48, 64, 128, 256]),
)
