"""Small values for each lesson: they replace those of its cell tagged `parameters` in the tests.

`{data}` is a small picture book, `{output}` a folder of the test.
"""

from __future__ import annotations

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "0_Dataset_Exploration": {"data": "{data}", "num_pictures": 3, "min_count": 2},
    "1_Architecture": {
        "data": "{data}",
        "weights": "none",
        "image_size": 64,
        "min_count": 2,
        "batch_size": 6,
        "captions_per_image": 3,
        "embed_dim": 16,
        "hidden_dim": 24,
        "attention_dim": 8,
        "overfit_pictures": 3,
        "overfit_steps": 6,
    },
    "2_Training": {
        "data": "{data}",
        "output": "{output}/mine",
        "scratch": "{output}/scratch",
        "trainable_from_epoch": 1,
        "batch_size": 20,
        "embed_dim": 32,
        "hidden_dim": 48,
        "num_epochs": 3,
        "warmup_steps": 1,
        "val_pictures": 16,
        "compare_pictures": 20,
        "compare_epochs": 2,
    },
    "4_SelfCritical": {
        "data": "{data}",
        "start": "{output}/none",
        "output": "{output}/mine_scst",
        "scratch": "{output}/scratch",
        "num_samples": 3,
        "batch_size": 10,
        "warmup_steps": 1,
        "num_epochs": 1,
        "val_pictures": 8,
        "test_pictures": 8,
        "short_pictures": 20,
        "short_epochs": 1,
        "cheat_epochs": 1,
    },
    "5_Transformers": {
        "data": "{data}",
        "build": "{output}/build",
        "lengths": [2, 4],
        "batches": [1, 2],
        "repeats": 1,
        "model_dim": 32,
        "num_heads": 2,
        "num_layers": 1,
        "batch_size": 20,
        "warmup_steps": 1,
        "num_epochs": 1,
        "val_pictures": 8,
    },
    "6_SemiAutoregressive": {
        "data": "{data}",
        "build": "{output}/build",
        "max_pictures": 8,
        "group_size": 3,
        "learn_pictures": 12,
        "num_epochs": 1,
        "warmup_steps": 0,
        "val_pictures": 4,
        "rounds": 3,
    },
    "7_CLIP_Reward": {
        "data": "{data}",
        "build": "{output}/build",
        "max_pictures": 8,
        "learn_pictures": 12,
        "num_epochs": 1,
        "num_samples": 3,
        "batch_size": 6,
    },
    "3_Inference": {"data": "{data}", "build": "{output}/build", "few_pictures": 12},
}
