_base_ = [
    "../_base_/models/retinanet_casvit_fpn.py",
    "../_base_/datasets/coco_detection.py",
    "../_base_/schedules/detection_1x.py",
]
