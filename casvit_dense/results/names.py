"""How heads and metrics are called on pages."""

HEAD_NAMES = {
    "retinanet_1x": "RetinaNet",
    "mask_rcnn_1x": "Mask R-CNN",
    "sem_fpn_40k": "Semantic FPN",
}
METRIC_NAMES = {
    "bbox_mAP": "box AP",
    "bbox_mAP_50": "box AP50",
    "bbox_mAP_75": "box AP75",
    "bbox_mAP_s": "box AP, small",
    "bbox_mAP_m": "box AP, medium",
    "bbox_mAP_l": "box AP, large",
    "segm_mAP": "mask AP",
    "segm_mAP_50": "mask AP50",
    "segm_mAP_75": "mask AP75",
    "segm_mAP_s": "mask AP, small",
    "segm_mAP_m": "mask AP, medium",
    "segm_mAP_l": "mask AP, large",
    "mIoU": "mIoU",
    "mAcc": "mAcc",
    "aAcc": "aAcc",
}
