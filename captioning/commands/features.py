"""`features KIND`: stores of picture features: made, imported, put together, looked into."""

from __future__ import annotations

import json

from jsonargparse import ArgumentParser, Namespace

from captioning.commands import features_clip, features_import, features_regions
from captioning.commands.features_flags import (
    add_data,
    add_eyes,
    add_looking,
    add_writing,
    eyes_of,
    give,
    looking_of,
    pictures_of,
)
from captioning.commands.flags import add_kinds, new_parser


def parser() -> ArgumentParser:
    """Flags of `features`."""
    flags = new_parser("Compute, import and merge stores of picture features.")
    add_kinds(flags, "features", {name: make() for name, (make, _) in KINDS.items()})
    return flags


def run(arguments: Namespace) -> int:
    """Do what the kind says."""
    return KINDS[arguments.kind][1](arguments[arguments.kind])


def _extract_parser() -> ArgumentParser:
    flags = new_parser("Look at pictures with a CNN, or a bundle's encoder, and keep what it sees.")
    add_data(flags, "data/picturebook", "data-set folder, or any folder of pictures")
    add_eyes(flags)
    add_looking(flags)
    add_writing(flags)
    return flags


def run_extract(arguments: Namespace) -> int:
    """Compute a store, or a shard of it."""
    options = looking_of(arguments)
    from captioning.features.extract import extract

    pictures = pictures_of(arguments)
    return give(extract(pictures, *eyes_of(arguments), arguments.output, options), arguments)


def _merge_parser() -> ArgumentParser:
    flags = new_parser("Put the shards of an extraction, or stores of different splits, into one.")
    flags.add_argument("stores", type=str, nargs="+", help="stores, e.g. F.*-of-4.h5")
    add_writing(flags)
    return flags


def run_merge(arguments: Namespace) -> int:
    """Write one store from several."""
    from captioning.features.merge import merge_stores

    result = merge_stores(arguments.stores, arguments.output, arguments.overwrite, progress=True)
    return give(result, arguments)


def _info_parser() -> ArgumentParser:
    flags = new_parser("Show what a store holds and what made it.")
    flags.add_argument("store", type=str, help="the .h5 file")
    flags.add_argument("--json", action="store_true", help="print one JSON object")
    return flags


def run_info(arguments: Namespace) -> int:
    """Print what a store holds."""
    from captioning.features.store import FeatureStore

    facts = FeatureStore(arguments.store).describe()
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            text = json.dumps(value) if isinstance(value, dict | list) else value
            print(f"{name:<{width}}  {text}")
    return 0


KINDS = {
    "extract": (_extract_parser, run_extract),
    "clip": (features_clip.clip_parser, features_clip.run_clip),
    "clip-weights": (features_clip.weights_parser, features_clip.run_weights),
    "regions": (features_regions.regions_parser, features_regions.run_regions),
    "import": (features_import.import_parser, features_import.run_import),
    "import-bottom-up": (features_import.bottom_up_parser, features_import.run_bottom_up),
    "areas": (features_regions.areas_parser, features_regions.run_areas),
    "merge": (_merge_parser, run_merge),
    "info": (_info_parser, run_info),
}
