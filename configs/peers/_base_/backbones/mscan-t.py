peer = dict(
    backbone=dict(
        type="mmseg.MSCAN",
        embed_dims=[32, 64, 160, 256],
        depths=[3, 3, 5, 2],
        mlp_ratios=[8, 8, 4, 4],
        drop_path_rate=0.1,
        # Statistics are learnt over the whole batch, as in SegNeXt's own recipe.
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        init_cfg=dict(type="Pretrained", checkpoint="pretrained/mscan_t.pth"),
    ),
    channels=[32, 64, 160, 256],
)
