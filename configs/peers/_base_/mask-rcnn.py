# Mask R-CNN of our recipe around any backbone of four maps.
_base_ = [
    "../../_base_/models/mask-rcnn_casvit_fpn.py",
    "../../_base_/datasets/coco_instance.py",
    "../../_base_/schedules/detection_1x.py",
]

model = dict(backbone=dict(_delete_=True))  # the leaf's
