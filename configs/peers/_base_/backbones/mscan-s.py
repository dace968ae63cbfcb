_base_ = "./mscan-t.py"

peer = dict(
    backbone=dict(
        embed_dims=[64, 128, 320, 512],
        depths=[2, 2, 4, 2],
        init_cfg=dict(checkpoint="pretrained/mscan_s.pth"),
    ),
    channels=[64, 128, 320, 512],
)
