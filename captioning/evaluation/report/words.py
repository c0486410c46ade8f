"""What the scores are called on a page, which way is better, and what each means in a few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Meaning(NamedTuple):
    """A metric for a reader.

    Args:
        label (str): its name in print.
        better (int): 1 higher is better, -1 lower is, 0 neither.
        about (str): what it measures.
    """

    label: str
    better: int
    about: str


MEANINGS = {
    "CIDEr": Meaning("CIDEr", 1, "word sequences shared with the references; rare ones count more"),
    "SPICE": Meaning("SPICE", 1, "things, properties and relations shared with the references"),
    "METEOR": Meaning("METEOR", 1, "words shared with a reference, also as stems and synonyms"),
    "ROUGE_L": Meaning("ROUGE-L", 1, "longest sequence of words shared with a reference"),
    "Bleu_4": Meaning("BLEU-4", 1, "sequences of up to four words that a reference has too"),
    "Bleu_3": Meaning("BLEU-3", 1, "sequences of up to three words that a reference has too"),
    "Bleu_2": Meaning("BLEU-2", 1, "sequences of up to two words that a reference has too"),
    "Bleu_1": Meaning("BLEU-1", 1, "words that a reference has too"),
    "CIDEr_plain": Meaning("CIDEr, plain", 1, "CIDEr without clipping and length penalty"),
    "CIDEr_train_df": Meaning("CIDEr, training frequencies", 1, "rare means rare in training"),
    "CLIP_S": Meaning("CLIP-S", 1, "how well the caption fits the picture, as CLIP sees it"),
    "RefCLIP_S": Meaning("RefCLIP-S", 1, "the same, and how near it is to a reference"),
    "text_to_image_R1": Meaning("finds its picture", 1, "captions whose picture CLIP ranks first"),
    "text_to_image_R5": Meaning("picture in 5", 1, "the same, among the first five"),
    "text_to_image_R10": Meaning("picture in 10", 1, "the same, among the first ten"),
    "image_to_text_R1": Meaning("finds its caption", 1, "pictures whose caption CLIP ranks first"),
    "image_to_text_R5": Meaning("caption in 5", 1, "the same, among the first five"),
    "image_to_text_R10": Meaning("caption in 10", 1, "the same, among the first ten"),
    "grammar": Meaning("grammar", 1, "how probable it is that captions are whole sentences"),
    "FineCapEval_overall": Meaning("fine: overall", 1, "CIDEr against the table's captions"),
    "FineCapEval_background": Meaning("fine: background", 1, "words of its phrases that are said"),
    "FineCapEval_object": Meaning("fine: object", 1, "words of its phrases that are said"),
    "FineCapEval_relation": Meaning("fine: relation", 1, "words of its phrases that are said"),
    "CHAIRi": Meaning("CHAIR-i", -1, "share of the mentioned objects that are not in the picture"),
    "CHAIRs": Meaning("CHAIR-s", -1, "share of the captions with such an object"),
    "recall": Meaning("object recall", 1, "share of the picture's objects that are mentioned"),
    "facts": Meaning("facts", 1, "how true and how complete, in one number"),
    "object_precision": Meaning("objects right", 1, "mentioned objects that are there"),
    "object_recall": Meaning("objects found", 1, "objects of the picture that are mentioned"),
    "object_f1": Meaning("object F1", 1, "objects right and found, in one number"),
    "colour_accuracy": Meaning("colours right", 1, "of the colours that are said"),
    "relation_accuracy": Meaning("relations right", 1, "of the relations that are said"),
    "setting_accuracy": Meaning("places right", 1, "of the places that are said"),
    "count_accuracy": Meaning("numbers right", 1, "of the numbers that are said"),
    "bad_endings": Meaning("bad endings", -1, "captions that stop in the middle of a phrase"),
    "repetition": Meaning("repetition", -1, "captions that say the same words twice in a row"),
    "distinct_captions": Meaning("different captions", 1, "share of captions said only once"),
    "words": Meaning("words", 0, "length of a caption"),
    "vocabulary_size": Meaning("vocabulary", 0, "different words that were used"),
    "novel_captions": Meaning("new captions", 0, "share that is no training caption"),
    "Div_1": Meaning("Div-1", 0, "different words by all words, among the captions of a picture"),
    "Div_2": Meaning("Div-2", 0, "the same for pairs of words"),
    "mBLEU_4": Meaning("mBLEU-4", 0, "how alike the captions of a picture are"),
    "self_CIDEr": Meaning("self-CIDEr", 0, "how different the captions of a picture are"),
    "logprob": Meaning("logprob", 0, "how likely the model found its own caption"),
    "caption_perplexity": Meaning("own perplexity", 0, "how unsure the model was, word by word"),
    "perplexity": Meaning("perplexity", -1, "how surprised the model is by what people wrote"),
    "pictures_per_second": Meaning("pictures a second", 0, "without reading them"),
    "latency_ms": Meaning("milliseconds a picture", 0, "one at a time"),
}
_ORDER = {key: number for number, key in enumerate(MEANINGS)}


def in_reading_order(keys: Iterable[str]) -> list[str]:
    """Each key once: those known here first, the others as they came."""
    return sorted(dict.fromkeys(keys), key=lambda key: _ORDER.get(key, len(_ORDER)))


def meaning(key: str) -> Meaning:
    """The words for a metric; its bare name for one that is not known here."""
    for prefix, words in {"oracle_": "best", "average_": "mean"}.items():
        known = MEANINGS.get(key.removeprefix(prefix))
        if key.startswith(prefix) and known:
            about = f"{words} of the captions of a picture"
            return Meaning(f"{known.label}, {words} of several", known.better, about)
    return MEANINGS.get(key) or Meaning(key.replace("_", " "), 0, "")


def describe_search(generation: Mapping[str, Any]) -> str:
    """How captions were searched for, in a few words; "" when the settings do not say.

    Args:
        generation (Mapping): fields of `GenerationConfig`, as a result stores them.
    """
    method, beams = generation.get("method"), generation.get("beam_size")
    groups, temperature = generation.get("num_beam_groups"), generation.get("temperature")
    said = {
        "greedy": "greedy",
        "sample": f"sampling at temperature {temperature}",
        "beam": f"beam of {beams}",
        "diverse_beam": f"{beams} beams in {groups} groups",
    }
    rules = ("no_repeat", "block_trigrams", "remove_bad_endings")
    parts = [said.get(str(method), str(method or ""))]
    parts += [rule.replace("_", " ") for rule in rules if generation.get(rule)]
    return ", ".join(part for part in parts if part)
