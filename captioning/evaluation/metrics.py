"""Scoring captions: one call from sentences to the table every report of this project shows.

Keys are coco-caption's. `CIDEr` is CIDEr-D with the document frequencies of the references that are
scored, so it depends on the whole set; `CIDEr_train_df` takes them from a training set instead,
like a reward does.

Source: X. Chen et al., "Microsoft COCO Captions: Data Collection and Evaluation Server", 2015,
section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from captioning.evaluation import java
from captioning.evaluation.bleu import bleu
from captioning.evaluation.caption_files import ImageId, check_same_images
from captioning.evaluation.cider import SIGMA, cider
from captioning.evaluation.ngrams import MAX_ORDER, DocumentFrequency
from captioning.evaluation.rouge import BETA, rouge_l
from vocabulary import tokenize

BLEU_KEYS = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4")
METRICS = (*BLEU_KEYS, "METEOR", "ROUGE_L", "CIDEr", "SPICE", "CIDEr_plain", "CIDEr_train_df")
DEFAULT_METRICS = (*BLEU_KEYS, "ROUGE_L", "CIDEr")  # those that need neither Java nor training data
TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"ptb": tokenize, "none": str.split}

Tokenized = dict[ImageId, list[str]]
TokenizedReferences = dict[ImageId, list[list[str]]]
Scores = dict[str, tuple[float, dict[ImageId, float]]]


def choose_metrics(
    names: Sequence[str] | None,
    document_frequency: DocumentFrequency | None = None,
    others: Sequence[str] = (),
) -> list[str]:
    """The keys of `METRICS` that are meant, in their usual order.

    Args:
        names (Sequence[str] | None): keys, or flags (keys in lower case); None for those without
            Java.
        document_frequency (DocumentFrequency | None): when given, `CIDEr_train_df` joins whatever
            was named.
        others (Sequence[str]): flags that are allowed as well where this is called, for messages.

    Raises:
        ValueError: an unknown name, no name at all, `CIDEr_train_df` without frequencies, or a Java
            metric that cannot run here (the message says what is missing).
    """
    flags = {key.lower(): key for key in METRICS}
    chosen = set()
    for name in DEFAULT_METRICS if names is None else names:
        if name.strip().lower() not in flags:
            allowed = ", ".join([*flags, *others])
            raise ValueError(f"metrics: {name!r} received, some of {allowed} expected")
        chosen.add(flags[name.strip().lower()])
    if not chosen:
        raise ValueError(f"metrics: none received, some of {', '.join(flags)} expected")
    if document_frequency is not None:
        chosen.add("CIDEr_train_df")
    elif "CIDEr_train_df" in chosen:
        raise ValueError(
            "metrics: cider_train_df needs the document frequencies of a training set; "
            "give document_frequency (a saved table or a model bundle)"
        )
    for key in java.JAVA_METRICS:
        message = java.java_metrics_available(key) if key in chosen else None
        if message is not None:
            raise ValueError(f"metrics: {message}")
    return [key for key in METRICS if key in chosen]


def score_tokens(
    references: TokenizedReferences,
    candidates: Tokenized,
    metrics: Sequence[str],
    document_frequency: DocumentFrequency | None = None,
) -> Scores:
    """Score captions that are tokenised already.

    Args:
        references (dict): image id to its tokenised captions, one or more.
        candidates (dict): image id to the tokenised caption to be scored; the same ids.
        metrics (Sequence[str]): keys of `METRICS`, as `choose_metrics` returns them.
        document_frequency (DocumentFrequency | None): for `CIDEr_train_df` only.

    Returns:
        dict: metric to (overall value, value of each image).
    """
    single = {
        "METEOR": java.meteor,
        "ROUGE_L": rouge_l,
        "CIDEr": cider,
        "SPICE": java.spice,
        "CIDEr_plain": lambda refs, cands: cider(refs, cands, plain=True),
        "CIDEr_train_df": lambda refs, cands: _cider_train_df(refs, cands, document_frequency),
    }
    scores: Scores = {}
    if any(key in BLEU_KEYS for key in metrics):
        overall, per_image = bleu(references, candidates)
        for order, key in enumerate(BLEU_KEYS):
            scores[key] = overall[order], {i: values[order] for i, values in per_image.items()}
    for key in metrics:
        if key in single:
            scores[key] = single[key](references, candidates)
    return {key: scores[key] for key in metrics}


def score_captions(
    references: Mapping[ImageId, list[str]],
    candidates: Mapping[ImageId, str],
    metrics: Sequence[str] | None = None,
    tokenizer: str = "ptb",
    document_frequency: DocumentFrequency | None = None,
    file_names: Mapping[ImageId, str] | None = None,
) -> dict[str, Any]:
    """Score one caption per image against its references.

    Args:
        references (Mapping): image id to its reference captions, one or more.
        candidates (Mapping): image id to the caption to be scored; the same ids.
        metrics (Sequence[str] | None): keys of `METRICS` or their flags; None for
            `DEFAULT_METRICS`.
        tokenizer (str): "ptb" (this project's tokenizer) or "none" (split at white space: already
            tokenised).
        document_frequency (DocumentFrequency | None): of a training set; adds `CIDEr_train_df`.
        file_names (Mapping | None): picture file of each image, copied into the result.

    Returns:
        dict: `overall` (metric to value), `per_image` (list of `image_id`, `file_name` where known,
            `caption` and one value per metric, in the order of the references), `settings`. A
            caption without words scores 0.

    Raises:
        ValueError: ids that do not match one to one, an empty set, an unknown metric or tokenizer,
            a metric that cannot run here.
    """
    references, candidates = dict(references), dict(candidates)
    check_same_images(references, candidates)
    chosen = choose_metrics(metrics, document_frequency)
    split = _tokenizer(tokenizer)
    scores = score_tokens(
        {image_id: [split(text) for text in texts] for image_id, texts in references.items()},
        {image_id: split(candidates[image_id]) for image_id in references},
        chosen,
        document_frequency,
    )
    per_image = []
    for image_id in references:
        entry: dict[str, Any] = {"image_id": image_id}
        if file_names and image_id in file_names:
            entry["file_name"] = file_names[image_id]
        entry["caption"] = candidates[image_id]
        per_image.append(entry | {key: values[image_id] for key, (_, values) in scores.items()})
    return {
        "overall": {key: overall for key, (overall, _) in scores.items()},
        "per_image": per_image,
        "settings": _settings(references, chosen, tokenizer, document_frequency),
    }


def leave_one_out(
    references: Mapping[ImageId, list[str]],
    metrics: Sequence[str] | None = None,
    tokenizer: str = "ptb",
    document_frequency: DocumentFrequency | None = None,
) -> dict[str, Any]:
    """The human score: each of an image's S captions against the other S-1, averaged over the S.

    Round k takes caption k of every image as the candidate and all its other captions as
    references; document frequencies of `CIDEr` are those of the round's references. S is the
    smallest number of captions any image has; a caption beyond the S-th (COCO has a few sixth and
    seventh ones) is a reference in every round and never a candidate.

    Args:
        references (Mapping): image id to its captions, two or more each.
        metrics, tokenizer, document_frequency: see `score_captions`.

    Returns:
        dict: `overall` (mean over the rounds), `rounds` (list of S overall results), `per_image`
            (list of `image_id` and the mean of each metric over the rounds), `settings`.

    Raises:
        ValueError: as `score_captions`, or an image has fewer than two captions.
    """
    references = dict(references)
    for image_id, texts in references.items():
        if len(texts) < 2:
            raise ValueError(
                f"references: image {image_id!r} has {len(texts)} caption(s), two or more expected "
                "to compare people with each other"
            )
    check_same_images(references, {image_id: texts[0] for image_id, texts in references.items()})
    chosen = choose_metrics(metrics, document_frequency)
    split = _tokenizer(tokenizer)
    tokens = {image_id: [split(text) for text in texts] for image_id, texts in references.items()}
    num_rounds = min(map(len, tokens.values()))
    rounds = [
        score_tokens(
            {i: captions[:k] + captions[k + 1 :] for i, captions in tokens.items()},
            {i: captions[k] for i, captions in tokens.items()},
            chosen,
            document_frequency,
        )
        for k in range(num_rounds)
    ]
    per_image = [
        {"image_id": i} | {key: sum(r[key][1][i] for r in rounds) / num_rounds for key in chosen}
        for i in references
    ]
    return {
        "overall": {key: sum(r[key][0] for r in rounds) / num_rounds for key in chosen},
        "rounds": [{key: r[key][0] for key in chosen} for r in rounds],
        "per_image": per_image,
        "settings": _settings(references, chosen, tokenizer, document_frequency)
        | {"leave_one_out": True, "num_rounds": num_rounds},
    }


def _cider_train_df(
    references: TokenizedReferences, candidates: Tokenized, document_frequency: DocumentFrequency
) -> tuple[float, dict[ImageId, float]]:
    """CIDEr of captions in the words that the training set was counted in."""
    known = document_frequency.known
    return cider(
        {image_id: [known(caption) for caption in some] for image_id, some in references.items()},
        {image_id: known(caption) for image_id, caption in candidates.items()},
        document_frequency,
    )


def _tokenizer(name: str) -> Callable[[str], list[str]]:
    if name not in TOKENIZERS:
        raise ValueError(f"tokenizer: {name!r} received, one of {list(TOKENIZERS)} expected")
    return TOKENIZERS[name]


def _settings(
    references: Mapping[ImageId, list[str]],
    metrics: Sequence[str],
    tokenizer: str,
    document_frequency: DocumentFrequency | None,
) -> dict[str, Any]:
    """Everything a reader needs to compute the same numbers again."""
    settings: dict[str, Any] = {
        "metrics": list(metrics),
        "tokenizer": tokenizer,
        "num_images": len(references),
        "num_references": sum(map(len, references.values())),
        "bleu": {"reference_length": "closest"},
        "rouge_l": {"beta": BETA},
        "cider": {
            "n": MAX_ORDER,
            "sigma": SIGMA,
            "document_frequency": "corpus",
            "end_token": None,
        },
    }
    if document_frequency is not None:
        settings["cider_train_df"] = {
            "n": MAX_ORDER,
            "sigma": SIGMA,
            "num_documents": document_frequency.num_documents,
            "end_token": document_frequency.end_token,
        }
    return settings
