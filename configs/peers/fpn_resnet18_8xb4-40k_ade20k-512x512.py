_base_ = "./fpn_resnet50_8xb4-40k_ade20k-512x512.py"

model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint="pretrained/resnet18.pth")),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
