# `init_cfg` without a type: the class reads the official file by itself.
peer = dict(
    backbone=dict(
        type="mmdet.PyramidVisionTransformer",
        num_layers=[3, 4, 6, 3],
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint="pretrained/pvt_small.pth"),
    ),
    channels=[64, 128, 320, 512],
)
