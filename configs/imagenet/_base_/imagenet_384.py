# Fine-tuning at 384: the sizes are those of the training with 384 for 224, 64 images a GPU at 384.
_base_ = "imagenet.py"

train_dataloader = dict(
    batch_size=64,
    batch_sampler=dict(size=384, sizes=(160, 192, 256, 288, 320, 384)),
)
test_pipeline = [
    dict(type="ReadRGB"),
    dict(type="EvaluationCrop", size=384),
    dict(type="PackClassInputs"),
]
val_dataloader = dict(batch_size=96, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
