"""Scenes of the picture book: what is thought up, laid out and drawn is true and can be seen."""

import random
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from captioning.datasets.picturebook.drawing import draw_scene
from captioning.datasets.picturebook.layout import lay_out
from captioning.datasets.picturebook.masks import outline, to_instance
from captioning.datasets.picturebook.pictures import iterate_pictures, make_picture
from captioning.datasets.picturebook.sampling import (
    AT_HOME,
    PAIRS,
    combination,
    is_held_out,
    sample_scene,
    statements,
)
from captioning.datasets.picturebook.scene import (
    CATEGORIES,
    COLOURS,
    POSES,
    RELATIONS,
    SETTINGS,
    Scene,
)
from captioning.datasets.picturebook.settings import ZONES, draw_setting

SIZE = 128


@cache
def sampled(count: int = 1000) -> list[Scene]:
    return [sample_scene(i, random.Random(f"test {i}")) for i in range(count)]


@cache
def drawn(count: int = 150) -> list[Scene]:
    return [make_picture(11, "extra", i, novel=i % 3 == 0)[1] for i in range(1, count + 1)]


def boxes(scene: Scene, entity_id: int) -> np.ndarray:
    """x0, y0, x1, y1 of every copy."""
    rows = [i.bbox for i in scene.instances if i.entity_id == entity_id]
    return np.array([(x, y, x + w, y + h) for x, y, w, h in rows])


def test_every_category_colour_and_relation_is_frequent():
    """At least 250, 100 and 100 of 3,000 train pictures; here of 1,000."""
    categories, colours, relations = Counter(), Counter(), Counter()
    for scene in sampled():
        categories.update({entity.category for entity in scene.entities})
        colours.update({entity.colour for entity in scene.entities})
        relations.update({relation.predicate for relation in scene.relations})
    assert min(categories[name] for name in CATEGORIES) >= 250 / 3 * 0.9
    assert min(colours[name] for name in COLOURS) >= 100 / 3
    assert min(relations[name] for name in RELATIONS) >= 100 / 3


def test_scenes_make_sense():
    for scene in sampled():
        assert scene.setting in SETTINGS
        assert [entity.entity_id for entity in scene.entities] == list(range(len(scene.entities)))
        assert 2 <= len(scene.entities) <= 4
        assert len(scene.relations) == len(scene.entities) - 1
        for entity in scene.entities:
            assert entity.category in AT_HOME[scene.setting]
            assert entity.pose in POSES[entity.category]
            assert 1 <= entity.count <= 3
        main = scene.relations[0]
        names = scene.entities[main.subject].category, scene.entities[main.object].category
        assert any(
            main.predicate == predicate and names[0] in subjects and names[1] in objects
            for predicate, subjects, objects in PAIRS
        )
        if main.predicate == "chasing":
            assert scene.entities[0].facing == scene.entities[1].facing


def test_numbers_above_one_occur():
    counts = Counter(entity.count for scene in sampled() for entity in scene.entities)
    assert counts[2] >= 100 and counts[3] >= 30


def test_held_out_combinations_stay_out_of_train():
    assert not any(is_held_out(*words) for scene in sampled() for words in statements(scene))
    novel = [sample_scene(i, random.Random(f"novel {i}"), novel=True) for i in range(100)]
    assert all(scene.novel and is_held_out(*combination(scene)) for scene in novel)
    seen = {words for scene in sampled() for words in statements(scene)}
    assert not seen & {combination(scene) for scene in novel}


def test_held_out_share_and_what_remains():
    """About a sixth is held out, and every category keeps half its colours in every role."""
    roles = {(name, predicate) for predicate, subjects, _ in PAIRS for name in subjects}
    out = {role: sum(is_held_out(role[0], c, role[1]) for c in COLOURS) for role in roles}
    assert 0.12 < sum(out.values()) / (len(roles) * len(COLOURS)) < 0.22
    assert max(out.values()) <= len(COLOURS) / 2


def test_statements_include_converse_and_implied():
    scene = next(s for s in sampled() if s.relations[0].predicate == "left of")
    subject, other = scene.entities[0], scene.entities[1]
    assert (other.category, other.colour, "right of") in set(statements(scene))
    scene = next(s for s in sampled() if s.relations[0].predicate == "sitting on")
    subject = scene.entities[0]
    assert (subject.category, subject.colour, "on") in set(statements(scene))


def test_record_survives_json():
    scene = sampled()[3]
    assert Scene.from_dict(scene.to_dict()) == scene


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9), st.booleans())
def test_layout_stays_on_the_page(seed, novel):
    scene = sample_scene(1, random.Random(seed), novel)
    layout = lay_out(scene, random.Random(seed + 1))
    assert len(layout.pieces) == sum(entity.count for entity in scene.entities)
    for piece in layout.pieces:
        x0, y0, x1, y1 = piece.box
        assert x0 >= 1 and y0 >= 1 and x1 <= 127 and y1 <= 127, (scene, piece)


