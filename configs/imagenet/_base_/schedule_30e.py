# 30 epochs of batch 1,024. The official command leaves the warm-up at 20 epochs; then lr stays.
_base_ = "schedule_300e.py"

optim_wrapper = dict(optimizer=dict(lr=5e-5))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=20, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=1024)
train_cfg = dict(max_epochs=30)
