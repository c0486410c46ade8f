"""What a picture-book page holds: the words of the drawn world and the records that describe one
picture.

A `Scene` is sampled first, then drawn, then described; everything downstream (boxes, captions,
facts) reads the same record, so the ground truth cannot disagree with the picture.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

# Twenty categories under seven supercategories (COCO's word for a group of categories).
SUPERCATEGORIES: dict[str, tuple[str, ...]] = {
    "person": ("girl", "boy"),
    "animal": ("dog", "cat", "horse", "bird", "rabbit"),
    "vehicle": ("car", "bus", "boat", "bicycle", "plane"),
    "building": ("house", "lighthouse"),
    "toy": ("ball", "kite", "teddy"),
    "furniture": ("chair", "table"),
    "sky": ("balloon",),  # a hot-air balloon
}
CATEGORIES: tuple[str, ...] = tuple(c for group in SUPERCATEGORIES.values() for c in group)

# The colour of a person is the colour of the clothes; of everything else, of the body.
COLOURS: tuple[str, ...] = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")

SIZES: tuple[str, ...] = ("small", "medium", "large")

SETTINGS: tuple[str, ...] = (
    "meadow",
    "beach",
    "snow",
    "street",
    "living room",
    "harbour at night",
)

# Relations that can be seen. "left of" and "right of" are seen from the reader's side.
SPATIAL_RELATIONS: tuple[str, ...] = ("left of", "right of", "on", "under", "in front of", "above")
ACTIONS: tuple[str, ...] = ("holding", "chasing", "flying", "riding", "sitting on")
RELATIONS: tuple[str, ...] = SPATIAL_RELATIONS + ACTIONS

# How a category can be drawn: poses of the living, variants of the rest. The first is the default.
POSES: dict[str, tuple[str, ...]] = {
    "girl": ("standing", "walking", "sitting", "riding", "holding"),
    "boy": ("standing", "walking", "sitting", "riding", "holding"),
    "dog": ("standing", "running", "sitting"),
    "cat": ("standing", "running", "sitting"),
    "horse": ("standing", "running"),
    "bird": ("perched", "flying"),
    "rabbit": ("sitting", "running"),
    "car": ("saloon", "hatchback"),
    "bus": ("city", "school"),
    "boat": ("sailing", "steam"),
    "bicycle": ("plain", "basket"),
    "plane": ("propeller", "jet"),
    "house": ("cottage", "tall"),
    "lighthouse": ("banded", "plain"),
    "ball": ("striped", "spotted"),
    "kite": ("diamond", "delta"),
    "teddy": ("sitting", "standing"),
    "chair": ("wooden", "armchair"),
    "table": ("round", "square"),
    "balloon": ("striped", "plain"),
}


@dataclass(frozen=True)
class Entity:
    """One thing of the picture, or up to three of a kind side by side.

    Args:
        entity_id (int): position in `Scene.entities`.
        category (str): one of `CATEGORIES`.
        colour (str): one of `COLOURS`.
        size (str): one of `SIZES`, compared with what is usual for the category.
        count (int): 1 to 3 copies, all of this colour and size.
        pose (str): one of `POSES[category]`.
        facing (str): "left" or "right".
    """

    entity_id: int
    category: str
    colour: str
    size: str = "medium"
    count: int = 1
    pose: str = ""
    facing: str = "right"


@dataclass(frozen=True)
class Relation:
    """`subject` and `object` are entity ids; `predicate` is one of `RELATIONS`."""

    subject: int
    predicate: str
    object: int


@dataclass(frozen=True)
class Instance:
    """One drawn copy of an entity.

    Args:
        entity_id (int): which entity it is a copy of.
        bbox (tuple): x, y, width, height in pixels of the final picture (COCO's order), of the
            visible part.
        area (float): visible pixels.
        segmentation (list): polygons [x1, y1, x2, y2, ...] around the visible part, pixels of the
            final picture.
    """

    entity_id: int
    bbox: tuple[float, float, float, float]
    area: float
    segmentation: list[list[float]]


@dataclass
class Scene:
    """Everything there is to know about one picture.

    `relations[0]` is what the picture is about. `instances` is filled in by the drawing.
    """

    image_id: int
    setting: str
    entities: list[Entity]
    relations: list[Relation]
    instances: list[Instance] = field(default_factory=list)
    novel: bool = False  # uses a combination of category, colour and relation kept out of train

    def to_dict(self) -> dict:
        """A JSON-ready dictionary; `instances` stay out (they are in `instances_SPLIT.json`)."""
        record = asdict(self)
        del record["instances"]
        return record

    @classmethod
    def from_dict(cls, record: dict) -> Scene:
        """The inverse of `to_dict`."""
        return cls(
            image_id=record["image_id"],
            setting=record["setting"],
            entities=[Entity(**entity) for entity in record["entities"]],
            relations=[Relation(**relation) for relation in record["relations"]],
            novel=record["novel"],
        )


def load_scenes(path: str | Path) -> dict[int, Scene]:
    """Read the ground truth of a split.

    Args:
        path (str | Path): `scenes_SPLIT.json` of the picture book.

    Returns:
        dict[int, Scene]: scenes by image id.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not hold scenes; the message names it.
    """
    try:
        records = json.loads(Path(path).read_text("utf-8"))
        records = records["scenes"] if isinstance(records, dict) else records
        scenes = [Scene.from_dict(record) for record in records]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a file of scenes ({error!r})") from error
    return {scene.image_id: scene for scene in scenes}
