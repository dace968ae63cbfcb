# `init_cfg` without a type: the class reads the official file by itself.
peer = dict(
    backbone=dict(
        type="mmdet.PyramidVisionTransformerV2",
        embed_dims=64,
        num_layers=[3, 4, 6, 3],
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint="pretrained/pvt_v2_b2.pth"),
    ),
    channels=[64, 128, 320, 512],
)
