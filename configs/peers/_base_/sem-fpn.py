# Semantic FPN of our recipe around any backbone of four maps.
_base_ = [
    "../../_base_/models/fpn_casvit.py",
    "../../_base_/datasets/ade20k.py",
    "../../_base_/schedules/segmentation_40k.py",
]

model = dict(backbone=dict(_delete_=True))  # the leaf's
