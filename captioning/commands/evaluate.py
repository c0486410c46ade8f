"""`evaluate`: caption splits of a data set and score the captions."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import (
    UsageError,
    add_generation,
    add_models,
    check_at_least,
    check_output,
    generation_of,
    new_parser,
    wrong_usage,
)
from captioning.config_rewards import CLIP_NAMES

if TYPE_CHECKING:
    from captioning.bundle import Captioner
    from captioning.evaluation.picture_metrics import Judges

PLACE = "{split}"  # in the name of a file: one file for each split


def parser() -> ArgumentParser:
    """Flags of `evaluate`."""
    flags = new_parser("Caption splits of a data set and score the captions.")
    add_models(flags)
    flags.add_argument("--data", type=str, default="data/picturebook", help="data-set folder")
    flags.add_argument(
        "--features", type=str, default="", help="feature store (.h5) in place of the pictures"
    )
    flags.add_argument("--split", type=str, default="test", help="split, several (val,test) or all")
    flags.add_argument(
        "--metrics",
        type=str,
        default="",
        help="e.g. cider,bleu_4,meteor,clip_s,refclip_s,retrieval,grammar,finecapeval",
    )
    for name, meaning in (
        ("clip", f"CLIP of the metrics that need one: {CLIP_NAMES}"),
        ("clip_vectors", "store of its picture vectors (`features clip`)"),
        ("grammar", "judge of grammar: a folder of `train-clip --objective grammar`"),
        ("finecapeval", "CSV file of phrases; empty: finecapeval_SPLIT.csv beside the captions"),
    ):
        flags.add_argument(f"--{name}", type=str, default="", help=meaning)
    flags.add_argument(
        "--perplexity",
        type=bool,
        default=True,
        help="measure it on the human captions (words the model does not know count as <unk>)",
    )
    for name, meaning in (
        ("output", "write the whole result as JSON; {split} in the name stands for the split"),
        ("results", "write the captions as a COCO results file; {split} as in --output"),
        ("compare", "earlier --output to compare with, picture by picture; {split} as there"),
        ("submission", "name of the algorithm: write the zip file for COCO's server (val,test)"),
    ):
        flags.add_argument(f"--{name}", type=str, default="", help=meaning)
    flags.add_argument("--submission_file", type=str, default="results.zip", help="that zip file")
    flags.add_argument("--overwrite", action="store_true", help="replace files that exist")
    flags.add_argument(
        "--batch_size", type=int, default=32, help="pictures at once; 1 measures the latency too"
    )
    flags.add_argument("--num_workers", type=int, default=0, help="processes that read pictures")
    flags.add_argument("--max_pictures", type=int, default=0, help="first so many; 0 takes all")
    flags.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    flags.add_argument("--json", action="store_true", help="print the whole result as JSON")
    add_generation(flags)
    return flags


def run(arguments: Namespace) -> int:
    """Score a captioner on splits; what can be refused is refused before the first picture."""
    from captioning.datasets.ready import ready_data
    from captioning.ensemble import load_captioner, parse_models
    from captioning.evaluation.evaluate import load_split
    from captioning.evaluation.metrics import choose_metrics
    from captioning.evaluation.picture_metrics import (
        FLAGS,
        PictureMetrics,
        check_judges,
        separate,
    )

    models = ([arguments.model], arguments.model_weights)
    check_at_least(arguments, batch_size=1, num_workers=0, max_pictures=0)
    with wrong_usage():
        parse_models(*models)
        compared, judged = separate(metrics_of(arguments))
        if compared or not judged:
            choose_metrics(compared, others=FLAGS)
        check_judges(judged, judges_of(arguments))
    captioner = load_captioner(*models, arguments.device)
    with wrong_usage():
        captioner.generation_config(**generation_of(arguments))
    ready_data(arguments.data)
    splits = chosen_splits(arguments.data, arguments.split)
    sent = submitted_splits(arguments, splits)
    files = {name: files_of(arguments, name, splits) for name in ("output", "results")}
    zipped = [arguments.submission_file] if sent else []
    check_files([*files["output"], *files["results"], *zipped], arguments.overwrite)
    earlier = earlier_results(arguments, splits)
    if len(splits) > 1:  # what is wrong with the last one is said before the first is captioned
        for split in splits:
            dataset = load_split(captioner, arguments.data, split, arguments.features)
            judges = (judges_of(arguments), dataset, arguments.data, str(captioner.device))
            PictureMetrics(judged, *judges, arguments.max_pictures)
    results = {}
    for number, split in enumerate(splits):
        results[split] = evaluate_split(captioner, split, earlier.get(split), arguments)
        keep(results[split], *(paths[number] if paths else "" for paths in files.values()))
        finish(results[split], earlier.get(split), arguments, split if len(splits) > 1 else "")
    if sent:
        submit(arguments, {kind: results[split] for kind, split in sent.items()})
    if arguments.json:
        print(json.dumps(results if len(splits) > 1 else results[splits[0]], ensure_ascii=False))
    return 0


def metrics_of(arguments: Namespace) -> list[str] | None:
    """The metrics asked for; None for the usual ones."""
    return arguments.metrics.split(",") if arguments.metrics else None


def judges_of(arguments: Namespace) -> Judges:
    """What CLIP's metrics need."""
    from captioning.evaluation.picture_metrics import Judges

    names = ("clip", "clip_vectors", "grammar", "finecapeval")
    return Judges(*(arguments[name] for name in names))


