_base_ = "./resnet50.py"

peer = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint="pretrained/resnet18.pth")),
    channels=[64, 128, 256, 512],
)
