_base_ = "./mit-b1.py"

peer = dict(
    backbone=dict(embed_dims=32, init_cfg=dict(checkpoint="pretrained/mit_b0.pth")),
    channels=[32, 64, 160, 256],
)
