"""Toy decoders whose every probability is known, for the tests of decoding."""

from __future__ import annotations

import torch

from captioning.config import GenerationConfig
from captioning.decoding.generation import Generation
from captioning.decoding.scoring import length_divisor
from model import DecoderRNN, DecoderWithAttention, VisualFeatures
from vocabulary import END_IDX, PAD_IDX, START_IDX, UNK_IDX, Vocabulary

FEATURE_DIM, NUM_REGIONS = 5, 3
WORDS = Vocabulary(["a", "dog", "on", "runs", *(f"word{i}" for i in range(8, 64))])
BAD = {WORDS.index("a"), WORDS.index("on")}  # no caption ends with them: ids 4 and 6
ALPHABET = (1, 2, 3, 4, 5, 6, 7)  # what a toy may say when words matter


def make_config(method: str = "greedy", **changes) -> GenerationConfig:
    """Small defaults; `changes` as the config's fields are called."""
    defaults = {"beam_size": 3, "max_length": 8, "seed": 0}
    return GenerationConfig(method, **(defaults | changes))


def make_features(num_images: int, seed: int = 0) -> VisualFeatures:
    generator = torch.Generator().manual_seed(seed)
    return VisualFeatures(torch.randn(num_images, NUM_REGIONS, FEATURE_DIM, generator=generator))


def pick(features: VisualFeatures, image: int) -> VisualFeatures:
    return VisualFeatures(features.regions[image : image + 1])


