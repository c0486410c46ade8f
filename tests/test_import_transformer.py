"""Transformers of ImageCaptioning.pytorch: the numbers of the original, or one clear sentence."""

from __future__ import annotations

import json

import annotated_transformer as original
import pytest
import torch
from annotated_transformer import D, checkpoint, options_of, original_steps, picture_regions
from self_critical_original import WORDS, F, original_greedy, write

from captioning.bundle import Captioner
from captioning.commands import import_
from captioning.decoding.generation import generate
from captioning.imports.self_critical import import_self_critical
from model import VisualFeatures
from vocabulary import END_IDX, PAD_IDX, START_IDX, UNK_IDX

LENGTH = 9
CASES = [("transformer", 0), ("transformer", 1), ("relation_transformer", 0)]
# Angles of up to 690 radians and a logarithm: with relations the original's own float32 is 3e-5
# away from its float64.
NEAR = {"transformer": 1e-5, "relation_transformer": 5e-5}
OURS = [END_IDX, *range(4, 11), UNK_IDX]  # the ids of the original's index 0, 1, ...


def run(*arguments):
    return import_.run(import_.parser().parse_args([str(one) for one in arguments]))


def written(tmp_path, state=None, model="transformer", **options):
    state = checkpoint(model) if state is None else state
    return write(tmp_path, state, **options_of(model, **options))


def seen_by(state, model):
    """What the original makes of three pictures, and the same pictures for ours."""
    att, mask, boxes = picture_regions()
    heads, related = original.MODELS[model], model == "relation_transformer"
    memory = original.encode(state, att, mask, heads, boxes if related else None)
    return memory, mask, VisualFeatures(att, mask.bool(), boxes if related else None)


# ---- the original's numbers ----


@pytest.mark.parametrize(("model", "use_bn"), CASES)
def test_every_step_has_the_probabilities_of_the_original(tmp_path, model, use_bn):
    state = checkpoint(model, use_bn)
    files = written(tmp_path, state, model, use_bn=use_bn)
    assert run("--from", "self-critical", *files, "--output", tmp_path / "new") == 0
    memory, mask, features = seen_by(state, model)
    ids = torch.randint(
        1, len(WORDS) + 1, (3, LENGTH - 1), generator=torch.Generator().manual_seed(1)
    )
    inputs = torch.cat([torch.zeros(3, 1, dtype=torch.long), ids], 1)  # 0 is the start
    expected = original.decode(state, memory, mask, inputs, original.MODELS[model])
    assert expected.std() > 0.5  # not a vague distribution that anything would give

    tokens = torch.tensor(OURS)[inputs]
    tokens[:, 0] = START_IDX
    for captioner in (import_self_critical(*files), Captioner.load(tmp_path / "new", "cpu")):
        with torch.no_grad():
            logprobs = captioner.decoder(features, tokens).logits.log_softmax(-1)
        torch.testing.assert_close(logprobs[..., OURS], expected, rtol=0, atol=NEAR[model])
        assert (logprobs[..., [PAD_IDX, START_IDX]] < -1000).all()


@pytest.mark.parametrize("at_once", [1, 2, 3, 6])
def test_words_in_groups_have_the_probabilities_of_the_original(tmp_path, at_once):
    """K starts, then the words: what the original reads when it speaks."""
    state = checkpoint("sat")
    files = written(tmp_path, state, "sat", K=at_once)
    assert run("--from", "self-critical", *files, "--output", tmp_path / "new") == 0
    memory, mask, features = seen_by(state, "sat")
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, len(WORDS) + 1, (3, 11), generator=generator)
    inputs = torch.cat([torch.zeros(3, at_once, dtype=torch.long), ids], 1)[:, :12]
    expected = original.decode(state, memory, mask, inputs, original.MODELS["sat"], at_once)
    tokens = torch.tensor(OURS)[torch.cat([torch.zeros(3, 1, dtype=torch.long), ids], 1)]
    tokens[:, 0] = START_IDX
    captioner = Captioner.load(tmp_path / "new", "cpu")
    assert captioner.decoder.group_size == at_once
    with torch.no_grad():
        logprobs = captioner.decoder(features, tokens).logits.log_softmax(-1)
    torch.testing.assert_close(logprobs[..., OURS], expected, rtol=0, atol=1e-5)
    card = (tmp_path / "new" / "README.md").read_text("utf-8")
    assert "github.com/YuanEZhou/satic" in card and f"It says {at_once} words at once" in card


@pytest.mark.parametrize("wrong", [None, 0, 33, "4", True, 2.0])
def test_so_many_words_at_once_are_refused(tmp_path, wrong):
    files = written(tmp_path, model="sat", K=wrong)
    with pytest.raises(ValueError, match="K .* found, 1 to 32 words at once expected"):
        import_self_critical(*files)


