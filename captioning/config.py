"""Every setting of the course, declared once: defaults, meaning, range.

The command line (`--decoder.hidden_dim 512`), the recipes (YAML) and the notebooks' forms are all
made from these dataclasses, so a setting has the same name, meaning and limits everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from captioning.config_rewards import SelfCriticalConfig
from captioning.settings import setting


@dataclass
class LoaderConfig:
    """Which pictures and captions, and how they are batched."""

    train_split: str = setting("train", "split that is learned from")
    val_split: str = setting("val", "split that decides which weights are the best")
    batching: str = setting(
        "padded",
        "padded: S captions of each picture; length: captions of equal length",
        choices=("padded", "length"),
    )
    batch_size: int = setting(
        32,
        "pictures a step (captions, for batching=length); larger is steadier but needs memory",
        1,
        4096,
    )
    captions_per_image: int = setting(5, "captions of a picture that share one look at it", 1, 100)
    num_workers: int = setting(0, "processes that read pictures beside the training one", 0, 64)
    cache_views: int = setting(
        0,
        "while the encoder is frozen, look only once at so many random views of a picture and "
        "remember their features; 0 looks anew each time",
        0,
        100,
    )
    max_pictures: int = setting(0, "train on the first so many pictures only; 0 takes all", 0)
    shuffle_buffer: int = setting(
        1000, "pictures a reader of tar shards keeps in memory to draw the next one from", 1
    )
    features: str = setting(
        "",
        "feature store (.h5) to learn from in place of the pictures: fast, but every picture looks "
        "the same each time",
    )


@dataclass
class TransformConfig:
    """From a picture file to the encoder's input."""

    image_size: int = setting(224, "side of the encoder's input in pixels", 32, 1024)
    resize_size: int = setting(
        0, "side before a random crop is taken; 0 is 256/224 of image_size", 0, 2048
    )
    fit: str = setting(
        "crop",
        "crop keeps proportions and cuts the edges; stretch shows the whole picture; native leaves "
        "the size as it is (needs encoder.grid)",
        choices=("crop", "stretch", "native"),
    )
    interpolation: str = setting(
        "bilinear",
        "how pictures are resized; CLIP's own way is bicubic",
        choices=("bilinear", "bicubic"),
    )
    flip: bool = setting(
        True, "mirror half of the training pictures (never those whose captions say left or right)"
    )


@dataclass
class VocabularyConfig:
    """Which words the captioner may say."""

    min_count: int = setting(
        5, "a word needs this count in train; higher: fewer, better known words", 1
    )
    max_length: int = setting(20, "longest caption that is learned, in words", 1, 500)


@dataclass
class EncoderConfig:
    """The CNN that looks at the picture."""

    backbone: str = setting(
        "resnet50",
        "torchvision network; larger sees more and is slower; clip: the picture encoder of "
        "clip_model; features: none, regions come from a feature store that was made elsewhere",
        choices=(
            "resnet18",
            "resnet34",
            "resnet50",
            "resnet101",
            "resnet152",
            "mobilenet_v2",
            "clip",
            "features",
        ),
    )
    weights: str = setting(
        "imagenet",
        "imagenet (downloaded by torchvision), none, or a .safetensors/.pth file of a state dict, "
        "e.g. models/picturebook_eyes/model.safetensors; with backbone clip a tag of open_clip, "
        "e.g. openai, or a checkpoint (nothing for a folder)",
    )
    cut: str = setting("", "last block kept, e.g. layer3; empty keeps all")
    grid: int = setting(
        0, "average the grid into so many rows and columns, e.g. 14; 0 leaves it as it is", 0, 100
    )
    feature_dim: int = setting(0, "size of a region's vector (backbone features only)", 0)
    trainable: str = setting("none", "none, all, or the first block that is trained, e.g. layer4")
    trainable_from_epoch: int = setting(0, "train the encoder from this epoch on", 0)
    freeze_batch_norm: bool = setting(True, "keep batch norms in eval mode while fine-tuning")
    padding: str = setting(
        "torch",
        "tensorflow for weights that were converted from there",
        choices=("torch", "tensorflow"),
    )
    clip_model: str = setting(
        "",
        "with backbone clip: a model of open_clip, e.g. RN50 or ViT-B-32, or a folder that "
        "train-clip wrote",
    )


