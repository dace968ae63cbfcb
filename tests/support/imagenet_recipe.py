"""The official classification recipe as data.

Read off ``classification/`` of https://github.com/Tianfang-Zhang/CAS-ViT, commit 041d2d6. Lines of
``README.md`` are those of the commands under "Training" and "Finetuning", which override
``main.py``.
"""

from typing import Any, Final

#: Dotted key of a config -> value, and where it stands: file, line, name.
TRAINING: Final[dict[str, tuple[Any, str]]] = {
    "train_dataloader.batch_size": (128, "README.md, Training: --batch_size"),
    "optim_wrapper.accumulative_counts": (2, "main.py:49 update_freq"),
    "auto_scale_lr": (
        {"enable": False, "base_batch_size": 8 * 128 * 2},
        "main.py:345 total_batch_size; nothing scales the rate by it",
    ),
    "val_dataloader.batch_size": (192, "main.py:294 int(1.5 * batch_size)"),
    "train_dataloader.num_workers": (10, "main.py:169 num_workers"),
    "train_dataloader.pin_memory": (True, "main.py:170 pin_mem"),
    "train_cfg.max_epochs": (300, "main.py:48 epochs"),
    "train_cfg.val_interval": (1, "main.py, main: evaluate after every epoch"),
    "default_hooks.checkpoint.interval": (1, "main.py:158 save_ckpt_freq"),
    "default_hooks.checkpoint.max_keep_ckpts": (3, "main.py:159 save_ckpt_num"),
    "optim_wrapper.type": ("AmpOptimWrapper", "main.py:181 use_amp"),
    "optim_wrapper.dtype": ("float16", "engine.py:45 torch.cuda.amp.autocast()"),
    "optim_wrapper.optimizer.type": ("AdamW", "main.py:69 opt"),
    "optim_wrapper.optimizer.lr": (6e-3, "main.py:85 lr; README.md, Training: --lr"),
    "optim_wrapper.optimizer.weight_decay": (0.05, "main.py:79 weight_decay"),
    "optim_wrapper.optimizer.eps": (1e-8, "main.py:71 opt_eps"),
    "optim_wrapper.optimizer.betas": ((0.9, 0.999), "main.py:73 opt_betas: torch's own"),
    "optim_wrapper.clip_grad": (None, "main.py:75 clip_grad"),
    "param_scheduler.0.end": (20, "main.py:90 warmup_epochs"),
    "param_scheduler.1.eta_min": (1e-6, "main.py:88 min_lr"),
    "model.backbone.drop_path_rate": (0.1, "main.py:55 drop_path"),
    "model.backbone.norm_eval": (False, "engine.py:16 model.train"),
    "model.num_classes": (1000, "main.py:139 nb_classes"),
    "model.heads": (1, "main.py:320 distillation=False"),
    "model.label_smoothing": (0.1, "main.py:102 smoothing"),
    "model.data_preprocessor.mean": ([123.675, 116.28, 103.53], "main.py:141, timm's defaults"),
    "model.data_preprocessor.std": ([58.395, 57.12, 57.375], "main.py:141, timm's defaults"),
    "randomness.seed": (43, "main.py:150 seed"),
    "env_cfg.cudnn_benchmark": (True, "main.py:229"),
    "custom_hooks.3.momentum": (1 - 0.9995, "main.py:64 model_ema_decay"),
    "custom_hooks.3.interval": (2, "engine.py:65 an update each update_freq batches"),
    "custom_hooks.3.update_buffers": (True, "timm 0.5.4, ModelEma: the whole state dict"),
    "train_dataloader.dataset.data_prefix.img_path": ("train", "data/datasets.py: build_dataset"),
    "val_dataloader.dataset.data_prefix.img_path": ("val", "data/datasets.py: build_dataset"),
    "train_dataloader.batch_sampler.size": (224, "main.py:57 input_size"),
    "val_dataloader.dataset.pipeline.1.size": (224, "main.py:57 input_size"),
    # Neither jitter, which RandAugment replaces, nor erasing (main.py:111 reprob 0).
    "train_dataloader.dataset.pipeline": (
        [
            {"type": "ReadRGB"},
            {
                "type": "RandomResizedCrop",
                "size": 224,
                "scale": (0.08, 1.0),
                "ratio": (3 / 4, 4 / 3),
            },
            {"type": "RandomHorizontalFlip", "prob": 0.5},
            {
                "type": "RandAugmentPIL",
                "num_ops": 2,
                "prob": 0.5,
                "magnitude": 9,
                "magnitude_std": 0.5,
            },
            {"type": "PackClassInputs"},
        ],
        "main.py:100 aa rand-m9-mstd0.5-inc1, timm's defaults",
    ),
}

#: What the fine-tuning at 384 has otherwise.
FINE_TUNING: Final[dict[str, tuple[Any, str]]] = {
    "train_dataloader.batch_size": (64, "README.md, Finetuning: --batch_size"),
    "val_dataloader.batch_size": (96, "main.py:294 int(1.5 * batch_size)"),
    "auto_scale_lr": (
        {"enable": False, "base_batch_size": 8 * 64 * 2},
        "main.py:345 total_batch_size",
    ),
    "train_cfg.max_epochs": (30, "README.md, Finetuning: --epoch"),
    "optim_wrapper.optimizer.lr": (5e-5, "README.md, Finetuning: --lr"),
    "param_scheduler.1.eta_min": (None, "README.md, Finetuning: --min_lr is the rate itself"),
    "model.backbone.drop_path_rate": (0.0, "README.md, Finetuning: --drop_path"),
    "train_dataloader.batch_sampler.size": (384, "README.md, Finetuning: --input_size"),
    "val_dataloader.dataset.pipeline.1.size": (384, "README.md, Finetuning: --input_size"),
}

#: File name pattern -> its values.
RECIPES: Final = {
    "casvit-{}_8xb256_in1k.py": TRAINING,
    "casvit-{}_8xb64-30e_in1k-384.py": {**TRAINING, **FINE_TUNING},
}

#: Smallest and largest side (``main.py:192``); of ``scales`` evenly spaced ones, each is rounded to
#: a multiple of 32, and the size itself is one more (``samplers.py:35`` and 130).
SMALLEST, LARGEST, SCALES, MULTIPLE = 160, 320, 5, 32
