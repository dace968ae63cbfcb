_base_ = "./mask-rcnn_casvit-xs_fpn_8xb4-1x_coco.py"

model = dict(
    backbone=dict(
        arch="t",
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint="pretrained/casvit-t_in1k.pth"),
    ),
    neck=dict(in_channels=[96, 128, 256, 512]),
)
