"""`train-clip`: a small CLIP from scratch, on the pictures and captions of any data set.

The CNN that looks is frozen and can see already, so its grids are computed once (a few random views
of each picture), and what is learned is small: how a grid becomes a vector, and the whole text
encoder. Half of the captions stand behind the prompt that scores use, half stand alone as in
retrieval.

Source: A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021, section 2.3 (the loss is symmetric cross-entropy over a batch).
Departures: the CNN does not learn; whole words in place of word pieces.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from captioning.bundle import pick_device, transforms_of
from captioning.clip.loading import CONFIG, build_small, save_small, small_config
from captioning.clip.model import project_text, read_text
from captioning.clip.settings import ClipConfig
from captioning.clip.words import WordTokenizer
from captioning.config import TransformConfig
from captioning.encoders.cnn import build_encoder
from captioning.evaluation.retrieval import WAYS, rank_pairs, recall_table
from captioning.features.store import FeatureStore, check_signature, check_store, weights_hash
from captioning.training.clip_steps import Optimizer, Row, check_place, keep_best
from captioning.training.looking import see_view
from captioning.training.memory import keep_freed_memory
from data_loader import Batch, CaptionDataset, mix_seeds, read_annotations
from vocabulary import Vocabulary, tokenize

EYES = ("backbone", "cut", "grid", "padding")  # what a folder has to know of its CNN
MOST_SCALE = 100.0  # of the similarities in the loss, as in CLIP
NUM_CAPTIONS = 5  # of each validation picture that are searched for


@dataclass
class Pairs:
    """Pictures as grids, and their captions as text.

    Args:
        views (list[Tensor]): of each random view the grids (pictures, P, F), half precision.
        texts (list[list[str]]): captions of each picture, as written.
    """

    views: list[Tensor]
    texts: list[list[str]]


def train_clip(
    config: ClipConfig,
    overwrite: bool = False,
    progress: bool = True,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train a small CLIP and write its folder.

    Args:
        config (ClipConfig): all settings.
        overwrite (bool): replace what `output` holds.
        progress (bool): bars and notes on stderr.
        on_epoch (Callable | None): takes the scores after each epoch.

    Returns:
        dict: `epoch` of the best weights, recall on the validation split (`text_to_image` and
        `image_to_text`, see `recall_table`), `minutes`, `parameters`.

    Raises:
        FileExistsError, FileNotFoundError, ValueError: refused before anything is learned.
        TrainingError: the loss is not a number; what was written is intact.
    """
    check_sizes(config)
    check_place(config.output, CONFIG, overwrite)
    keep_freed_memory()
    torch.manual_seed(config.seed)
    device, began = pick_device(config.device), time.perf_counter()
    encoder = build_encoder(config.encoder).to(device).eval()
    vocabulary = words_of(config)
    train = gather(config, config.train_split, encoder, vocabulary, config.num_views, progress)
    val = gather(config, config.val_split, encoder, vocabulary, 0, progress)
    eyes = {name: getattr(config.encoder, name) for name in EYES}
    settings = small_config(config, eyes, train.views[0].shape[1])
    network = build_small(settings["model_cfg"], vocabulary, encoder).to(device)
    tokenizer = WordTokenizer(vocabulary, config.context_length)
    rows = epochs(config, network, tokenizer, train, val, progress)

    def save(row: Row) -> None:
        row["parameters"] = sum(p.numel() for p in network.parameters())
        record = {"settings": asdict(config), "validation": row}
        save_small(config.output, network, vocabulary, settings | {"record": record})

    return keep_best(rows, score_of, save, began, progress, on_epoch)


def check_sizes(config: ClipConfig) -> None:
    """Refuse what cannot be built.

    Raises:
        ValueError: the setting, what it is, what is allowed.
    """
    if config.width % config.num_heads:
        raise ValueError(
            f"width: {config.width} received, a multiple of num_heads ({config.num_heads}) expected"
        )
    if config.encoder.backbone in ("features", "clip") or config.encoder.trainable != "none":
        raise ValueError(
            f"encoder: backbone {config.encoder.backbone!r}, trainable "
            f"{config.encoder.trainable!r} received, a torchvision network that stays as it is "
            "expected"
        )


def words_of(config: ClipConfig) -> Vocabulary:
    """Words of the training captions, and those of the prompt."""
    captions = read_annotations(config.data, config.train_split).anns.values()
    if not captions:
        raise ValueError(f"{config.data}: split {config.train_split!r} has no captions to learn of")
    found = Vocabulary.build([one["caption"] for one in captions], config.min_count)
    more = [w for w in dict.fromkeys(tokenize(config.prompt)) if w not in found]
    return Vocabulary([*found.words[4:], *more], config.min_count)


# ------------------------------------------------------------------------------------------ data


