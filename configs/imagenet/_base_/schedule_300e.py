# 300 epochs of batch 2,048 = 8 GPUs x 128 images x 2 batches a step.
default_scope = "mmengine"

# No weight decay on norms, biases and whatever else has one dimension; no clipping; fp16.
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="float16",
    loss_scale="dynamic",
    accumulative_counts=2,
    optimizer=dict(type="AdamW", lr=6e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
# Of each batch. The warm-up begins at 0, which mmengine's factor cannot.
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=20, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=1e-6, begin=20, end=300, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=2048)

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=300, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=100),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="top1", rule="greater"
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
custom_hooks = [
    dict(type="ProgressHook"),
    dict(type="BackboneRecordHook"),
    dict(type="FiniteLossHook"),
    # 0.9995 a step: as many batches between two updates as a step has. Statistics of BatchNorm are
    # averaged too. Validation and checkpoints have the averaged weights.
    dict(
        type="EMAHook",
        ema_type="ExponentialMovingAverage",
        momentum=0.0005,
        interval=2,
        update_buffers=True,
    ),
]

randomness = dict(seed=43)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_processor = dict(by_epoch=True)
log_level = "INFO"
load_from = None
resume = False
