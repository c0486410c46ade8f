"""Lays a scene out: where every copy of every thing stands, sits, floats or flies on the page.

Things that belong together (a rider and the horse, a cat and the chair it sits on) form a cluster;
clusters stand side by side, in the order that the relations ask for, and are made smaller together
when they need more room than the page has. Coordinates are page units (`scenery.PAGE` = 128).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache

from captioning.datasets.picturebook.sampling import ALWAYS_FLYING, PEOPLE
from captioning.datasets.picturebook.scene import Entity, Scene
from captioning.datasets.picturebook.scenery import PAGE
from captioning.datasets.picturebook.settings import ZONES, Zones
from captioning.datasets.picturebook.sprites import draw_sprite, pose_scale

# Height of a medium thing in its first pose, in page units.
HEIGHTS: dict[str, float] = {
    **{"girl": 52, "boy": 52, "dog": 31, "cat": 28, "horse": 46, "bird": 19, "rabbit": 24},
    **{"car": 27, "bus": 37, "boat": 44, "bicycle": 32, "plane": 27, "house": 56},
    **{"lighthouse": 68, "ball": 19, "kite": 36, "teddy": 27, "chair": 34, "table": 28},
    **{"balloon": 42},
}
SIZE_FACTOR = {"small": 0.8, "medium": 1.0, "large": 1.22}
MARGIN = 2.5  # page units kept free along the edges
MIN_FLYER = 17.0
STAGGER = 3.0  # page units that copies in the sky are higher or lower than their middle
START_SCALE = 1.15  # of everything on a page with room to spare
MIN_SCALE = 0.2
TALLEST = 84.0
MEASURE = 120  # height in pixels at which sprites are measured


@dataclass(frozen=True)
class Measure:
    """Width and anchors of a sprite of height 1; anchors count from its upper left corner."""

    width: float
    anchors: dict[str, tuple[float, float]]


@lru_cache(maxsize=4096)
def measure(category: str, pose: str, detail: int, facing: str) -> Measure:
    """Measure a sprite once."""
    if facing == "left":
        right = measure(category, pose, detail, "right")
        return Measure(
            right.width, {name: (right.width - x, y) for name, (x, y) in right.anchors.items()}
        )
    sprite = draw_sprite(category, "blue", pose, MEASURE, "right", detail)
    width, height = sprite.image.size
    anchors = {name: (x / height, y / height) for name, (x, y) in sprite.anchors.items()}
    return Measure(width / height, anchors)


@dataclass
class Piece:
    """One copy of a thing; its box has its lower edge at `bottom` and its centre at `x`."""

    entity: Entity
    detail: int
    height: float
    x: float = 0.0
    bottom: float = 0.0
    ground: str = "none"  # what is under it: "ground" (a shadow), "water", or "none"

    @property
    def shape(self) -> Measure:
        return measure(self.entity.category, self.entity.pose, self.detail, self.entity.facing)

    @property
    def width(self) -> float:
        return self.shape.width * self.height

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1."""
        half = self.width / 2
        return self.x - half, self.bottom - self.height, self.x + half, self.bottom

    def anchor(self, *names: str) -> tuple[float, float]:
        """The first of the named anchors the sprite has, on the page."""
        x0, y0, _, _ = self.box
        anchors = self.shape.anchors
        x, y = next(anchors[name] for name in (*names, "base") if name in anchors)
        return x0 + x * self.height, y0 + y * self.height

    def move_anchor(self, name: str, x: float, y: float) -> None:
        """Move the piece so that its anchor comes to lie on a point."""
        old_x, old_y = self.anchor(name)
        self.x += x - old_x
        self.bottom += y - old_y


@dataclass
class Cluster:
    """Pieces that move together, from the back to the front; `string` joins two of them."""

    pieces: list[Piece]
    string: tuple[Piece, Piece] | None = None

    def bounds(self) -> tuple[float, float, float, float]:
        boxes = [piece.box for piece in self.pieces]
        return (
            min(b[0] for b in boxes),
            min(b[1] for b in boxes),
            max(b[2] for b in boxes),
            max(b[3] for b in boxes),
        )

    def shift(self, dx: float) -> None:
        for piece in self.pieces:
            piece.x += dx

    def find(self, entity_id: int) -> list[Piece]:
        return [piece for piece in self.pieces if piece.entity.entity_id == entity_id]


