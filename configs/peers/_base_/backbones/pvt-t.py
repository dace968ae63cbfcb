_base_ = "./pvt-s.py"

peer = dict(
    backbone=dict(num_layers=[2, 2, 2, 2], init_cfg=dict(checkpoint="pretrained/pvt_tiny.pth")),
)
