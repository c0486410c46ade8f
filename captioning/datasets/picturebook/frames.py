"""Sentence frames of the describers: the order in which a relation between two things is told.

Fields of a frame: s and o, subject and object of the relation; v, ing what the subject does, act,
acting, done the verb of an action (a suffix _o is the same for the object); rel, inv the relation
and its inverse; be, have, poss, adv agree with the subject; left, right the two by their side.
"""

from __future__ import annotations

Frame = tuple[str, bool, float]  # text, whether it is a whole sentence, weight

SPATIAL_FRAMES: tuple[Frame, ...] = (
    ("{s} {v} {rel} {o}", True, 10),
    ("{s} {be} {rel} {o}", True, 4),
    ("{s} {be} {ing} {rel} {o}", True, 7),
    ("{s} {ing} {rel} {o}", False, 5),
    ("{s} {rel} {o}", False, 3),
    ("there {be} {s} {rel} {o}", True, 4),
    ("there {be} {s} {ing} {rel} {o}", True, 3),
    ("{s} can be seen {rel} {o}", True, 0.8),
    ("{rel} {o} {v} {s}", True, 1.5),
    ("{rel} {o} there {be} {s}", True, 1),
    ("{s} {adv} {v} {rel} {o}", True, 0.8),
    ("{s} that {be} {ing} {rel} {o}", False, 0.4),
)
INVERSE_FRAMES: tuple[Frame, ...] = (
    ("{o} {v_o} {inv} {s}", True, 5),
    ("{o} {be_o} {ing_o} {inv} {s}", True, 2.5),
    ("{o} {ing_o} {inv} {s}", False, 2),
    ("{o} {inv} {s}", False, 1.5),
    ("there {be_o} {o} {inv} {s}", True, 2),
)
HOST_FRAMES: tuple[Frame, ...] = (  # for on, under, above
    ("{o} with {s} {rel} {it_o}", False, 3),
    ("there {be_o} {o} with {s} {rel} {it_o}", True, 1.5),
    ("{o} {have_o} {s} {rel} {it_o}", True, 1),
)
SIDE_FRAMES: tuple[Frame, ...] = (
    ("{left} on the left and {right} on the right", False, 1.5),
    ("there {be_left} {left} on the left and {right} on the right", True, 1),
    ("{left} {be_left} on the left and {right} on the right", True, 0.6),
    ("on the right {be_right} {right} and on the left {left}", True, 0.4),
)
ACTION_FRAMES: tuple[Frame, ...] = (
    ("{s} {act} {o}", True, 10),
    ("{s} {be} {acting} {o}", True, 8),
    ("{s} {acting} {o}", False, 6),
    ("there {be} {s} {acting} {o}", True, 2.5),
    ("{s} {adv} {act} {o}", True, 1.2),
    ("{s} {be} {adv} {acting} {o}", True, 0.7),
    ("{s} can be seen {acting} {o}", True, 0.8),
    ("{s} {who} {be} {acting} {o}", False, 0.5),
)
PASSIVE_FRAMES: tuple[Frame, ...] = (
    ("{o} {be_o} {done} by {s}", True, 1.2),
    ("{o} {be_o} being {done} by {s}", True, 1),
    ("{o} {done} by {s}", False, 1),
    ("{o} being {done} by {s}", False, 0.6),
)
OWN_FRAMES: dict[str, tuple[Frame, ...]] = {
    "holding": (
        ("{s} with {o} in {poss} {hold}", False, 1.5),
        ("{s} {have} {o} in {poss} {hold}", True, 1),
    ),
    "chasing": (),
    "flying": (
        ("{s} with {o} on a string", False, 1.2),
        ("{s} {act} {o} high in the air", True, 0.8),
        ("{s} {be} {acting} {o} up in the sky", True, 0.8),
    ),
    "riding": (("{s} on {o}", False, 2.5), ("{s} {be} on {o}", True, 1)),
    "sitting on": (
        ("{s} on {o}", False, 2),
        ("{s} {be} on {o}", True, 1),
        ("there {be} {s} on {o}", True, 1.5),
        ("on {o} {sit} {s}", True, 0.8),
        ("{o} with {s} on {it_o}", False, 1),
    ),
}
FLIGHT_FRAMES: tuple[Frame, ...] = (  # for living things that are chased
    ("{o} {run_o} away from {s}", True, 1.2),
    ("{o} {be_o} {running_o} away from {s}", True, 0.8),
    ("{o} {flee_o} from {s}", True, 0.6),
    ("{o} {running_o} away from {s}", False, 0.6),
)
# Enumerations: {list} "one dog and two cats", {place} "in the snow", {setting} "a snowy scene".
LIST_FRAMES: tuple[tuple[str, float], ...] = (
    ("there {be} {list} {place}", 8),
    ("{place} there {be} {list}", 3),
    ("{list} {place}", 4),
    ("{list} can be seen {place}", 2),
    ("{list} are {place}", 4),
    ("{setting} with {list}", 4),
    ("the picture shows {list} {place}", 1.5),
    ("this picture has {list} {place}", 0.8),
    ("I can count {list} {place}", 1),
    ("I see {list} {place}", 1),
    ("we see {list} {place}", 0.8),
    ("here we have {list} {place}", 0.5),
    ("{list} together {place}", 0.8),
    ("you can find {list} {place}", 0.5),
)
TOTAL_FRAMES: tuple[tuple[str, float], ...] = (
    ("{total} {place}: {list}", 2),
    ("there are {total} {place}, {list}", 2),
    ("{total}, {list}, {place}", 1.5),
)
# A thing beside the main pair: {e}; {m} is what it relates to, if it does.
RELATED_TAILS: tuple[tuple[str, float], ...] = (
    (", and {e} {v} {rel} {m}", 4),
    (", with {e} {rel} {m}", 2),
    (" while {e} {v} {rel} {m}", 2),
    (", and {e} {be} {rel} {m}", 2),
    (", and there {be} {e} {rel} {m}", 1),
)
LOOSE_TAILS: tuple[tuple[str, float], ...] = (
    (", and there {be} {e} too", 1.5),
    (", and there {be} also {e}", 1),
    (" with {e} nearby", 2),
    (", with {e} in the scene", 1),
    (", with {e} in the picture", 0.8),
    (", along with {e}", 1),
    (", and {e} {v} nearby", 1.5),
)
SKY_TAILS: tuple[tuple[str, float], ...] = (
    (", with {e} in the sky", 2),
    (", and there {be} {e} in the sky", 1.5),
    (" while {e} {v} overhead", 1),
    (", and {e} {v} in the sky", 1.5),
)
