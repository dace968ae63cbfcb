"""The official recipe as data, read off the official repository's configs, commit 14ce98d.

``detection/configs`` and ``segmentation/configs`` of https://github.com/Tianfang-Zhang/CAS-ViT and
the mmdetection 2.24 / mmsegmentation 0.24 bases that they inherit, in the terms of their
successors.
"""

DIMS = {
    "xs": (48, 56, 112, 220),
    "s": (48, 64, 128, 256),
    "m": (64, 96, 192, 384),
    "t": (96, 128, 256, 512),
}
DROP_PATH = {"xs": 0.0, "s": 0.0, "m": 0.1, "t": 0.1}

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]

#: Dotted key -> value, for every config.
COMMON = {
    "optim_wrapper.type": "OptimWrapper",  # no AMP
    "optim_wrapper.optimizer": {"type": "AdamW", "lr": 2e-4, "weight_decay": 1e-4},
    "optim_wrapper.clip_grad": None,
    "optim_wrapper.paramwise_cfg": None,  # weight decay on every parameter
    "train_dataloader.batch_size": 4,
    "val_dataloader.batch_size": 1,
    "auto_scale_lr": {"enable": False, "base_batch_size": 32},
    "model.backbone.type": "CASViT",
    "model.backbone.norm_eval": True,
    "model.data_preprocessor.mean": MEAN,
    "model.data_preprocessor.std": STD,
    "model.data_preprocessor.bgr_to_rgb": True,
    "model.neck.type": "FPN",
    "model.neck.out_channels": 256,
    "train_dataloader.dataset.pipeline.0.type": "LoadImageFromFile",
}

DETECTION = {
    "default_scope": "mmdet",
    "train_cfg.max_epochs": 12,
    "train_cfg.val_interval": 1,
    "param_scheduler.0.type": "LinearLR",
    "param_scheduler.0.start_factor": 1e-6,
    "param_scheduler.0.by_epoch": False,
    "param_scheduler.0.begin": 0,
    "param_scheduler.0.end": 500,
    "param_scheduler.1.type": "MultiStepLR",
    "param_scheduler.1.by_epoch": True,
    "param_scheduler.1.begin": 0,
    "param_scheduler.1.end": 12,
    "param_scheduler.1.milestones": [8, 11],
    "param_scheduler.1.gamma": 0.1,
    "model.data_preprocessor.pad_size_divisor": 32,
    "train_dataloader.dataset.type": "CocoDataset",
    "train_dataloader.dataset.data_root": "data/coco/",
    "train_dataloader.dataset.ann_file": "annotations/instances_train2017.json",
    "val_dataloader.dataset.ann_file": "annotations/instances_val2017.json",
    "test_dataloader.dataset.ann_file": "annotations/instances_val2017.json",
    "train_dataloader.dataset.filter_cfg": {"filter_empty_gt": True, "min_size": 32},
    "train_dataloader.dataset.pipeline.2.type": "Resize",
    "train_dataloader.dataset.pipeline.2.scale": (1333, 800),
    "train_dataloader.dataset.pipeline.2.keep_ratio": True,
    "train_dataloader.dataset.pipeline.3.type": "RandomFlip",
    "train_dataloader.dataset.pipeline.3.prob": 0.5,
    "val_dataloader.dataset.pipeline.1.scale": (1333, 800),
    "val_dataloader.dataset.pipeline.1.keep_ratio": True,
    "test_dataloader.dataset.pipeline.1.scale": (1333, 800),
    "test_dataloader.dataset.pipeline.1.keep_ratio": True,
    "val_evaluator.ann_file": "data/coco/annotations/instances_val2017.json",
    "test_evaluator.ann_file": "data/coco/annotations/instances_val2017.json",
    "default_hooks.checkpoint.save_best": "coco/bbox_mAP",
}

RETINANET = {
    "model.type": "RetinaNet",
    "model.backbone.out_indices": (1, 2, 3),
    "model.neck.start_level": 0,  # the official 1 counts stage 1, which nothing reads
    "model.neck.add_extra_convs": "on_input",
    "model.neck.num_outs": 5,
    "model.bbox_head.num_classes": 80,
    "val_evaluator.metric": ["bbox"],
}

