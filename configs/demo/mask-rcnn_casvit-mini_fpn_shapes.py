# Mask R-CNN with a very small CAS-ViT, trained from scratch on the generated shapes.
_base_ = [
    "../_base_/models/mask-rcnn_casvit_fpn.py",
    "_base_/shapes_coco.py",
    "_base_/detection_schedule.py",
]

# Anchors of 16 to 128 pixels on strides 4 to 32; fewer proposals and narrower heads.
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=[1, 1, 2, 1], dims=[16, 32, 64, 96]),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[16, 32, 64, 96], out_channels=64, num_outs=4),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(scales=[4], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=128, num_classes=3),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64, num_classes=3),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)),
)

# An iteration costs more than twice RetinaNet's and teaches more.
train_cfg = dict(max_epochs=14)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type="CosineAnnealingLR", eta_min=0.0, begin=1, end=14, convert_to_iter_based=True),
]
