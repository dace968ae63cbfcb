_base_ = "./retinanet_casvit-xs_fpn_8xb4-1x_coco.py"

model = dict(
    backbone=dict(
        arch="t",
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint="pretrained/casvit-t_in1k.pth"),
    ),
    neck=dict(in_channels=[128, 256, 512]),
)
