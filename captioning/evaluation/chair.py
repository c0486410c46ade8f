"""CHAIR: how many of the objects a caption mentions are not in the picture.

CHAIRi = mentions of objects that are not there / all mentions of objects;
CHAIRs = captions with at least one such mention / all captions. Lower is better for both. `recall`
(objects of the picture that are mentioned / all of them) tells a careful caption from an empty one.

Source: A. Rohrbach, L. A. Hendricks, K. Burns, T. Darrell, K. Saenko, "Object Hallucination in
Image Captioning", EMNLP 2018, section 2.1; mentions are counted as in the authors' code (each
occurrence).
Departures: the objects of a picture come from `instances_*.json`, and from its reference captions
only when these are given (the paper always uses both); plurals are formed by rule rather than
singulars guessed; own synonyms (`coco_synonyms.py`) or the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioning.datasets.instances import load_instances
from captioning.evaluation.caption_files import ImageId
from captioning.evaluation.coco_synonyms import COCO_SYNONYMS, NO_OBJECT
from vocabulary import tokenize

_IRREGULAR_PLURALS = {
    "person": ["people", "persons"],
    "man": ["men"],
    "woman": ["women"],
    "child": ["children"],
    "mouse": ["mice"],
    "goose": ["geese"],
    "foot": ["feet"],
    "calf": ["calves"],
    "knife": ["knives"],
    "leaf": ["leaves"],
    "loaf": ["loaves"],
    "wolf": ["wolves"],
    "ox": ["oxen"],
    "die": ["dice"],
    "sheep": ["sheep"],
    "fish": ["fish", "fishes"],
    "skis": ["skis"],
    "scissors": ["scissors"],
}


def plurals(noun: str) -> list[str]:
    """The plural forms of a noun; of a double word, those of its last word.

    Args:
        noun (str): in the singular, in lower case, e.g. "bus", "teddy bear", "fireman".

    Returns:
        list[str]: usually one form: "buses", "teddy bears", "firemen".
    """
    *before, word = noun.split()
    if word in _IRREGULAR_PLURALS:
        forms = _IRREGULAR_PLURALS[word]
    elif word.endswith("man") and word not in ("human", "talisman"):
        forms = [word[:-3] + "men"]
    elif word.endswith(("s", "x", "z", "ch", "sh")):
        forms = [word + "es"]
    elif word.endswith("y") and word[-2:-1] not in tuple("aeiou"):
        forms = [word[:-1] + "ies"]
    else:
        forms = [word + "s"]
    return [" ".join([*before, form]) for form in forms]


@dataclass(frozen=True)
class Mention:
    """An object a caption speaks of.

    Args:
        phrase (str): the words as they stand in the caption, e.g. "puppies".
        category (str): what they name, e.g. "dog".
    """

    phrase: str
    category: str


class ObjectWords:
    """Which words name which category, and where they occur in a caption.

    A category's own name comes before anybody's synonym, and longer phrases before shorter ones: in
    "a hot dog on the dining table" there is no dog, and one table.

    Args:
        categories (Iterable[str]): names of the categories that are counted.
        synonyms (Mapping | None): category to words and phrases in the singular; the category
            `NO_OBJECT` lists phrases that hide a word in them ("train station"). None takes the
            rows of `COCO_SYNONYMS` that belong to these categories.

    Raises:
        ValueError: no category, or a synonym belongs to a category that is not among them.
    """

    def __init__(
        self, categories: Iterable[str], synonyms: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.categories = list(dict.fromkeys(categories))
        if not self.categories:
            raise ValueError("categories: none received, at least one expected")
        known = {*self.categories, NO_OBJECT}
        if synonyms is None:
            synonyms = {name: words for name, words in COCO_SYNONYMS.items() if name in known}
        for name in synonyms:
            if name not in known:
                raise ValueError(
                    f"synonyms: category {name!r} received, one of {self.categories} "
                    f"or {NO_OBJECT!r} expected"
                )
        self._phrases: dict[tuple[str, ...], str] = {}
        for category in self.categories:
            self._add(category, category)
        for category, words in synonyms.items():
            for word in words:
                self._add(word, category)
        self._longest = max(map(len, self._phrases))

    def mentions(self, caption: str) -> list[Mention]:
        """Objects a caption speaks of, in order, one entry per occurrence."""
        words = tokenize(caption.replace("-", " "))
        found, start = [], 0
        while start < len(words):
            for length in range(min(self._longest, len(words) - start), 0, -1):
                phrase = tuple(words[start : start + length])
                category = self._phrases.get(phrase)
                if category is not None:
                    if category != NO_OBJECT:
                        found.append(Mention(" ".join(phrase), category))
                    start += length
                    break
            else:
                start += 1
        return found

    def _add(self, noun: str, category: str) -> None:
        noun = noun.lower().replace("-", " ").replace("_", " ")
        if not noun.split():
            raise ValueError(f"synonyms: an empty word received for category {category!r}")
        for form in [noun, *plurals(noun)]:
            self._phrases.setdefault(tuple(form.split()), category)


def chair(
    captions: Mapping[ImageId, str],
    objects: Mapping[ImageId, Iterable[str]],
    words: ObjectWords,
    references: Mapping[ImageId, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Object hallucination of one caption per image.

    Args:
        captions (Mapping): image id to the caption to be judged.
        objects (Mapping): image id to the categories in the picture, for every captioned image.
        words (ObjectWords): what names these categories.
        references (Mapping | None): image id to human captions; what they mention counts as being
            in the picture too, as in the paper.

    Returns:
        dict: `overall` (`CHAIRi`, `CHAIRs`, `recall`, each 0..1; 0 where there was nothing to
            count), `per_image` (list of `image_id`, `caption`, `objects`, `mentioned`,
            `hallucinated`: phrases with the category in brackets where it differs, `CHAIRi`,
            `recall`), `settings` with counts.

    Raises:
        ValueError: no captions, or an image whose objects are unknown.
    """
    if not captions:
        raise ValueError("captions: none received, at least one expected")
    per_image = []
    counts = dict.fromkeys(("mentions", "hallucinated", "covered", "objects"), 0)
    for image_id, caption in captions.items():
        if image_id not in objects:
            raise ValueError(f"objects: image {image_id!r} has a caption but no annotated objects")
        truth = set(objects[image_id])
        for reference in (references or {}).get(image_id, []):
            truth |= {mention.category for mention in words.mentions(reference)}
        mentions = words.mentions(caption)
        wrong = [mention for mention in mentions if mention.category not in truth]
        right = {mention.category for mention in mentions} & truth
        per_image.append(
            {
                "image_id": image_id,
                "caption": caption,
                "objects": sorted(truth),
                "mentioned": [_label(mention) for mention in mentions],
                "hallucinated": [_label(mention) for mention in wrong],
                "CHAIRi": _share(len(wrong), len(mentions)),
                "recall": _share(len(right), len(truth)),
            }
        )
        for key, items in zip(counts, (mentions, wrong, right, truth), strict=True):
            counts[key] += len(items)
    overall = {
        "CHAIRi": _share(counts["hallucinated"], counts["mentions"]),
        "CHAIRs": sum(bool(entry["hallucinated"]) for entry in per_image) / len(per_image),
        "recall": _share(counts["covered"], counts["objects"]),
    }
    settings = {"num_images": len(per_image), "objects_from_references": references is not None}
    settings |= {f"num_{key}": count for key, count in counts.items()}
    return {"overall": overall, "per_image": per_image, "settings": settings}


def read_objects(path: str | Path) -> tuple[dict[ImageId, set[str]], list[str]]:
    """The categories in each picture, from a COCO instances file.

    Args:
        path (str | Path): `instances_SPLIT.json`.

    Returns:
        tuple: image id to the set of its categories (empty for a picture without objects), and all
            category names in the file's order.

    Raises:
        FileNotFoundError, ValueError: see `load_instances`.
    """
    coco = load_instances(path)
    objects = {
        image_id: {coco.cats[one["category_id"]]["name"] for one in coco.imgToAnns[image_id]}
        for image_id in coco.imgs
    }
    return objects, [category["name"] for category in coco.cats.values()]


def _label(mention: Mention) -> str:
    same = mention.phrase == mention.category
    return mention.phrase if same else f"{mention.phrase} ({mention.category})"


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
