# ImageNet-1K, a folder for each class: RandAugment, sizes of 160 to 320, 128 images a GPU at 224.
data_root = "data/imagenet/"
train_pipeline = [
    dict(type="ReadRGB"),
    dict(type="RandomResizedCrop", size=224, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)),
    dict(type="RandomHorizontalFlip", prob=0.5),
    # rand-m9-mstd0.5-inc1. It takes the place of the colour jitter that is asked for beside it.
    dict(type="RandAugmentPIL", num_ops=2, prob=0.5, magnitude=9, magnitude_std=0.5),
    dict(type="PackClassInputs"),
]
test_pipeline = [
    dict(type="ReadRGB"),
    dict(type="EvaluationCrop", size=224),
    dict(type="PackClassInputs"),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="MultiScaleBatches", size=224, sizes=(160, 192, 224, 256, 288, 320)),
    dataset=dict(
        type="ImageNetFolder",
        data_root=data_root,
        data_prefix=dict(img_path="train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=192,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ImageNetFolder",
        data_root=data_root,
        data_prefix=dict(img_path="val"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="TopAccuracy")
test_evaluator = val_evaluator
