_base_ = [
    "../_base_/models/mask-rcnn_casvit_fpn.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/schedules/detection_1x.py",
]
