peer = dict(
    backbone=dict(
        type="mmseg.MixVisionTransformer",
        embed_dims=64,
        num_layers=[2, 2, 2, 2],
        num_heads=[1, 2, 5, 8],
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint="pretrained/mit_b1.pth"),
    ),
    channels=[64, 128, 320, 512],
)