def gather(
    config: ClipConfig,
    split: str,
    encoder: nn.Module,
    vocabulary: Vocabulary,
    num_views: int,
    progress: bool,
) -> Pairs:
    """The grids and captions of a split; pictures without captions, or unreadable, are left out.

    Args:
        num_views (int): random views; 0: one, without chance.

    Raises:
        FileNotFoundError, ValueError: no such split or store, or nothing left.
    """
    transform = TransformConfig(image_size=config.image_size, fit="stretch")
    made, store = transforms_of(transform), None
    if config.features:
        store = FeatureStore(config.features)
        check_signature(store, config.encoder, transform, weights_hash(encoder))
    kinds = (made["train"], made["sided"]) if num_views else (made["eval"], None)
    dataset = CaptionDataset(
        config.data, split, vocabulary, kinds[0], 0, config.seed, kinds[1], features=store
    )
    if store:
        check_store(store, dataset.image_ids)
    look = grid_looker(encoder, config.precision)
    numbers = range(1 if store else max(1, num_views))
    views = [see_view(dataset, look, number, progress) for number in numbers]
    kept = [i for i, some in enumerate(dataset.texts) if some and i not in dataset.unreadable]
    if len(kept) < 2:
        raise ValueError(f"{config.data}: split {split!r} has {len(kept)} pictures with captions")
    return Pairs([view[kept] for view in views], [dataset.texts[i] for i in kept])


def grid_looker(encoder: nn.Module, precision: str) -> Callable[[Batch], Tensor]:
    """A frozen encoder for `see_view`; features of a store are handed on."""
    device = next(encoder.parameters()).device

    def look(batch: Batch) -> Tensor:
        if batch.features is not None:
            return batch.features
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            return encoder(batch.images.to(device)).regions

    return look


# -------------------------------------------------------------------------------------- learning


def epochs(
    config: ClipConfig,
    network: nn.Module,
    tokenizer: WordTokenizer,
    train: Pairs,
    val: Pairs,
    progress: bool,
) -> Iterator[dict[str, Any]]:
    """Train epoch after epoch; after each its row: `epoch`, `loss`, recall on `val`."""
    steps = config.num_epochs * math.ceil(len(train.texts) / config.batch_size)
    learned = [p for name, p in network.named_parameters() if not name.startswith("visual.encoder")]
    optimizer = Optimizer(learned, config, steps)
    for epoch in range(config.num_epochs):
        network.train()
        losses = []
        parts = batches(train, epoch, config)
        for grids, texts in tqdm(parts, f"epoch {epoch + 1}", leave=False, disable=not progress):
            loss = contrastive_loss(network, tokenizer, grids, texts, config.precision)
            losses.append(optimizer.step(loss, epoch))
        mean = sum(losses) / len(losses)
        yield {"epoch": epoch + 1, "loss": mean, **validate(network.eval(), tokenizer, val)}


def batches(
    pairs: Pairs, epoch: int, config: ClipConfig, prompted: float = 0.5
) -> list[tuple[Tensor, list[str]]]:
    """Every picture once with one of its captions, in random order: (B, P, F) and B texts.

    Args:
        prompted (float): share of captions behind the prompt.
    """
    rng = random.Random(mix_seeds(config.seed, epoch))
    order = list(range(len(pairs.texts)))
    rng.shuffle(order)
    view, made = pairs.views[epoch % len(pairs.views)], []
    for start in range(0, len(order), config.batch_size):
        rows = order[start : start + config.batch_size]
        texts = [rng.choice(pairs.texts[row]) for row in rows]
        texts = [config.prompt + t if rng.random() < prompted else t for t in texts]
        made.append((view[rows], texts))
    if len(made) > 1 and len(made[-1][1]) < 2:  # nothing to tell a single picture from
        made.pop()
    return made


def contrastive_loss(
    network: nn.Module, tokenizer: Any, grids: Tensor, texts: Sequence[str], precision: str
) -> Tensor:
    """How badly pictures and texts of a batch find each other (nats), scalar with gradient."""
    device = network.logit_scale.device
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        seen = network.visual.pool(grids.to(device).float())
        read = project_text(network, read_text(network, tokenizer(texts).to(device)))
    return info_nce(seen.float(), read.float(), network.logit_scale)


def info_nce(seen: Tensor, read: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric cross-entropy of telling partners (B, D), (B, D) from all others of the batch.

    Source: Radford et al. 2021, figure 3.
    """
    scale = logit_scale.exp().clamp(max=MOST_SCALE)
    logits = scale * F.normalize(seen, dim=-1) @ F.normalize(read, dim=-1).T  # (B, B)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


@torch.no_grad()
def validate(network: nn.Module, tokenizer: WordTokenizer, pairs: Pairs) -> dict[str, Any]:
    """Recall both ways, one caption a picture, averaged over the first captions of each."""
    device = network.logit_scale.device
    parts = [network.visual.pool(part.to(device).float()) for part in pairs.views[0].split(64)]
    images = F.normalize(torch.cat(parts), dim=-1)
    tables = []
    for place in range(min(NUM_CAPTIONS, *map(len, pairs.texts))):
        tokens = tokenizer([some[place] for some in pairs.texts]).to(device)
        texts = F.normalize(project_text(network, read_text(network, tokens)), dim=-1)
        ranks = rank_pairs(images, texts)
        tables.append([recall_table(one) for one in (ranks.text_to_image, ranks.image_to_text)])
    return {
        way: {key: sum(pair[n][key] for pair in tables) / len(tables) for key in tables[0][n]}
        for n, way in enumerate(WAYS)
    }


def score_of(row: dict[str, Any]) -> float:
    """What the best weights are chosen by: recall at 1, 5 and 10, both ways."""
    return row["text_to_image"]["sum"] + row["image_to_text"]["sum"]
