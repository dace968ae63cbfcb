# RetinaNet of our recipe around any backbone of four maps.
_base_ = [
    "../../_base_/models/retinanet_casvit_fpn.py",
    "../../_base_/datasets/coco_detection.py",
    "../../_base_/schedules/detection_1x.py",
]

model = dict(
    backbone=dict(_delete_=True),  # the leaf's
    neck=dict(start_level=1),  # the map of stride 4 is not read
)
