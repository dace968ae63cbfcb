_base_ = "./mask-rcnn_casvit-xs_fpn_8xb4-1x_coco.py"

model = dict(
    backbone=dict(
        arch="m",
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint="pretrained/casvit-m_in1k.pth"),
    ),
    neck=dict(in_channels=[64, 96, 192, 384]),
)