@dataclass
class TransformerConfig:
    """Sizes and options of decoder kind transformer.

    The LSTMs' settings (embed_dim, hidden_dim, dropout, ...) do not touch it."""

    model_dim: int = setting(512, "size of every vector in it, a multiple of num_heads", 1, 8192)
    feedforward_dim: int = setting(2048, "size between the two layers of a feed-forward", 1, 65536)
    num_heads: int = setting(8, "comparisons that an attention makes side by side", 1, 64)
    encoder_layers: int = setting(6, "layers in which regions look at regions", 0, 48)
    num_layers: int = setting(6, "layers in which words look at words and regions", 1, 48)
    dropout: float = setting(0.1, "share of numbers dropped while training", 0, 0.95)
    region_dropout: float = setting(0.5, "the same for regions as they enter", 0, 0.95)
    norm: str = setting(
        "standard",
        "layer norm: standard, or annotated, which divides by (unbiased deviation + 1e-6), as "
        "weights of ImageCaptioning.pytorch need",
        choices=("standard", "annotated"),
    )
    cross_attention: str = setting(
        "dot_product",
        "how words look at regions: dot_product: several heads, as everywhere else; x_linear: one "
        "head that multiplies word and region number by number, and gates what it saw",
        choices=("dot_product", "x_linear"),
    )
    position: str = setting(
        "none",
        "what a region knows of its place: none; gxg: rows and columns of a grid that its box "
        "covers; g2: all cells; box_coord: the four edges",
        choices=("none", "gxg", "g2", "box_coord"),
    )
    position_grid: int = setting(12, "rows and columns of that grid", 1, 100)
    area_share: str = setting(
        "cell",
        "cell: the covered share of each cell; box: the share of the box that lies in it",
        choices=("cell", "box"),
    )
    relations: bool = setting(
        False, "regions look at regions by where they lie as well (object relations)"
    )
    relations_plus_one: bool = setting(
        False, "add 1 to widths and heights there, as the published code did to boxes in 0..1"
    )
    attention_on_attention: bool = setting(
        False,
        "gate what an attention to regions found by what was asked (AoA; not x_linear, which has a "
        "gate)",
    )
    memory_slots: int = setting(
        0, "learned keys and values beside the regions in each encoder layer (M2)", 0, 1000
    )
    meshed: bool = setting(
        False, "words look at the regions of every encoder layer, gated (M2), not of the last only"
    )
    group_size: int = setting(
        1,
        "words said at once, without knowing each other (semi-autoregressive); 1: one by one",
        1,
        32,
    )
    hide_starts: bool = setting(
        False,
        "in cross-entropy, words see only the first of the group_size start words, as in the "
        "published code (a search sees all)",
    )


@dataclass
class DecoderConfig:
    """The network that says the words."""

    kind: str = setting(
        "attention",
        "rnn: Show and Tell; attention: Show, Attend and Tell; fc: Show and Tell with the maxout "
        "LSTM; att2in, att2in2: attention into the candidate; updown: Up-Down; adaptive: with a "
        "visual sentinel; transformer: no LSTM (its settings: decoder.transformer)",
        choices=tuple("rnn attention fc att2in att2in2 updown adaptive transformer".split()),
    )
    embed_dim: int = setting(256, "size of a word vector", 1, 8192)
    hidden_dim: int = setting(
        512, "size of the LSTM's memory; larger learns more, overfits more", 1, 8192
    )
    attention_dim: int = setting(256, "size of the comparison of word and region", 1, 8192)
    num_layers: int = setting(1, "LSTM layers (rnn only)", 1, 12)
    dropout: float = setting(0.3, "share of numbers dropped while training", 0, 0.95)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)


