# mmseg's, which ends at the last stage; mmdet's computes the classifier's 1280 channels as well.
peer = dict(
    backbone=dict(
        type="mmseg.MobileNetV2",
        out_indices=(1, 2, 4, 6),
        # Statistics are learnt over the whole batch, as in mmseg's own recipes.
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        norm_eval=False,
        init_cfg=dict(
            type="Pretrained", checkpoint="pretrained/mobilenetv2.pth", prefix="backbone."
        ),
    ),
    channels=[24, 32, 96, 320],
)
