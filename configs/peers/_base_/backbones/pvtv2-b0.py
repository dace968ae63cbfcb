_base_ = "./pvtv2-b1.py"

peer = dict(
    backbone=dict(embed_dims=32, init_cfg=dict(checkpoint="pretrained/pvt_v2_b0.pth")),
    channels=[32, 64, 160, 256],
)
