"""`import`: released checkpoints of other systems become bundles."""

from __future__ import annotations

import json

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import UsageError, checked, explain, new_parser
from captioning.config import EncoderConfig, TransformConfig

FILES = {
    "course": ("encoder-3.pkl", "decoder-3.pkl", "vocab.pkl"),
    "self-critical": ("model.pth", "infos.pkl"),
}


def parser() -> ArgumentParser:
    """Flags of `import`."""
    flags = new_parser("Turn a released checkpoint of another system into a model bundle.")
    flags.add_argument(
        "--from",
        choices=tuple(FILES),
        required=True,
        help="course: the ResNet-50 and LSTM of the notebook course; self-critical: newfc, fc, "
        "show_tell, att2in, att2in2, updown, transformer of ImageCaptioning.pytorch, "
        "relation_transformer of object_relation_transformer, and sat of satic",
    )
    flags.add_argument(
        "files",
        type=str,
        nargs="+",
        help="; ".join(f"{name}: {' '.join(files)}" for name, files in FILES.items()),
    )
    flags.add_argument("--output", type=str, required=True, help="bundle to write: models/NAME")
    flags.add_argument("--overwrite", action="store_true", help="replace the bundle there")
    flags.add_argument("--json", action="store_true", help="print what was made as JSON")
    flags.add_class_arguments(EncoderConfig, "encoder")
    flags.add_class_arguments(TransformConfig, "transform")
    flags.set_defaults({"encoder.backbone": "features"})
    explain(flags, EncoderConfig(), "encoder.")
    explain(flags, TransformConfig(), "transform.")
    return flags


def run(arguments: Namespace) -> int:
    """Read the files, write the bundle, say what to do next."""
    source, expected = arguments["from"], FILES[arguments["from"]]
    if len(arguments.files) != len(expected):
        found = f"{len(arguments.files)} received, {len(expected)} expected ({' '.join(expected)})"
        raise UsageError(f"files: {found}")
    encoder = checked(EncoderConfig, arguments.encoder.as_dict())
    transform = checked(TransformConfig, arguments.transform.as_dict())
    own = (encoder, transform) != (EncoderConfig(backbone="features"), TransformConfig())
    if own and source == "course":
        raise UsageError("encoder, transform: set, but a checkpoint of the course brings its own")
    if own and encoder.backbone == "features":
        raise UsageError("encoder, transform: set, but encoder.backbone names no network to look")
    from captioning.imports import course, self_critical
    from captioning.imports.writing import check_place, write_imported

    check_place(arguments.output, arguments.overwrite)
    if source == "course":
        captioner = course.import_course(*arguments.files)
        differences = course.DIFFERENCES
    else:
        captioner = self_critical.import_self_critical(*arguments.files, encoder, transform)
        differences = self_critical.differences(captioner)
    write_imported(captioner, arguments.output, arguments.files, differences, arguments.overwrite)
    summary = {"output": arguments.output, "words": len(captioner.vocabulary), **captioner.record}
    if arguments.json:
        print(json.dumps(summary, ensure_ascii=False))
        return 0
    print(f"{arguments.output}: {captioner.record['imported']}, {summary['words']} words")
    for sentence in differences:
        print(f"* {sentence}")
    if captioner.experiment.encoder.backbone != "features":
        print(f"next: python -m captioning caption --model {arguments.output} PHOTO.jpg")
    return 0
