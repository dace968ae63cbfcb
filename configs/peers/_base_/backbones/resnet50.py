# As in mmdet's recipes: the stem and the first stage stay as pretrained, and so do all statistics.
peer = dict(
    backbone=dict(
        type="mmdet.ResNet",
        depth=50,
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
        init_cfg=dict(type="Pretrained", checkpoint="pretrained/resnet50.pth"),
    ),
    channels=[256, 512, 1024, 2048],
)
