"""The page for users of self-critical.pytorch names all their options, and only ours that exist."""

from __future__ import annotations

import re
from pathlib import Path

from captioning.cli import COMMANDS
from captioning.commands import data, features
from captioning.config import Experiment, GenerationConfig
from captioning.settings import walk

PAGE = (
    Path(__file__).parents[1].joinpath("docs", "from-self-critical-pytorch.md").read_text("utf-8")
)
SETTINGS = {n: one for config in (Experiment(), GenerationConfig()) for n, one, _ in walk(config)}
PARSERS = {name: command.parser() for name, command in COMMANDS.items()}
PARSERS |= {f"data {name}": kind.parser() for name, kind in data.KINDS.items()}
PARSERS |= {f"features {name}": make() for name, (make, _) in features.KINDS.items()}
FLAGS = {n: {s for a in p._actions for s in a.option_strings} for n, p in PARSERS.items()}
PARTS = {part.partition("\n")[0]: part for part in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)}
ROWS = {name: re.findall(r"^\| (.+?) \| (.+?) \|", part, re.M)[1:] for name, part in PARTS.items()}
THEIRS = """cfg set_cfgs _BASE_ train.py train_pl.py EVALUATE eval.py model infos_path cnn_model
force only_lang_eval device eval_ensemble.py ids weights prepro_labels prepro_ngrams prepro_feats id
split make_bu_data prepro_reference_json dump_to_lmdb dump_to_h5df build_bpe_subword_nmt
copy_model.sh input_json input_fc_dir input_att_dir input_box_dir input_label_h5 data_in_memory
cached_tokens train_only seq_per_img use_box norm_att_feat norm_box_feat caption_model rnn_size
num_layers use_bn rnn_type input_encoding_size att_hid_size fc_feat_size att_feat_size logit_layers
drop_prob_lm N_enc cached_transformer N_dec d_model d_ff num_att_heads dropout max_epochs batch_size
grad_clip_mode grad_clip_value optim rmsprop sgd sgdm sgdmom adagrad adam adamw optim_alpha
optim_beta optim_epsilon learning_rate learning_rate_decay_start learning_rate_decay_every
learning_rate_decay_rate use_warmup weight_decay label_smoothing noamopt noamopt_warmup
noamopt_factor reduce_on_plateau seqnll risk bs reduce_on_plateau_factor reduce_on_plateau_patience
scheduled_sampling_start best_of_n max_margin scheduled_sampling_increase_every
scheduled_sampling_increase_prob scheduled_sampling_max_prob dbs self_critical_after structure_after
structure_loss_weight structure_loss_type struc_use_logsoftmax multi_margin softmax_margin
real_softmax_margin new_self_critical entropy_reward_weight use_ppo self_cider_reward_weight
cider_reward_weight bleu_reward_weight ppo_old_model_path ppo_cliprange ppo_kl_coef drop_worst_after
drop_worst_rate train_sample_n train_sample_method train_beam_size sc_sample_method sc_beam_size
val_images_use save_checkpoint_every save_every_epoch beam_size gumbel save_history_ckpt
language_eval losses_log_every load_best_score checkpoint_path start_from avg_0 sample_method
max_length length_penalty group_size diversity_lambda temperature decoding_constraint block_trigrams
remove_bad_endings suppress_UNK sample_n sample_n_method eval_oracle top<k> top<p> d<method> wu_0.9
num_images dump_images dump_json dump_path image_folder image_root coco_json verbose_beam
verbose_loss eval_results Bleu_1..4 METEOR ROUGE_L CIDEr SPICE SPICE_<sub> perplexity entropy
bad_count_rate novel_sentences vocab_size AllSPICE Div1 Div2 gDiv1 mBLeu_1..4 self_cider oracle_*
avg_* imgToEval .saved_pred_ .cache_ vis.json vis/imgs index.html transformer aoa m2transformer bert
relation_transformer prepro_bbox_relative_coords input_rel_box_dir box_trignometric_embedding
legacy_extra_skip create_report.py prepro_areas input_grid_vec_dir ff_size ff_activation norm heads
hidden_size img_feat_size num_grids use_grid enc_pos_embedding enc_pos_type cross_attn grad_clip
perform_validation_every max_ppl sat K seq_kd prepro_labels_seqKD input_seqkd_json kd_weight
teacher_caption_model nsc eval_cocotest.py example.ipynb""".split()


def test_every_option_of_theirs_is_named():
    spans = "\n".join(re.findall(r"`([^`\n]+)`", PAGE))
    alone = r"(?<![A-Za-z0-9_]){}(?![A-Za-z0-9_])"
    assert [name for name in THEIRS if not re.search(alone.format(re.escape(name)), spans)] == []


def test_what_stands_in_our_column_exists():
    more = {"From their files to ours", "Outputs", "Checkpoints"}  # files and keys of results
    rows = [row for name in set(ROWS) - more for row in ROWS[name]]
    assert len(rows) > 100
    for span in re.findall(r"`([^`]+)`", " ".join(here for _, here in rows)):
        words = span.removeprefix("accelerate launch -m captioning ").split()
        command = next((c for c in (" ".join(words[:2]), words[0]) if c in PARSERS), "")
        if command or span.startswith("--"):
            known = FLAGS[command] if command else set().union(*FLAGS.values()) | {"--k"}
            assert {word for word in words if word.startswith("--")} <= known, span
            continue
        assert words[0] in SETTINGS, span
        choices = SETTINGS[words[0]].metadata["choices"]
        assert not (choices and words[1:]) or words[1] in choices, span


def test_settings_exist_wherever_they_are_named():
    prefixes = "|".join({name.partition(".")[0] for name in SETTINGS if "." in name})
    named = set(re.findall(rf"\b(?:{prefixes})(?:\.[a-z]\w*)+", PAGE)) - {"vocabulary.json"}
    assert len(named) > 40 and named <= set(SETTINGS)


def test_what_is_to_be_typed_is_understood():
    for _, here in ROWS["From their files to ours"]:
        command, *words = here.strip("`").split()
        PARSERS[command].parse_args(words)