@dataclass
class Layout:
    """All pieces from the back to the front, and the strings of kites (kite, person)."""

    pieces: list[Piece]
    strings: list[tuple[Piece, Piece]] = field(default_factory=list)


def lay_out(scene: Scene, rng: random.Random) -> Layout:
    """Find a place for everything in a scene, such that all its relations are true.

    Args:
        scene (Scene): what there is.
        rng (random.Random): chooses among the places that are right.

    Returns:
        Layout: the pieces, nothing cut off by the edges of the page.
    """
    scale = START_SCALE
    while True:
        clusters = _Builder(scene, rng, scale).clusters()
        need = _pack(clusters, rng)
        if need <= 1.0:
            break
        scale *= min(0.96, 1 / need)
        if scale < MIN_SCALE:
            raise RuntimeError(f"no layout found for {scene}")
    clusters.sort(key=lambda cluster: cluster.bounds()[3])
    return Layout(
        [piece for cluster in clusters for piece in cluster.pieces],
        [cluster.string for cluster in clusters if cluster.string],
    )


def _pack(clusters: list[Cluster], rng: random.Random) -> float:
    """Set clusters side by side; the return value is above 1 by how much the page is too small."""
    gap = 3.0
    bounds = [cluster.bounds() for cluster in clusters]
    width = sum(x1 - x0 for x0, _, x1, _ in bounds) + gap * (len(bounds) - 1)
    free = PAGE - 2 * MARGIN - width
    tallest = max((y1 - y0) / (y1 - MARGIN) for _, y0, _, y1 in bounds)
    need = max(width / (PAGE - 2 * MARGIN), tallest)
    if need > 1.0:
        return need
    shares = [rng.uniform(0.25, 1.0) for _ in range(len(clusters) + 1)]
    x = MARGIN
    for cluster, (x0, _, x1, _), share in zip(clusters, bounds, shares, strict=False):
        x += free * share / sum(shares)
        cluster.shift(x - x0)
        x += x1 - x0 + gap
    return need