MASK_RCNN = {
    "model.type": "MaskRCNN",
    "model.backbone.out_indices": (0, 1, 2, 3),
    "model.neck.start_level": None,
    "model.neck.num_outs": 5,
    "model.roi_head.bbox_head.num_classes": 80,
    "model.roi_head.mask_head.num_classes": 80,
    "train_dataloader.dataset.pipeline.1.with_mask": True,
    "val_evaluator.metric": ["bbox", "segm"],
}

SEM_FPN = {
    "default_scope": "mmseg",
    "train_cfg.type": "IterBasedTrainLoop",
    "train_cfg.max_iters": 40_000,
    "train_cfg.val_interval": 4_000,
    "param_scheduler.0.type": "PolyLR",
    "param_scheduler.0.power": 0.9,
    "param_scheduler.0.eta_min": 0.0,
    "param_scheduler.0.by_epoch": False,
    "param_scheduler.0.end": 40_000,
    "default_hooks.checkpoint.interval": 4_000,
    "default_hooks.checkpoint.save_best": "mIoU",
    "model.type": "EncoderDecoder",
    "model.backbone.out_indices": (0, 1, 2, 3),
    "model.neck.num_outs": 4,
    "model.data_preprocessor.size": (512, 512),
    "model.data_preprocessor.seg_pad_val": 255,
    "model.decode_head.type": "FPNHead",
    "model.decode_head.in_channels": [256, 256, 256, 256],
    "model.decode_head.in_index": [0, 1, 2, 3],
    "model.decode_head.feature_strides": [4, 8, 16, 32],
    "model.decode_head.channels": 128,
    "model.decode_head.dropout_ratio": 0.1,
    "model.decode_head.num_classes": 150,
    "model.decode_head.norm_cfg": {"type": "SyncBN", "requires_grad": True},
    "model.test_cfg": {"mode": "whole"},
    "train_dataloader.sampler.type": "InfiniteSampler",
    "train_dataloader.dataset.type": "ADE20KDataset",
    "train_dataloader.dataset.data_root": "data/ade/ADEChallengeData2016/",
    "train_dataloader.dataset.data_prefix": {
        "img_path": "images/training",
        "seg_map_path": "annotations/training",
    },
    "val_dataloader.dataset.data_prefix": {
        "img_path": "images/validation",
        "seg_map_path": "annotations/validation",
    },
    "test_dataloader.dataset.data_prefix": {
        "img_path": "images/validation",
        "seg_map_path": "annotations/validation",
    },
    "train_dataloader.dataset.pipeline.1.reduce_zero_label": True,
    "train_dataloader.dataset.pipeline.2.type": "RandomResize",
    "train_dataloader.dataset.pipeline.2.scale": (2048, 512),
    "train_dataloader.dataset.pipeline.2.ratio_range": (0.5, 2.0),
    "train_dataloader.dataset.pipeline.2.keep_ratio": True,
    "train_dataloader.dataset.pipeline.3.type": "RandomCrop",
    "train_dataloader.dataset.pipeline.3.crop_size": (512, 512),
    "train_dataloader.dataset.pipeline.3.cat_max_ratio": 0.75,
    "train_dataloader.dataset.pipeline.4.type": "RandomFlip",
    "train_dataloader.dataset.pipeline.4.prob": 0.5,
    "train_dataloader.dataset.pipeline.5.type": "PhotoMetricDistortion",
    **{
        f"{loader}.dataset.pipeline.{key}": value
        for loader in ("val_dataloader", "test_dataloader")  # validation chooses the best
        for key, value in {
            "1.scale": (2048, 512),
            "1.keep_ratio": True,
            "2.type": "ResizeToMultiple",
            "2.size_divisor": 32,
            "3.reduce_zero_label": True,
        }.items()
    },
    "val_evaluator.iou_metrics": ["mIoU"],
}

#: File name pattern -> the tables that hold for it.
FAMILIES = {
    "retinanet/retinanet_casvit-{}_fpn_8xb4-1x_coco.py": (COMMON, DETECTION, RETINANET),
    "mask_rcnn/mask-rcnn_casvit-{}_fpn_8xb4-1x_coco.py": (COMMON, DETECTION, MASK_RCNN),
    "sem_fpn/fpn_casvit-{}_8xb4-40k_ade20k-512x512.py": (COMMON, SEM_FPN),
}
