"""`train-clip --objective grammar`: a CLIP's text encoder learns what whole captions look like.

Two losses, added up: CLIP's own (a picture's vector against one of its captions, so that the tuned
encoder still knows what sentences mean) and cross-entropy of a head that tells the captions of a
batch from broken copies of them. Picture vectors stay as they are.

Source: J. Cho et al., "Fine-grained Image Captioning with CLIP Reward", Findings of NAACL 2022,
section 3.2.
Departures: captions are learned behind the prompt that rewards use, not without it; precision and
recall are those of whole captions (the released code has false positives and false negatives
exchanged); a rise and fall of the learning rate.
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
from torch import Tensor
from tqdm import tqdm

from captioning.bundle import pick_device
from captioning.clip.grammar import CONFIG, GOOD, Grammar, new_grammar
from captioning.clip.loading import load_clip
from captioning.clip.model import Clip, project_text, read_text
from captioning.clip.negatives import caption_words, negatives
from captioning.clip.settings import ClipConfig
from captioning.evaluation.retrieval import retrieval
from captioning.features.pictures import list_data
from captioning.features.vectors import vectors_of
from captioning.training.clip import info_nce
from captioning.training.clip_steps import Optimizer, Row, check_place, keep_best
from captioning.training.memory import keep_freed_memory
from data_loader import mix_seeds, read_annotations
from vocabulary import join_words

VAL_SEED = 1_000_003  # of the broken captions that judges are compared with


@dataclass
class Described:
    """Pictures as vectors, and their captions as words.

    Args:
        vectors (Tensor): (P, D).
        captions (list[list[list[str]]]): of each picture, without those that have no word.
    """

    vectors: Tensor
    captions: list[list[list[str]]]


def train_grammar(
    config: ClipConfig,
    overwrite: bool = False,
    progress: bool = True,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train a grammar judge and write its folder.

    Args:
        config (ClipConfig): all settings; `clip` is where it starts.
        overwrite (bool): replace what `output` holds.
        progress (bool): bars and notes on stderr.
        on_epoch (Callable | None): takes the scores after each epoch.

    Returns:
        dict: scores of the most accurate epoch on the validation split: `precision`, `recall`, `f1`
        of whole captions, `accuracy`, recall of retrieval both ways; `epoch`, `minutes`.

    Raises:
        FileExistsError, FileNotFoundError, ValueError: refused before anything is learned.
        TrainingError: the loss is not a number; what was written is intact.
    """
    if not config.clip:
        raise ValueError("clip: none received, MODEL:TAG or a folder expected for grammar")
    check_place(config.output, CONFIG, overwrite)
    keep_freed_memory()
    torch.manual_seed(config.seed)
    began = time.perf_counter()
    clip = load_clip(config.clip, str(pick_device(config.device)))
    train = described(config, clip, config.train_split, progress)
    val = described(config, clip, config.val_split, progress)
    known = sorted({word for some in train.captions for words in some for word in words})
    grammar = new_grammar(clip, config.prompt)
    rows = epochs(config, grammar, train, val, known, progress)

    def save(row: Row) -> None:
        grammar.record = {"settings": asdict(config), "validation": row}
        grammar.save(config.output)

    return keep_best(rows, lambda row: row["accuracy"], save, began, progress, on_epoch)


def described(config: ClipConfig, clip: Clip, split: str, progress: bool) -> Described:
    """The vectors and captions of a split; pictures without captions are left out.

    Raises:
        FileNotFoundError, ValueError: no such split or store, an unreadable picture, no captions.
    """
    coco = read_annotations(config.data, split)
    texts = {i: [one["caption"] for one in coco.imgToAnns.get(i, [])] for i in coco.imgs}
    words = {i: kept for i, some in texts.items() if (kept := caption_words(some))}
    pictures = [one for one in list_data(config.data, [split]) if one.image_id in words]
    if len(pictures) < 2:
        raise ValueError(f"{config.data}: split {split!r} has {len(pictures)} pictures to learn of")
    vectors = vectors_of(clip, pictures, config.features, progress)
    return Described(vectors.to(clip.device), [words[one.image_id] for one in pictures])


