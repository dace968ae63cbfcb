_base_ = [
    "../_base_/models/fpn_casvit.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/segmentation_40k.py",
]