@pytest.mark.parametrize(("model", "use_bn"), CASES)
def test_greedy_captions_and_their_probabilities_are_those_of_the_original(tmp_path, model, use_bn):
    state = checkpoint(model, use_bn)
    captioner = import_self_critical(*written(tmp_path, state, model))
    memory, mask, features = seen_by(state, model)
    config = captioner.generation_config(method="greedy", suppress_unk=False)
    assert config.max_length == LENGTH
    found = generate(captioner.decoder, features, config)
    said = [captioner.vocabulary.decode_words(row) for row in found.tokens.tolist()]
    one, told = original_steps(state, memory, mask, original.MODELS[model]), []

    def step(index):
        told.append(one(index))
        return told[-1]

    expected = original_greedy(step, 3, LENGTH)
    assert [[word.replace("<unk>", "UNK") for word in row] for row in said] == expected
    assert sum(map(len, expected)) > 3
    logprobs = torch.stack(told, 1).amax(-1)  # (3, LENGTH)
    counts = found.tokens != PAD_IDX
    assert counts.sum() > 6
    torch.testing.assert_close(
        found.logprobs[counts], logprobs[:, : counts.shape[1]][counts], rtol=0, atol=NEAR[model]
    )


def test_padded_regions_change_nothing(tmp_path):
    """The numbers above would also hold if both looked at the padding."""
    for model in original.MODELS:
        captioner = import_self_critical(*written(tmp_path, model=model))
        _, mask, features = seen_by(checkpoint(model), model)
        features.regions[~mask.bool()] = 100.0
        tokens = torch.tensor([[START_IDX, 5, 8]]).expand(3, -1)
        few = int(mask[1].sum())
        boxes = None if features.boxes is None else features.boxes[1:2, :few]
        with torch.no_grad():
            together = captioner.decoder(features, tokens).logits[1:2]
            alone = VisualFeatures(features.regions[1:2, :few], None, boxes)
            torch.testing.assert_close(together, captioner.decoder(alone, tokens[:1]).logits)


def test_sizes_under_old_names_and_the_cached_transformer(tmp_path):
    """The older code has one option for both stacks; the cached network has the same tensors."""
    state = {name: v for name, v in checkpoint().items() if "decoder.layers.2" not in name}
    old = {**options_of("transformer"), "num_layers": 2, "cached_transformer": True}
    for name in original.YOUNG:
        del old[name]
    files = write(tmp_path, {f"module.{name}": v for name, v in state.items()}, **old)
    captioner = import_self_critical(*files)
    sizes = captioner.experiment.decoder.transformer
    assert (sizes.encoder_layers, sizes.num_layers, sizes.num_heads) == (2, 2, 8)
    assert captioner.record["original"]["cached_transformer"] is True


def test_boxes_at_the_end_of_the_regions(tmp_path):
    """With use_box the regions have five numbers more than att_feat_size once had."""
    state = checkpoint(feature_dim=F + 5)
    files = written(tmp_path, state, use_box=1, att_feat_size=F + 5)
    assert run("--from", "self-critical", *files, "--output", tmp_path / "new") == 0
    captioner = Captioner.load(tmp_path / "new", "cpu")
    assert captioner.experiment.encoder.feature_dim == F + 5
    card = (tmp_path / "new" / "README.md").read_text("utf-8")
    assert "The last five numbers of a region are its box" in card


# ---- the bundle ----


def test_the_bundle_says_what_it_is(tmp_path, capsys):
    files = written(tmp_path, drop_prob_lm=0.4, dropout=0)
    output = tmp_path / "new"
    assert run("--from", "self-critical", *files, "--output", output, "--json") == 0
    assert json.loads(capsys.readouterr().out)["words"] == len(WORDS) + 3
    captioner = Captioner.load(output, "cpu")
    decoder = captioner.experiment.decoder
    found = decoder.transformer
    assert decoder.kind == "transformer" and found.norm == "annotated" and not found.relations
    assert (found.model_dim, found.feedforward_dim, found.num_heads) == (D, original.INNER, 4)
    assert (found.encoder_layers, found.num_layers) == (original.ENCODERS, original.DECODERS)
    assert (found.region_dropout, found.dropout) == (0.4, 0.0)
    card = (output / "README.md").read_text("utf-8")
    for part in ("ImageCaptioning.pytorch", "`region_dropout` is", "start, end and padding"):
        assert part in card
    assert "beam of 5" in card and "mean of the regions" not in card and "Boxes" not in card


def test_a_bundle_with_relations_says_what_boxes_it_needs(tmp_path):
    output = tmp_path / "new"
    for options, told in (({}, True), ({"legacy_extra_skip": False}, False)):
        files = written(tmp_path, model="relation_transformer", **options)
        call = ["--from", "self-critical", *files, "--output", output, "--overwrite"]
        assert run(*call) == 0
        card = (output / "README.md").read_text("utf-8")
        assert "object_relation_transformer (github.com/yahoo/" in card
        assert "1 is added to their widths" in card and "last five numbers" not in card
        assert ("do not say legacy_extra_skip" in card) is told
    captioner = Captioner.load(output, "cpu")
    sizes = captioner.experiment.decoder.transformer
    assert sizes.relations and sizes.relations_plus_one and sizes.num_heads == 8
    with pytest.raises(ValueError, match=r"features\.boxes: none received"):
        captioner.decoder.init_state(VisualFeatures(torch.zeros(1, 2, F)))