def evaluate_split(
    captioner: Captioner, split: str, earlier: dict[str, Any] | None, arguments: Namespace
) -> dict[str, Any]:
    """The result of one split, with the name of the model."""
    from captioning.evaluation.evaluate import evaluate

    result = evaluate(
        captioner,
        arguments.data,
        split,
        metrics_of(arguments),
        arguments.batch_size,
        progress=True,
        max_pictures=arguments.max_pictures,
        num_workers=arguments.num_workers,
        perplexity=arguments.perplexity,
        features=arguments.features,
        judges=judges_of(arguments),
        earlier=earlier,
        **generation_of(arguments),
    )
    names = ("model", "model_weights") if arguments.model_weights else ("model",)
    result["settings"] |= {name: arguments[name] for name in names}
    return result


# ---------------------------------------------------------------------------- before captioning


def chosen_splits(data: str, text: str) -> list[str]:
    """The splits that `--split` names.

    Args:
        data (str): data-set folder.
        text (str): names with commas between them, or all: train, val, test, then others by name.

    Raises:
        UsageError: a name is empty or appears twice.
        FileNotFoundError: a split is not there.
    """
    from data_loader import read_annotations

    folder = Path(data) / "annotations"
    if text == "all":
        paths = [p for kind in ("captions", "images") for p in folder.glob(f"{kind}_*.json")]
        found = {path.stem.partition("_")[2] for path in paths}
        splits = [split for split in ("train", "val", "test") if split in found]
        splits += sorted(found.difference(splits))
    else:
        splits = [split.strip() for split in text.split(",")]
    if not all(splits) or len(set(splits)) < len(splits) or not splits:
        raise UsageError(f"split: {text!r} received, different names of splits or all expected")
    for split in splits:
        if not any((folder / f"{kind}_{split}.json").is_file() for kind in ("captions", "images")):
            read_annotations(data, split)  # says which splits there are
    return splits


def files_of(arguments: Namespace, flag: str, splits: Sequence[str]) -> list[str]:
    """The file that a flag names for each split; none without the flag.

    Raises:
        UsageError: one name for several splits.
    """
    text = arguments[flag]
    if text and len(splits) > 1 and PLACE not in text:
        raise UsageError(
            f"{flag}: {text!r} received, a name with {PLACE} in it expected for several splits"
        )
    return [text.replace(PLACE, split) for split in splits] if text else []


def submitted_splits(arguments: Namespace, splits: Sequence[str]) -> dict[str, str]:
    """What `--submission` sends as COCO's val and test; nothing without that flag.

    Raises:
        UsageError: the name or the splits do not suit, or only some pictures are asked for.
    """
    from captioning.evaluation.submission import check_submission_name, submission_splits

    if not arguments.submission:
        return {}
    if arguments.max_pictures:
        raise UsageError(
            f"max_pictures: {arguments.max_pictures} received, 0 expected: a submission holds all "
            "pictures"
        )
    with wrong_usage():
        check_submission_name(arguments.submission)
        return submission_splits(splits)


def check_files(paths: Sequence[str], overwrite: bool) -> None:
    """Refuse files that cannot be written, or exist already.

    Raises:
        UsageError: two results would go to one file.
        OSError: see `check_output`.
    """
    places = [Path(path).resolve() for path in paths]
    for number, path in enumerate(paths):
        if places[number] in places[:number]:
            raise UsageError(f"{path}: named for two different files, different names expected")
        check_output(path, overwrite)


def earlier_results(arguments: Namespace, splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What `--compare` names, by split; nothing without that flag.

    Raises:
        UsageError: one file for several splits.
        FileNotFoundError, ValueError: a file is missing, or no result.
    """
    from captioning.evaluation.compare import read_result

    paths = files_of(arguments, "compare", splits)
    return {split: read_result(path) for split, path in zip(splits, paths, strict=False)}


# ----------------------------------------------------------------------------- after captioning


def keep(result: Mapping[str, Any], output: str, results: str) -> None:
    """Write a result and its captions to the files named for them."""
    from captioning.evaluation.submission import write_results
    from captioning.files import write_atomically

    if output:
        text = json.dumps(result, ensure_ascii=False)
        write_atomically(Path(output), lambda part: part.write_text(text, "utf-8"))
    if results:
        write_results(results, captions_of(result))


def captions_of(result: Mapping[str, Any]) -> dict[Any, str]:
    """Image id to caption."""
    return {entry["image_id"]: entry["caption"] for entry in result["per_image"]}


def finish(
    result: dict[str, Any], earlier: dict[str, Any] | None, arguments: Namespace, heading: str
) -> None:
    """Compare a result with the earlier one, show both, and note what a reader should know."""
    from captioning.evaluation.compare import compare, format_comparison
    from captioning.evaluation.score_command import format_table

    settings = result["settings"]
    if not settings["num_references"]:
        note(f"{settings['split']}: no human captions, so captions only and no scores")
    words = settings.get("perplexity", {"unknown_words": 0})
    if words["unknown_words"]:
        share = words["unknown_words"] / words["words"]
        note(f"perplexity: {share:.2%} of the human words are unknown and count as <unk>")
    if earlier is not None:
        result["comparison"] = compare(result, earlier)
    if arguments.json:
        return
    if heading:
        print(f"{heading}:")
    print(format_table(result))
    if earlier is not None:
        print(format_comparison(result["comparison"]))


def submit(arguments: Namespace, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the zip file for COCO's server."""
    from captioning.evaluation.submission import COCO_SIZES, write_submission
    from data_loader import read_annotations

    captions = {kind: captions_of(result) for kind, result in results.items()}
    ids = {
        kind: list(read_annotations(arguments.data, result["settings"]["split"]).imgs)
        for kind, result in results.items()
    }
    write_submission(arguments.submission_file, arguments.submission, captions, ids)
    for kind, size in COCO_SIZES.items():
        if len(ids[kind]) != size:
            note(f"COCO's {kind}2014 has {size} pictures, this data set {len(ids[kind])}")


def note(message: str) -> None:
    print(f"note: {message}", file=sys.stderr)
