# COCO boxes: 1333x800, flip 0.5 (mmdet's base holds both), four images a GPU.
_base_ = "mmdet::_base_/datasets/coco_detection.py"

custom_imports = dict(
    imports=["casvit_dense.engine", "casvit_dense.engine.coco_metric"], allow_failed_imports=False
)
train_dataloader = dict(batch_size=4, num_workers=4)
val_evaluator = dict(
    _delete_=True,
    type="DenseCocoMetric",
    ann_file="data/coco/annotations/instances_val2017.json",
    metric=["bbox"],
)
test_evaluator = val_evaluator
