"""The decoders' contract, for every kind and every option of the transformer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import learn_by_heart, small_experiment
from decoder_cases import (
    BLIND,
    KINDS,
    LOOKING,
    TRANSFORMERS,
    WORDS,
    alone,
    close,
    config_of,
    make_captions,
    make_decoder,
    make_features,
)
from odd_pictures import two_halves

from captioning.bundle import Captioner
from captioning.config import GenerationConfig
from captioning.decoders.build import build_decoder
from captioning.decoding.generation import generate
from model import VisualFeatures


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ragged", [False, True])
def test_step_equals_forward(kind, ragged):
    decoder, features, captions = make_decoder(kind), make_features(ragged), make_captions()
    whole = decoder(features, captions)
    assert whole.logits.shape == (6, 6, WORDS) and whole.logits.isfinite().all()
    for size in (1, 2):  # words at once
        state = decoder.init_state(features, rows_per_image=2)
        for t in range(0, 6, size):
            logits, state = decoder.step(captions[:, t : t + size], state)
            close(logits, whole.logits[:, t : t + size], 1e-5)
            if kind not in BLIND:
                weights = state["words"]["attention_weights"]
                close(weights, whole.attention_weights[:, t : t + size])
        assert all(len(value) == 6 for value in state["words"].values())
        assert all(len(value) == 3 for value in state["image"].values())  # once a picture


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ragged", [False, True])
def test_batch_equals_single_and_rows_do_not_meet(kind, ragged):
    decoder, features, captions = make_decoder(kind), make_features(ragged), make_captions()
    whole = decoder(features, captions)
    for row in range(6):  # row n belongs to picture n // 2
        one = decoder(alone(features, row // 2), captions[row : row + 1])
        close(whole.logits[row : row + 1], one.logits)
        if kind not in BLIND:
            size = one.attention_weights.shape[-1]
            close(whole.attention_weights[row : row + 1, :, :size], one.attention_weights)


@pytest.mark.parametrize("kind", KINDS)
def test_search_may_reorder_the_words_state(kind):
    decoder, features, captions = make_decoder(kind), make_features(), make_captions()
    _, state = decoder.step(captions[:, :3], decoder.init_state(features, 2))
    order = torch.tensor([1, 0, 3, 3, 4, 4])  # within the rows of each picture
    words = {name: value.index_select(0, order) for name, value in state["words"].items()}
    moved, _ = decoder.step(captions[order, 3:4], {"image": state["image"], "words": words})
    plain, _ = decoder.step(captions[:, 3:4], state)
    close(moved, plain[order])


@pytest.mark.parametrize("kind", KINDS)
def test_beam_search(kind):
    decoder, features = make_decoder(kind, loud=3.0).eval(), make_features()
    config = GenerationConfig("beam", beam_size=1, max_length=7)
    greedy = generate(decoder, features, replace(config, method="greedy"))
    narrow = generate(decoder, features, config)
    assert torch.equal(narrow.tokens, greedy.tokens)
    close(narrow.logprobs, greedy.logprobs)
    config = replace(config, beam_size=3, num_samples=2)
    wide = generate(decoder, features, config)
    assert (wide.scores[::2] >= greedy.scores - 1e-6).all()
    for picture in range(3):
        one, rows = generate(decoder, alone(features, picture), config), slice(2 * picture, None)
        tokens, scores = wide.tokens[rows][:2], wide.scores[rows][:2]
        assert torch.equal(tokens[:, : one.tokens.shape[1]], one.tokens)
        close(scores, one.scores, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_acts_in_training_only(kind):
    decoder, features, captions = make_decoder(kind, 0.5), make_features(), make_captions()
    decoder.train()
    assert not torch.equal(decoder(features, captions)[0], decoder(features, captions)[0])
    decoder.eval()
    assert torch.equal(decoder(features, captions)[0], decoder(features, captions)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_scheduled_sampling_feeds_the_decoders_own_words(kind):
    decoder, features, captions = make_decoder(kind), make_features(), make_captions()
    other = captions.clone()
    other[:, 1:] = WORDS + 3 - other[:, 1:]  # 4..12 -> 12..4

    def logits(given, chance):
        torch.manual_seed(5)
        return decoder(features, given, chance).logits

    plain, always = logits(captions, 0.0), logits(captions, 1.0)
    close(logits(captions, 1e-9), plain)
    close(always[:, 0], plain[:, 0])  # the first word is always <start>
    assert not torch.allclose(always, plain)
    assert torch.equal(always, logits(other, 1.0))  # the words given no longer matter


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind):
    decoder = make_decoder(kind, loud=2.0)
    decoder(make_features(), make_captions()).logits.square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_can_be_overfitted(kind):
    decoder, features, captions = make_decoder(kind), make_features(), make_captions(3, 5)
    rate, steps = (0.01, 60) if kind in TRANSFORMERS else (0.03, 200)
    learn_by_heart(decoder, features, captions, rate, steps)


@pytest.mark.parametrize("kind", LOOKING)
def test_attention_weights_are_shares_of_the_regions_that_count(kind):
    decoder, features = make_decoder(kind, loud=3.0), make_features()
    _, state = decoder.step(make_captions(), decoder.init_state(features, 2))
    weights = state["words"]["attention_weights"]  # (N, T, P)
    shares = weights.sum(-1, keepdim=True) + state["words"].get("sentinel", 0)
    close(shares, torch.ones(6, 6, 1))
    hidden = ~features.region_mask.repeat_interleave(2, 0)[:, None].expand_as(weights)
    assert (weights[hidden] == 0).all() and (weights[~hidden] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_in_the_padding_does_not_matter(kind):
    decoder, features, captions = make_decoder(kind), make_features(), make_captions()
    noise = torch.where(features.region_mask[..., None], features.regions, 77.0)
    boxes = torch.where(features.region_mask[..., None], features.boxes, 0.5)
    dirty = VisualFeatures(noise, features.region_mask, boxes)
    dirty = decoder(dirty, captions).logits
    close(dirty, decoder(features, captions).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_stays_near(kind):
    decoder, features, captions = make_decoder(kind), make_features(), make_captions()
    with torch.autocast("cpu", torch.bfloat16):
        half = decoder(features, captions).logits
    close(half.float(), decoder(features, captions).logits, 0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_keeps_it(kind, tiny_data, tiny_vocabulary, tmp_path):
    experiment = small_experiment(tiny_data, tmp_path / "unused")
    experiment.decoder = config_of(kind)
    torch.manual_seed(4)
    captioner = Captioner.build(experiment, tiny_vocabulary).train(False)
    captioner.save(tmp_path / "bundle")
    loaded = Captioner.load(tmp_path / "bundle", "cpu")
    assert type(loaded.decoder) is type(captioner.decoder)
    pictures = [two_halves(40, 40), two_halves(20, 60)]
    expected, found = captioner.describe(pictures), loaded.describe(pictures)
    assert found == expected
    has_weights = expected[0][0].attention_weights is not None
    assert has_weights == (kind not in BLIND)


# ---- the transformer's own ----


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_the_cache_holds_the_words_and_nothing_is_kept_twice(kind):
    decoder, features, captions = make_decoder(kind), make_features(), make_captions()
    _, state = decoder.step(captions[:, :4], decoder.init_state(features, 2))
    kept = state["words"]["layer_0"].clone()
    _, after = decoder.step(captions[:, 4:5], state)
    assert after["words"]["layer_0"].shape == (6, 5, 24)
    assert torch.equal(after["words"]["layer_0"][:, :4], kept)
    for name, value in state["image"].items():
        assert after["image"][name] is value and len(value) == 3


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_fused_attention_equals_the_plain_one(kind):
    """Without gradients the CPU takes torch's kernel, with them the equation."""
    decoder, features, captions = make_decoder(kind), make_features(), make_captions()
    with torch.no_grad():
        fused = decoder(features, captions).logits
    close(decoder(features, captions).logits, fused, 1e-5)


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_swapped_beams_take_their_past_along(kind):
    """Two captions of a picture change places after every word; each must stay itself."""
    decoder, captions = make_decoder(kind), make_captions(2)
    features = alone(make_features(), 0)
    expected = decoder(features, captions).logits
    state, swap = decoder.init_state(features, 2), torch.tensor([1, 0])
    for t in range(6):
        logits, state = decoder.step(captions[:, t : t + 1], state)
        close(logits[:, 0], expected[:, t], 1e-5)
        words = {name: value.index_select(0, swap) for name, value in state["words"].items()}
        state, captions, expected = {**state, "words": words}, captions[swap], expected[swap]


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_every_head_is_told(kind):
    decoder, features, captions = make_decoder(kind).eval(), make_features(), make_captions()
    heads = decoder.look_at_heads(features, captions)  # (N, L, h, T, P)
    assert heads.shape == (6, 2, 1 if "x_linear" in kind else 3, 6, 5)
    close(heads.sum(-1), torch.ones(heads.shape[:-1]))
    close(heads[:, -1].mean(1), decoder(features, captions).attention_weights)


