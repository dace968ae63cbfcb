# 12 epochs of batch 32 = 8 GPUs x 4 images.
_base_ = ["mmdet::_base_/schedules/schedule_1x.py", "mmdet::_base_/default_runtime.py"]

# Weight decay on every parameter, norms and biases included; no clipping, no AMP.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(_delete_=True, type="AdamW", lr=2e-4, weight_decay=1e-4),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)

default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=3, save_best="coco/bbox_mAP", rule="greater"),
)
custom_hooks = [
    dict(type="ProgressHook"),
    dict(type="BackboneRecordHook"),
    dict(type="FiniteLossHook"),
]
