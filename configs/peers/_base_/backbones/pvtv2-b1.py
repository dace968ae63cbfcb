_base_ = "./pvtv2-b2.py"

peer = dict(
    backbone=dict(num_layers=[2, 2, 2, 2], init_cfg=dict(checkpoint="pretrained/pvt_v2_b1.pth")),
)