def test_spatial_relations_are_true_in_the_picture():
    checked = Counter()
    for scene in drawn():
        for relation in scene.relations:
            one, two = boxes(scene, relation.subject), boxes(scene, relation.object)
            x_one, x_two = (one[:, 0] + one[:, 2]) / 2, (two[:, 0] + two[:, 2]) / 2
            if relation.predicate == "left of":
                assert x_one.max() < x_two.min() - 6, scene
            elif relation.predicate == "right of":
                assert x_one.min() > x_two.max() + 6, scene
            elif relation.predicate == "above":
                assert one[:, 3].max() < two[:, 1].min() + 2, scene
            elif relation.predicate == "under" and scene.entities[relation.object].pose in (
                *POSES["table"],
            ):
                assert one[:, 1].min() > two[:, 1].min() + 4, scene
                assert one[:, 0].min() > two[:, 0].min() and one[:, 2].max() < two[:, 2].max()
            elif relation.predicate == "under":
                assert two[:, 3].max() < one[:, 1].min() + 2, scene
            elif relation.predicate == "in front of":
                assert one[:, 3].min() > two[:, 3].max(), scene
            elif relation.predicate == "on":
                assert (one[:, 3] > two[:, 1].min() - 2).all(), scene
                assert (one[:, 3] < two[:, 3].max() - 3).all(), scene
                assert (one[:, 1] < two[:, 3].max() - 12).all(), scene
            checked[relation.predicate] += 1
    assert min(checked[name] for name in ("left of", "right of", "on", "under", "above")) >= 5


def test_actions_are_true_in_the_picture():
    checked = Counter()
    for scene in drawn():
        main = scene.relations[0]
        one, two = boxes(scene, main.subject), boxes(scene, main.object)
        facing = 1 if scene.entities[main.subject].facing == "right" else -1
        ahead = facing * ((two[:, 0] + two[:, 2]).mean() - (one[:, 0] + one[:, 2]).mean())
        touch = not (
            one[0, 0] > two[0, 2]
            or two[0, 0] > one[0, 2]
            or one[0, 1] > two[0, 3]
            or two[0, 1] > one[0, 3]
        )
        if main.predicate == "chasing":
            assert ahead > 0, scene
        elif main.predicate == "flying":
            assert two[0, 1] < one[0, 1] and two[0, 3] < one[0, 3] - 15, scene
        elif main.predicate in ("riding", "sitting on"):
            assert touch and one[0, 1] < two[0, 1] + 12 and one[0, 3] <= two[0, 3] + 3, scene
        elif main.predicate == "holding":
            assert touch and two[0, 3] < one[0, 3], scene
        checked[main.predicate] += 1
    assert min(checked[n] for n in ("chasing", "flying", "riding", "sitting on", "holding")) >= 3


def test_instances_are_inside_whole_and_large_enough():
    for scene in drawn():
        assert len(scene.instances) == sum(entity.count for entity in scene.entities)
        for instance in scene.instances:
            x, y, w, h = instance.bbox
            assert x >= 1 and y >= 1 and x + w <= SIZE - 1 and y + h <= SIZE - 1
            assert instance.area >= 30 and max(w, h) >= 9


def test_polygons_cover_the_visible_area():
    ratios = []
    for scene in drawn():
        for instance in scene.instances:
            rle = coco_mask.merge(coco_mask.frPyObjects(instance.segmentation, SIZE, SIZE))
            ratios.append(float(coco_mask.area(rle)) / instance.area)
    assert 0.97 < np.mean(ratios) < 1.03
    assert np.quantile(np.abs(np.array(ratios) - 1), 0.95) < 0.1


def test_outline_of_a_ring_keeps_its_hole():
    """A 20 x 20 square with an 8 x 8 hole: 400 - 64 = 336 pixels."""
    mask = np.zeros((32, 32), np.uint8)
    mask[4:24, 6:26] = 255
    mask[10:18, 12:20] = 0
    instance = to_instance(0, mask)
    assert instance.bbox == (6.0, 4.0, 20.0, 20.0) and instance.area == 336.0
    assert len(instance.segmentation) == 1
    rle = coco_mask.frPyObjects(instance.segmentation, 32, 32)
    assert abs(int(coco_mask.area(rle)[0]) - 336) <= 12
    assert coco_mask.decode(rle)[14, 16, 0] == 0
    assert len(outline(mask, (6, 4, 20, 20))[0]) <= 2 * 24


def test_nothing_visible_gives_an_empty_record():
    instance = to_instance(2, np.zeros((8, 8), np.uint8))
    assert instance.area == 0 and instance.segmentation == []


def test_drawing_is_repeatable_and_has_any_size():
    scene = sampled()[0]
    first = draw_scene(scene, random.Random(3))
    instances = scene.instances
    assert first.size == (SIZE, SIZE) and first.mode == "RGB"
    again = draw_scene(scene, random.Random(3))
    assert first.tobytes() == again.tobytes() and instances == scene.instances
    assert draw_scene(scene, random.Random(4)).tobytes() != first.tobytes()
    assert draw_scene(scene, random.Random(3), 200).size == (200, 200)
    with pytest.raises(ValueError, match="image_size is 8"):
        draw_scene(scene, random.Random(3), 8)


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_vary_but_stay_quiet(setting):
    """Backgrounds differ from page to page, and are less saturated than the things on them."""
    pages = [np.asarray(draw_setting(setting, random.Random(i), 96)).astype(int) for i in range(3)]
    assert (pages[0] != pages[1]).mean() > 0.05
    spread = np.mean([(page.max(2) - page.min(2)).mean() for page in pages])
    assert spread < 90
    assert 0 < ZONES[setting].horizon < 128


def test_unknown_setting_is_named():
    with pytest.raises(ValueError, match="setting is 'moon'"):
        draw_setting("moon", random.Random(0), 64)


def test_iterate_pictures_continues_where_it_stopped():
    every = list(iterate_pictures(21, 3, 64))
    later = list(iterate_pictures(21, 1, 64, start=3))
    assert every[2][0].tobytes() == later[0][0].tobytes() and every[2][1] == later[0][1]
    assert not any(scene.novel for _, scene in every)