@dataclass
class TrainingConfig:
    """How the weights are found."""

    objective: str = setting(
        "cross_entropy",
        "cross_entropy on human captions, or a reward on own ones: reinforce (self-critical), ppo, "
        "risk, max_margin, multi_margin, softmax_margin, best_of_n, sequence_nll",
        choices=tuple(
            "cross_entropy reinforce ppo risk max_margin multi_margin softmax_margin best_of_n "
            "sequence_nll".split()
        ),
    )
    num_epochs: int = setting(10, "passes over the training pictures", 1, 100_000)
    optimizer: str = setting("adamw", "adam, adamw or sgd", choices=("adam", "adamw", "sgd"))
    adam_beta2: float = setting(
        0.999,
        "how long adam and adamw remember squared gradients; 0.98 is usual for transformers",
        0,
        0.99999,
    )
    learning_rate: float = setting(1e-3, "step size of the decoder", 1e-9, 10)
    encoder_learning_rate: float = setting(1e-4, "step size of the encoder, where trained", 0, 10)
    weight_decay: float = setting(0.0, "pull of all weights towards zero", 0, 1)
    grad_clip: float = setting(5.0, "limit of a step's gradient; 0 does not clip", 0)
    grad_clip_by: str = setting(
        "norm",
        "norm scales the whole gradient down; value cuts every number of it off",
        choices=("norm", "value"),
    )
    schedule: str = setting(
        "cosine",
        "learning rate after the warm-up: constant, cosine, linear, step; noam: falls with the "
        "root of the step; plateau: reduced when validation CIDEr stops rising",
        choices=("constant", "cosine", "linear", "step", "noam", "plateau"),
    )
    warmup_steps: int = setting(0, "steps in which the learning rate rises from zero", 0)
    decay_from: int = setting(0, "epoch from which reductions are counted (schedule step)", 0)
    decay_every: int = setting(3, "epochs between two reductions (schedule step)", 1)
    decay_rate: float = setting(0.8, "factor of each reduction (schedules step, plateau)", 0, 1)
    patience: int = setting(
        3,
        "validations without a better CIDEr that are borne; the next one reduces (schedule "
        "plateau)",
        1,
    )
    label_smoothing: float = setting(0.0, "share of probability spread over all words", 0, 0.9)
    scheduled_sampling: float = setting(
        0.0, "largest chance to feed the decoder its own word; rises from 0 over the run", 0, 1
    )
    attention_penalty: float = setting(
        0.0, "weight of the doubly stochastic penalty (attention only)", 0, 100
    )
    distillation_teacher: str = setting(
        "", "bundle whose probabilities of each word are learned from as well (same vocabulary)"
    )
    distillation_weight: float = setting(
        0.0, "weight of the divergence from them (nats a word); 0 loads no teacher", 0, 100
    )
    distillation_temperature: float = setting(
        1.0,
        "softens teacher and student before they are compared; above 1 shows small chances",
        0.1,
        100,
    )
    accumulate: int = setting(
        1, "batches whose gradients are summed before a step; larger steps in the same memory", 1
    )
    precision: str = setting(
        "fp32",
        "bf16 or fp16 compute in half precision where it is safe; bf16 helps on CPU and CUDA",
        choices=("fp32", "bf16", "fp16"),
    )
    keep: str = setting(
        "best",
        "weights that the bundle gets: best: of the epoch with the highest validation CIDEr; last: "
        "of the last one, for rewards that CIDEr does not follow (CLIP-S)",
        choices=("best", "last"),
    )
    early_stopping: int = setting(
        0, "stop after so many epochs without a better CIDEr; 0: never", 0
    )
    val_pictures: int = setting(0, "pictures captioned after each epoch; 0 takes all", 0)
    half_precision: bool = setting(False, "store the best weights in half precision")
    save_every: int = setting(1, "epochs between two checkpoints", 1)
    save_every_steps: int = setting(0, "also a checkpoint each so many steps; 0: none", 0)
    print_every: int = setting(20, "steps between two updates of the progress bar", 1)
    log_file: str = setting("history.jsonl", "file of the bundle with loss and perplexity a step")


@dataclass
class GenerationConfig:
    """How a caption is searched for."""

    method: str = setting(
        "beam",
        "greedy, sample, beam, or diverse_beam (groups of beams that avoid each other's words)",
        choices=("greedy", "sample", "beam", "diverse_beam"),
    )
    beam_size: int = setting(5, "captions kept open at each word (beam; of all groups)", 1, 1000)
    num_beam_groups: int = setting(5, "groups that share the beams (diverse_beam)", 1, 1000)
    diversity_penalty: float = setting(
        0.5, "taken off a word each time an earlier group chose it there (diverse_beam)", 0, 100
    )
    num_samples: int = setting(1, "captions returned for a picture", 1, 1000)
    temperature: float = setting(1.0, "below 1 plays safe, above 1 takes risks (sample)", 1e-3, 100)
    top_k: int = setting(0, "draw from the k likeliest words only; 0: all (sample)", 0)
    top_p: float = setting(
        1.0, "draw from the likeliest words that hold this probability (sample)", 1e-6, 1
    )
    length_normalization: str = setting(
        "wu",
        "wu: by ((5 + length) / 6) ^ length_penalty; average: log-probability a word",
        choices=("wu", "average"),
    )
    length_penalty: float = setting(
        0.0, "alpha of Wu et al.; higher likes longer captions (beam)", 0, 10
    )
    min_length: int = setting(0, "fewest words of a caption", 0, 500)
    max_length: int = setting(20, "most words of a caption", 1, 500)
    start_words: str = setting("", "words every caption begins with, e.g. 'a man'")
    no_repeat: bool = setting(False, "never say a word twice in a row")
    block_trigrams: bool = setting(False, "never say the same three words in a row twice")
    remove_bad_endings: bool = setting(False, "never end with a word like 'a', 'with' or 'is'")
    seed: int | None = setting(None, "makes samples repeatable; none draws anew", 0)
    suppress_unk: bool = setting(True, "never say <unk>")


@dataclass
class Experiment:
    """A whole training run: what a recipe holds."""

    data: str = setting("data/picturebook", "data-set folder (images/, annotations/)")
    output: str = setting("models/mine", "where the model bundle is written")
    seed: int = setting(0, "one seed for weights, order, crops and dropout", 0)
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, mps")
    init_from: str = setting("", "bundle whose weights and vocabulary are the start")
    train_captions: str = setting(
        "",
        "COCO caption file used in place of the training split's; words are counted in the split's "
        "where it has captions, else in the file",
    )
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    transform: TransformConfig = field(default_factory=TransformConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    self_critical: SelfCriticalConfig = field(default_factory=SelfCriticalConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
