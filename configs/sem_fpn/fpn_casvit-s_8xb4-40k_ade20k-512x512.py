_base_ = "./fpn_casvit-xs_8xb4-40k_ade20k-512x512.py"

model = dict(
    backbone=dict(
        arch="s",
        init_cfg=dict(checkpoint="pretrained/casvit-s_in1k.pth"),
    ),
    neck=dict(in_channels=[48, 64, 128, 256]),
)