# ---- what does not fit ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_model": 512}, rf"d_model {D} found, .*infos\.pkl says 512: files of one training"),
        ({"d_ff": 2048}, r"d_ff 12 found, .*infos\.pkl says 2048"),
        ({"N_enc": 6}, r"N_enc 2 found, .*infos\.pkl says 6"),
        ({"N_dec": 6}, r"N_dec 3 found, .*infos\.pkl says 6"),
        ({"num_att_heads": 5}, r"model\.pth: 5 heads cannot share vectors of 16 numbers"),
        ({"num_att_heads": "8"}, r"'8' heads cannot share"),
        ({"num_att_heads": 0}, r"0 heads cannot share"),
        ({"caption_model": "relation_transformer"}, r"no relations found, but caption_model is"),
        ({"caption_model": "updown"}, r"no tensor 'embed\.0\.weight' in it"),
        ({"said": WORDS[:5]}, r"8 words read and 8 said, but .*infos\.pkl has 5"),
        ({"caption_model": "aoa"}, r"infos\.pkl: caption_model 'aoa' found \(.*LSTM.*\), one of"),
        ({"caption_model": "m2transformer"}, r"'m2transformer' found \(.*norms after the blocks"),
        ({"caption_model": "bert"}, r"'bert' found \(Hugging Face's BERT: .*\), one of"),
    ],
)
def test_files_of_different_models_are_refused(tmp_path, options, message):
    files = written(tmp_path, **options)
    with pytest.raises(ValueError, match=message) as info:
        run("--from", "self-critical", *files, "--output", tmp_path / "new")
    assert "\n" not in str(info.value) and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"legacy_extra_skip": True}, r"infos\.pkl: legacy_extra_skip found: its layers add"),
        ({"legacy_extra_skip": 1}, r"infos\.pkl: legacy_extra_skip found"),
        ({"box_trignometric_embedding": False}, r"box_trignometric_embedding off: geometry"),
        ({"caption_model": "transformer"}, r"object relations found, but caption_model is trans"),
        ({"num_layers": 6}, r"num_layers 2 found, .*infos\.pkl says 6"),
        ({"rnn_size": 2048}, r"rnn_size 12 found"),
    ],
)
def test_relations_that_do_not_fit_are_named(tmp_path, options, message):
    files = written(tmp_path, model="relation_transformer", **options)
    with pytest.raises(ValueError, match=message) as info:
        import_self_critical(*files)
    assert "\n" not in str(info.value)


LAYER = "model.decoder.layers.1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {f"{LAYER}.src_attn.linears.2.bias": None},
            rf"no tensor '{LAYER}.src_attn.linears.2.bias'",
        ),
        ({"model.encoder.norm.a_2": None}, r"no tensor 'model.encoder.norm.a_2' in it"),
        ({"model.generator.proj.weight": None}, r"no tensor 'model.generator.proj.weight' in it"),
        ({"model.tgt_embed.1.pe": torch.zeros(1, 50, D)}, r"'model.tgt_embed.1.pe' holds other"),
        (
            {"model.tgt_embed.1.pe": torch.zeros(50, D)},
            r"'model.tgt_embed.1.pe' has size \(50, 16\)",
        ),
        ({f"{LAYER}.self_attn.linears.1.weight": torch.zeros(D, 3)}, "tensors do not fit together"),
        ({f"{LAYER}.feed_forward.w_2.bias": torch.zeros(3)}, r"16 rows and 3 biases found"),
        ({f"{LAYER}.self_attn.linears.4.bias": torch.zeros(D)}, "'.*linears.4.bias' has no place"),
        ({f"{LAYER}.sublayer.0.norm.b_2": torch.zeros(3)}, r"word_norm.bias \(3,\) found, \(16,\)"),
        ({"att_embed.0.weight": torch.zeros(3, F)}, r"'att_embed.0': 3 rows and 16 biases found"),
        ({"model.encoder.norm.b_2": torch.full((D,), float("nan"))}, "NaN or infinite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, changes, message):
    state = checkpoint() | changes
    state = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(ValueError, match=rf"model\.pth: .*{message}") as info:
        import_self_critical(*written(tmp_path, state))
    assert "\n" not in str(info.value)


def test_missing_stacks_are_named(tmp_path):
    for stack, name in (("encoder", "self_attn.linears.0"), ("decoder", "self_attn.linears.0")):
        state = {k: v for k, v in checkpoint().items() if f"{stack}.layers" not in k}
        with pytest.raises(ValueError, match=f"no tensor 'model.{stack}.layers.0.{name}.weight'"):
            import_self_critical(*written(tmp_path, state))


def test_a_batch_norm_after_the_regions_is_refused(tmp_path):
    """Its numbers go into the sum that every layer adds to, and no layer follows it alone."""
    with pytest.raises(ValueError, match=r"model\.pth: a batch norm after the ReLU .*\(use_bn 2\)"):
        import_self_critical(*written(tmp_path, checkpoint(use_bn=2), use_bn=2))
