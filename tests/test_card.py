"""The model card: its example runs, and it says how the model was rewarded."""

from __future__ import annotations

import re

from captioning.training.card import model_card

REWARD = {
    "objective": "reinforce",
    "reward": {"CIDEr-D": {"weight": 1.0, "metric": "CIDEr-D", "end_token": "yes"}},
    "baseline": "leave_one_out",
    "num_samples": 5,
}


def test_the_card_says_where_it_started_and_what_was_rewarded(tiny_captioner):
    plain = model_card(tiny_captioner, "mine")
    assert "rewarded by" not in plain and "started from" not in plain
    tiny_captioner.experiment.init_from, tiny_captioner.reward = "models/start", REWARD
    card = model_card(tiny_captioner, "mine")
    assert "| started from | `models/start` |" in card
    assert "reward 1 x CIDEr-D (end_token yes); baseline leave_one_out; 5 samples" in card


def test_the_example_of_the_card_imports_only_what_it_uses(tiny_captioner):
    example = re.search(r"```python\n(.*?)```", model_card(tiny_captioner, "mine"), re.DOTALL)[1]
    imported = re.findall(r"import (\w+)", example)
    assert imported == ["Captioner"] and 'load("models/mine")' in example