class _Builder:
    """Builds the clusters of one scene at one scale."""

    def __init__(self, scene: Scene, rng: random.Random, scale: float) -> None:
        self.scene, self.rng, self.scale = scene, rng, scale
        self.zones: Zones = ZONES[scene.setting]
        self.depth = rng.uniform(0.15, 0.85)  # where in their zones things stand

    def clusters(self) -> list[Cluster]:
        """All clusters from left to right, each with its own ground line, x not yet final."""
        main = self.scene.relations[0]
        subject, other = self.scene.entities[main.subject], self.scene.entities[main.object]
        row = self._main(subject, main.predicate, other)
        for relation in self.scene.relations[1:]:
            extra = self.scene.entities[relation.subject]
            if relation.predicate in ("left of", "right of"):
                cluster = Cluster(self.row(extra))
                row.insert(0 if relation.predicate == "left of" else len(row), cluster)
            else:
                self._stack(row, extra, relation.predicate, relation.object)
        return row

    # --- pieces -------------------------------------------------------------------------------

    def height(self, entity: Entity, factor: float = 1.0) -> float:
        usual = HEIGHTS[entity.category] * pose_scale(entity.category, entity.pose)
        return min(TALLEST, usual * SIZE_FACTOR[entity.size] * self.scale * factor)

    def piece(self, entity: Entity, factor: float = 1.0, height: float | None = None) -> Piece:
        detail = self.rng.randrange(30 if entity.category in PEOPLE else 5)
        return Piece(entity, detail, height or self.height(entity, factor))

    def ground_line(self, entity: Entity) -> tuple[float, str]:
        """The y on which a thing stands, and what it stands on."""
        zones, ground = self.zones, "ground"
        if entity.category == "boat" and zones.water:
            zone, ground = zones.water, "water"
        elif entity.category in ("house", "lighthouse"):
            zone = zones.far
        elif entity.category in ("car", "bus") or (
            entity.category == "bicycle" and self.scene.setting == "street"
        ):
            zone = zones.road
        else:
            zone = zones.stand
        depth = min(1.0, max(0.0, self.depth + self.rng.uniform(-0.12, 0.12)))
        return zone[0] + (zone[1] - zone[0]) * depth, ground

    def row(self, entity: Entity, factor: float = 1.0, height: float | None = None) -> list[Piece]:
        """The copies of an entity side by side, on the ground or in the sky."""
        pieces = [self.piece(entity, factor, height) for _ in range(entity.count)]
        flies = entity.category in ALWAYS_FLYING or entity.pose == "flying"
        if flies:
            bottom, ground = self.rng.uniform(10, 24) + pieces[0].height, "none"
        else:
            bottom, ground = self.ground_line(entity)
        x = 0.0
        for i, piece in enumerate(pieces):
            piece.x = x + piece.width / 2
            x += piece.width * 0.96 + 1.0
            step = (STAGGER if flies else 1.6) * (1 if i % 2 else -1) if entity.count > 1 else 0.0
            piece.bottom, piece.ground = min(bottom + step, PAGE - MARGIN), ground
        return sorted(pieces, key=lambda piece: piece.bottom)

    # --- the main pair ------------------------------------------------------------------------

    def _main(self, subject: Entity, predicate: str, other: Entity) -> list[Cluster]:
        ahead = subject.facing == "right"
        if predicate in ("left of", "right of"):
            pair = [Cluster(self.row(subject)), Cluster(self.row(other))]
            return pair if predicate == "left of" else pair[::-1]
        if predicate == "chasing":
            return [self._chasing(subject, other, ahead)]
        if predicate == "under" and other.category == "table":
            return [self._under_table(subject, other)]
        if predicate in ("above", "under"):
            low, high = (other, subject) if predicate == "above" else (subject, other)
            row = [Cluster(self.row(low))]
            self._stack(row, high, "above", low.entity_id)
            return row
        build = {
            "on": self._on,
            "in front of": self._in_front,
            "holding": self._holding,
            "flying": self._flying,
            "riding": self._seated,
            "sitting on": self._seated,
        }
        return [build[predicate](subject, other)]

    def _stack(self, row: list[Cluster], entity: Entity, predicate: str, target: int) -> None:
        """Put an entity above or under the pieces of a target, in the target's cluster."""
        cluster = next(c for c in row if c.find(target))
        boxes = [piece.box for piece in cluster.find(target)]
        x0, x1 = min(b[0] for b in boxes), max(b[2] for b in boxes)
        if predicate == "above":
            top = cluster.bounds()[1]
            room = top - MARGIN - 3
            limit = 0.9 * (room - (2 * STAGGER if entity.count > 1 else 0.0))
            height = max(MIN_FLYER * self.scale, min(self.height(entity), limit))
            pieces = self.row(entity, height=height)
            high = Cluster(pieces)
            lowest = top - 3 - (high.bounds()[3] - pieces[0].bottom)
            spare = max(0.0, room - (high.bounds()[3] - high.bounds()[1]))
            shift = lowest - spare * self.rng.uniform(0.3, 0.85) - pieces[0].bottom
            for piece in pieces:
                piece.bottom += shift
        else:
            pieces = self.row(entity)
            high = Cluster(pieces)
            bottom, top = max(b[3] for b in boxes), high.bounds()[1]
            if top < bottom + 3:  # lift what flies; _pack notices when it leaves the page
                for piece in cluster.find(target):
                    piece.bottom -= bottom + 3 - top
        left, _, right, _ = high.bounds()
        wiggle = 0.2 * max(0.0, abs((x1 - x0) - (right - left)))
        high.shift((x0 + x1 - left - right) / 2 + self.rng.uniform(-wiggle, wiggle))
        cluster.pieces.extend(pieces)

    def _chasing(self, subject: Entity, other: Entity, ahead: bool) -> Cluster:
        """The chased one ahead, both looking the same way."""
        hunters, hunted = Cluster(self.row(subject)), Cluster(self.row(other))
        if subject.category == "bird":
            drop = hunters.pieces[0].bottom - hunted.pieces[0].bottom
            for piece in hunters.pieces:
                piece.bottom -= drop - self.rng.uniform(-4, 4)
        elif other.pose == "flying":
            line = hunters.bounds()[3]
            low = line - self.rng.uniform(6, 14)
            lift = hunted.bounds()[3] - low
            for piece in hunted.pieces:
                piece.bottom -= lift
        gap = self.rng.uniform(4, 9) * self.scale
        first, second = (hunters, hunted) if ahead else (hunted, hunters)
        second.shift(first.bounds()[2] + gap - second.bounds()[0])
        return Cluster(first.pieces + second.pieces)

    def _on(self, subject: Entity, other: Entity) -> Cluster:
        base = self.row(other)[0]
        limit = 0.9 * base.height if other.category != "chair" else 0.8 * base.height
        pieces = []
        names = ("seat", "top") if other.category == "chair" else ("top",)
        x, y = base.anchor(*names)
        for i in range(subject.count):
            piece = self.piece(subject, height=min(self.height(subject, 0.9), limit))
            offset = (i - (subject.count - 1) / 2) * piece.width * 0.98
            if other.category == "table" and subject.count == 1:
                offset = self.rng.uniform(-0.2, 0.2) * max(0.0, base.width - piece.width)
            piece.move_anchor("base", x + offset, y)
            pieces.append(piece)
        return Cluster([base, *pieces])

    def _under_table(self, subject: Entity, other: Entity) -> Cluster:
        table = self.row(other, 1.5)[0]
        count = subject.count
        # among four legs, or before the one leg and below the cloth
        lower, most = (-1.5, 0.62) if other.pose == "square" else (1.5, 0.54)
        pieces = []
        for i in range(count):
            height = min(self.height(subject, 0.85), table.height * most)
            piece = self.piece(subject, height=height)
            room = table.width * 0.8 / count
            piece.height = min(piece.height, room / piece.shape.width)
            piece.x = table.x + (i - (count - 1) / 2) * min(room, piece.width * 1.15)
            piece.bottom, piece.ground = table.bottom + lower, "ground"
            pieces.append(piece)
        return Cluster([*pieces, table] if other.pose == "square" else [table, *pieces])

    def _in_front(self, subject: Entity, other: Entity) -> Cluster:
        behind = self.row(other, 1.08)[0]
        pieces = self.row(subject, 0.95)
        if other.category == "boat" and subject.category != "boat":
            behind.bottom = self.zones.water[1]
            near = self.zones.stand[0] + 1.0
        else:
            deep = self.rng.uniform(0.25, 0.45) * pieces[0].height
            near = behind.bottom + min(11.0, max(5.0, deep))
        if near > PAGE - MARGIN:
            behind.bottom -= near - (PAGE - MARGIN)
            near = PAGE - MARGIN
        front = Cluster(pieces)
        drop = near - front.bounds()[3]
        for piece in pieces:
            piece.bottom += drop
        x0, _, x1, _ = front.bounds()
        overlap = min(x1 - x0, 0.42 * behind.width)
        inset = self.rng.uniform(0.0, 0.35) * max(0.0, behind.width - 2 * overlap)
        left, _, right, _ = behind.box
        if self.rng.random() < 0.5:
            front.shift(left + inset + overlap - x1)
        else:
            front.shift(right - inset - overlap - x0)
        return Cluster([behind, *pieces])

    def _holding(self, subject: Entity, other: Entity) -> Cluster:
        person = self.row(subject)[0]
        low, high = (0.3, 0.4) if other.category in ("ball", "bird") else (0.36, 0.46)
        height = min(max(self.height(other), low * person.height), high * person.height)
        held = self.piece(other, height=height)
        x, y = person.anchor("hand")
        out = 1 if x > person.x else -1
        held.x, held.bottom = x + out * 0.14 * held.width, y + held.height * 0.55
        return Cluster([person, held])

    def _flying(self, subject: Entity, other: Entity) -> Cluster:
        person, kite = self.row(subject, 0.95)[0], self.piece(other)
        side = 1 if subject.facing == "right" else -1
        top = person.box[1]
        kite.x = person.anchor("hand")[0] + side * self.rng.uniform(10, 26)
        low = max(MARGIN + kite.height, min(top + 8, MARGIN + kite.height + 14))
        kite.bottom = self.rng.uniform(MARGIN + kite.height, low)
        over = max(0.0, kite.bottom - person.anchor("hand")[1] + 8)
        kite.bottom -= over
        return Cluster([kite, person], string=(kite, person))

    def _seated(self, subject: Entity, other: Entity) -> Cluster:
        factor = {"horse": 1.15, "bicycle": 1.2, "chair": 1.15, "table": 1.0}[other.category]
        seat = self.row(other, factor)[0]
        most = {"horse": 0.84, "bicycle": 1.05, "chair": 1.1, "table": 1.3}[other.category]
        height = self.height(subject, 0.9)
        if subject.category not in PEOPLE:
            height, most = min(height, seat.height * 0.8), 0.8
        height = min(height, seat.height * most)
        rider = self.piece(subject, height=height)
        names = ("top",) if other.category == "table" else ("seat", "top")
        x, y = seat.anchor(*names)
        rider.move_anchor("hip", x, y)
        return Cluster([seat, rider])