@pytest.mark.parametrize("kind", ["relations", "gxg", "g2", "box_coord"])
def test_places_matter_where_they_should(kind):
    decoder, captions = make_decoder(f"transformer {kind}"), make_captions()
    features = make_features()
    moved = replace(features, boxes=features.boxes.flip(1))
    assert not torch.allclose(decoder(moved, captions)[0], decoder(features, captions)[0])
    with pytest.raises(ValueError, match="boxes: none received"):
        decoder(replace(features, boxes=None), captions)
    plain = make_decoder("transformer plain")
    assert torch.equal(plain(moved, captions)[0], plain(features, captions)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_dim": 10}, "model_dim: 10 received, a multiple of num_heads .3. expected"),
        ({"relations": True, "encoder_layers": 0}, "relations: True received, .*encoder_layers 0"),
        ({"memory_slots": 4, "encoder_layers": 0}, "memory_slots: 4 received"),
        ({"meshed": True, "encoder_layers": 0}, "meshed: True received"),
        (
            {"attention_on_attention": True, "cross_attention": "x_linear", "encoder_layers": 0},
            "attention_on_attention: True received, but x_linear has a gate",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    config = config_of("transformer plain")
    for name, value in options.items():
        setattr(config.transformer, name, value)
    with pytest.raises(ValueError, match=message):
        build_decoder(config, WORDS, 6)


def test_too_long_a_caption_is_refused():
    decoder = make_decoder("transformer plain")
    with pytest.raises(ValueError, match="1025 words received, at most 1024"):
        decoder(make_features(), make_captions(3, 1025))


@torch.no_grad()
def test_equations_of_the_transformer():
    """One caption of one picture, words and regions in plain loops over heads and positions."""
    decoder = make_decoder("transformer plain").eval()
    features, tokens = alone(make_features(), 2), make_captions(1)
    weights = dict(decoder.named_parameters())

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, x):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attend(query, key, value, seen):
        parts = []
        for head in range(3):
            part = slice(4 * head, 4 * head + 4)
            rows = [
                (key[: seen(i), part] @ query[i, part] / 2).softmax(0) @ value[: seen(i), part]
                for i in range(len(query))
            ]
            parts.append(torch.stack(rows))
        return torch.cat(parts, -1)

    def feed(name, x):
        return linear(f"{name}.3", linear(f"{name}.0", x).relu())

    x = linear("encoder.embed_regions.0", features.regions[0]).relu()
    for layer in ("encoder.layers.0", "encoder.layers.1"):
        three = linear(f"{layer}.attention.query_key_value", norm(f"{layer}.attention_norm", x))
        found = attend(*three.split(12, -1), lambda i: 3)
        x = x + linear(f"{layer}.attention.output.project", found)
        x = x + feed(f"{layer}.feedforward", norm(f"{layer}.feedforward_norm", x))
    memory = norm("encoder.norm", x)
    t, k = torch.arange(6.0)[:, None], torch.arange(0, 12, 2) / 12
    waves = torch.stack([(t / 10_000**k).sin(), (t / 10_000**k).cos()], -1).flatten(1)
    x = weights["embedding.weight"][tokens[0]] * 12**0.5 + waves
    for layer in ("layers.0", "layers.1"):
        three = linear(f"{layer}.words.query_key_value", norm(f"{layer}.word_norm", x))
        found = attend(*three.split(12, -1), lambda i: i + 1)
        x = x + linear(f"{layer}.words.output.project", found)
        place = f"{layer}.regions.attention"
        query = linear(f"{place}.query", norm(f"{layer}.region_norm", x))
        found = attend(query, *linear(f"{place}.key_value", memory).split(12, -1), lambda i: 3)
        x = x + linear(f"{place}.output.project", found)
        x = x + feed(f"{layer}.feedforward", norm(f"{layer}.feedforward_norm", x))
    close(decoder(features, tokens).logits[0], linear("output", norm("norm", x)), 1e-5)


def test_sums_stay_precise_under_autocast():
    """Layers may compute in half precision; what they add to must not be rounded each time."""
    decoder, features, captions = make_decoder("transformer gxg"), make_features(), make_captions()
    seen = []
    for layer in (*decoder.encoder.layers, *decoder.layers):
        layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        decoder(features, captions)
    assert seen == [torch.float32] * 4