class MarkovDecoder:
    """The next word depends on the last one, on the step and on the image; all of it random.

    With a group_size of K it says K words at once, and for "the last one" stands the word K back.

    Words outside `alphabet` have probability zero, so the captions can be listed although the
    vocabulary is wide enough for any beam. `counter` in the state shows that rows keep their own.
    """

    def __init__(
        self, seed: int = 0, vocab_size: int = 64, alphabet=(1, 2, 3, 4, 5), group_size: int = 1
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = 2 * torch.randn(vocab_size, vocab_size, generator=generator)
        self.by_image = torch.randn(FEATURE_DIM, vocab_size, generator=generator)
        self.by_step = torch.randn(32, vocab_size, generator=generator)
        self.impossible = torch.ones(vocab_size, dtype=torch.bool)
        self.impossible[list(alphabet)] = False
        self.group_size = group_size
        self.num_steps = 0

    def init_state(self, features, rows_per_image=1):
        rows = len(features.regions) * rows_per_image
        image = {"shift": features.regions.mean(1) @ self.by_image}  # (B,V)
        return {"image": image, "words": {"counter": torch.zeros(rows, dtype=torch.long)}}

    def step(self, tokens, state):
        self.num_steps += 1
        counter = state["words"]["counter"]
        shift = state["image"]["shift"]
        shift = shift.repeat_interleave(len(tokens) // len(shift), 0)
        place = counter[:, None] + torch.arange(tokens.shape[1])  # (N,G)
        logits = self.table[tokens] + shift[:, None] + self.by_step[place]  # (N,G,V)
        logits = logits.masked_fill(self.impossible, float("-inf"))
        # Where a row "looks" tells the word read and its place: easy to recognise in the result.
        looked = torch.stack([tokens, place], dim=2).float()  # (N,G,2)
        words = {"counter": counter + tokens.shape[1], "attention_weights": looked}
        return logits, {"image": state["image"], "words": words}


def make_decoder(kind: str, seed: int = 0, vocab_size: int = 12):
    """A decoder with random weights, loud enough that its choices differ."""
    if kind.startswith("markov"):
        return MarkovDecoder(seed, group_size=int(kind.removeprefix("markov") or 1))
    torch.manual_seed(seed)
    sizes = {"embed_dim": 6, "hidden_dim": 7}
    if kind == "rnn":
        decoder = DecoderRNN(vocab_size, FEATURE_DIM, num_layers=2, **sizes)
    else:
        decoder = DecoderWithAttention(vocab_size, FEATURE_DIM, attention_dim=4, **sizes)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)
    return decoder.eval()


DECODERS = ["markov", "markov3", "rnn", "attention"]  # 3 words at once
NETWORKS = ["rnn", "attention"]


@torch.no_grad()
def forced_logprobs(decoder, features, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of given captions (N,T), step by step, zero on padding."""
    state = decoder.init_state(features, len(tokens) // len(features.regions))
    read, said = torch.full((len(tokens), decoder.group_size), START_IDX), []
    for words in tokens.split(decoder.group_size, dim=1):  # the last group may be short
        logits, state = decoder.step(read, state)
        logits, read = logits[:, : words.shape[1]], words
        said.append(logits.log_softmax(-1).gather(2, words[..., None]).squeeze(2))
    return torch.cat(said, 1).masked_fill(tokens == PAD_IDX, 0.0)


def may_follow(said: list[int], logprobs: dict[int, float], config) -> dict[int, float]:
    """The rules of `constraints.py` for one row, in plain Python: what may be said next."""
    start = [WORDS.index(word) for word in config.start_words.split()]
    if len(said) < len(start):
        return {start[len(said)]: logprobs[start[len(said)]]}
    trigrams = {tuple(said[i : i + 3]) for i in range(len(said) - 2)}
    allowed = {}
    for word, logprob in logprobs.items():
        if word in (PAD_IDX, START_IDX) or (word == UNK_IDX and config.suppress_unk):
            continue
        if config.no_repeat and said[-1:] == [word]:
            continue
        if config.block_trigrams and (*said[-2:], word) in trigrams:
            continue
        if word == END_IDX and len(said) < config.min_length:
            continue
        if config.remove_bad_endings:
            if word == END_IDX and said and said[-1] in BAD:
                continue
            if len(said) + 1 == config.max_length and word in BAD:
                continue
        allowed[word] = logprob
    return allowed or {END_IDX: logprobs[END_IDX]}


@torch.no_grad()
def next_logprobs(decoder, features, rows: list[list[int]]) -> list[dict[int, float]]:
    """What the model would say after each beginning (all of one length); only what is possible."""
    state, size = decoder.init_state(features, len(rows)), decoder.group_size
    place = len(rows[0]) % size  # within the group that is being said
    words = [[START_IDX] * size + row[: len(row) - place] for row in rows]
    for group in torch.tensor(words).split(size, dim=1):
        logits, state = decoder.step(group, state)
    found = logits[:, place].log_softmax(-1).tolist()
    return [{w: p for w, p in enumerate(row) if p > float("-inf")} for row in found]


def divided(total: float, words: list[int], config) -> float:
    return total / length_divisor(len(words), config)


def every_caption(decoder, features, config) -> list[tuple[float, list[int]]]:
    """Score and words of all captions of one image, best first, by listing them."""
    done, growing = [], [(0.0, [])]
    for length in range(1, config.max_length + 1):
        rows = next_logprobs(decoder, features, [said for _, said in growing])
        following = []
        for (total, said), logprobs in zip(growing, rows, strict=True):
            for word, logprob in may_follow(said, logprobs, config).items():
                is_end = word == END_IDX or length == config.max_length
                (done if is_end else following).append((total + logprob, [*said, word]))
        growing = following
        if not growing:
            break
    return sorted(((divided(total, said, config), said) for total, said in done), reverse=True)


def words_of(generation: Generation, row: int) -> list[int]:
    return [word for word in generation.tokens[row].tolist() if word != PAD_IDX]


def assert_well_formed(generation: Generation, config) -> None:
    """Words, then at most one <end>, then padding; nothing forbidden; logprobs zero on padding."""
    for row, tokens in enumerate(generation.tokens.tolist()):
        length = len(words_of(generation, row))
        assert PAD_IDX not in tokens[:length] and START_IDX not in tokens
        assert not (config.suppress_unk and UNK_IDX in tokens)
        assert END_IDX not in tokens[: length - 1]
        assert tokens[length - 1] == END_IDX or length == config.max_length
        assert generation.logprobs[row, length:].eq(0).all()
    lengths = (generation.tokens != PAD_IDX).sum(1)
    assert generation.tokens.shape == generation.logprobs.shape
    assert generation.tokens.shape[1] == lengths.max() <= config.max_length
    scores = generation.logprobs.sum(1) / length_divisor(lengths, config)
    torch.testing.assert_close(generation.scores, scores, rtol=1e-5, atol=1e-5)