def epochs(
    config: ClipConfig,
    grammar: Grammar,
    train: Described,
    val: Described,
    known: Sequence[str],
    progress: bool,
) -> Iterator[dict[str, Any]]:
    """Train epoch after epoch; after each its row: `epoch`, `loss`, scores on `val`."""
    text, head = grammar.clip.network, grammar.head
    learned = [*text.requires_grad_(True).parameters(), *head.parameters()]
    steps = config.num_epochs * math.ceil(len(train.captions) / config.batch_size)
    optimizer = Optimizer(learned, config, steps)
    for epoch in range(config.num_epochs):
        text.train()
        losses = []
        parts = batches(train, known, epoch, config)
        for rows, good, bad in tqdm(parts, f"epoch {epoch + 1}", leave=False, disable=not progress):
            loss = grammar_loss(grammar, train.vectors[rows], good, bad, config.precision)
            losses.append(optimizer.step(loss, epoch))
        text.eval()
        scores = score_grammar(grammar, val, known)
        yield {"epoch": epoch + 1, "loss": sum(losses) / len(losses), **scores}


def batches(
    train: Described, known: Sequence[str], epoch: int, config: ClipConfig
) -> list[tuple[list[int], list[str], list[str]]]:
    """Every picture once: rows, one caption of each, and a broken copy of it."""
    rng = random.Random(mix_seeds(config.seed, epoch))
    order = list(range(len(train.captions)))
    rng.shuffle(order)
    good = [rng.choice(train.captions[row]) for row in order]
    bad = negatives(good, known, config.seed, epoch)
    texts, broken = ([join_words(words, False) for words in some] for some in (good, bad))
    starts = range(0, len(order), config.batch_size)
    cut = [slice(start, start + config.batch_size) for start in starts]
    return [(order[part], texts[part], broken[part]) for part in cut if len(order[part]) > 1]


def grammar_loss(
    grammar: Grammar, vectors: Tensor, good: Sequence[str], bad: Sequence[str], precision: str
) -> Tensor:
    """Both losses of a batch (nats), scalar with gradient.

    Args:
        grammar (Grammar): what learns.
        vectors (Tensor): (B, D) of the pictures.
        good, bad (Sequence[str]): B captions and their broken copies, without prompt.
        precision (str): "bf16" or "fp32".
    """
    clip, network = grammar.clip, grammar.clip.network
    tokens = clip.tokenizer([grammar.prompt + text for text in (*good, *bad)]).to(clip.device)
    with torch.autocast(clip.device.type, torch.bfloat16, enabled=precision == "bf16"):
        states = read_text(network, tokens)  # (2 B, W)
        read = project_text(network, states[: len(good)])
        logits = grammar.head(states)
    is_good = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    is_good[: len(good)] = GOOD
    judged = F.cross_entropy(logits.float(), is_good)
    return info_nce(vectors, read.float(), network.logit_scale) + judged


def score_grammar(grammar: Grammar, val: Described, known: Sequence[str]) -> dict[str, Any]:
    """How well whole captions are told from broken ones, and found for their pictures.

    Args:
        grammar (Grammar): the judge.
        val (Described): every caption of these, and one broken copy of each.
        known (Sequence[str]): words that broken copies may have.

    Returns:
        dict: what `precision_and_recall` gives; `text_to_image` and `image_to_text`, see
        `recall_table`, of the first caption of each picture.
    """
    good = [words for some in val.captions for words in some]
    bad = negatives(good, known, VAL_SEED)
    chances = [
        grammar.probability([join_words(words, False) for words in some]) for some in (good, bad)
    ]
    first = [join_words(some[0], False) for some in val.captions]
    found = retrieval(val.vectors, grammar.clip.text_vectors([grammar.prompt + t for t in first]))
    return precision_and_recall(*(one > 0.5 for one in chances)) | found


def precision_and_recall(good: Tensor, bad: Tensor) -> dict[str, float]:
    """Of the class of whole captions.

    Args:
        good (Tensor): (N,) bool, which whole captions were called whole.
        bad (Tensor): (M,) bool, which broken captions were called whole.

    Returns:
        dict: `precision` = of those called whole, those that are; `recall` = of those that are,
        those called whole; `f1` = their harmonic mean; `accuracy`. 0 / 0 gives 0.
    """
    hits, false_alarms = int(good.sum()), int(bad.sum())
    precision = hits / max(1, hits + false_alarms)
    recall = hits / max(1, len(good))
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if hits else 0.0,
        "accuracy": (hits + len(bad) - false_alarms) / max(1, len(good) + len(bad)),
    }
