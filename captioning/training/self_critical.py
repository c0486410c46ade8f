"""Self-critical training: draw captions, compare their rewards, make the better ones likelier.

A step encodes each picture once, draws `num_samples` captions of it without gradient (with the
decoder's state as cache, so no prefix is read twice), asks a metric for their rewards, and runs one
teacher-forced pass with gradient over exactly the words that were drawn. The advantage of a caption
is its reward minus a baseline; the loss counts every word and the `<end>`, and nothing after it.

Dropout: off by default, in the draws and in the gradient pass, so the network whose captions are
judged is the network that learns, and the gradient is exactly that of the draws. With
`self_critical.dropout` it is on in both, with masks of their own, as in the reference code: the
words are then drawn by a slightly different network in each step. Searched baselines (greedy,
beam) never use dropout.

Source: S. J. Rennie et al., "Self-Critical Sequence Training for Image Captioning", CVPR 2017,
equations 3 to 8; R. Luo, "A Better Variant of Self-Critical Sequence Training", 2020,
arXiv:2003.09971 (leave-one-out baseline).
Departures: words that are never said (`<pad>`, `<start>`, `<unk>`) have no probability in the
policy, so what is drawn and what is differentiated is one distribution; the diversity bonus is
what a sample adds to its picture's diversity, because a bonus equal for all samples of a picture
vanishes in the leave-one-out advantage.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captioning.config import GenerationConfig, SelfCriticalConfig
from captioning.decoding.generation import generate
from captioning.decoding.random_numbers import uniform_numbers
from captioning.decoding.sampling import sample_from_uniform
from captioning.evaluation.fluency import bad_endings, repetitions
from captioning.rewards.build import build_rewards
from captioning.rewards.diversity import marginal_diversity
from captioning.rewards.frequency import FILE_NAME as FREQUENCY_FILE
from captioning.rewards.frequency import NgramFrequency
from captioning.rewards.mixture import Mixture, Reward
from captioning.training import objectives
from captioning.training.cross_entropy import caption_loss
from captioning.training.looking import autocast, encode
from captioning.training.objectives import word_mask
from captioning.training.policy import policy_logprobs, set_dropout
from captioning.training.stages import Stages
from captioning.training.update import Prepared, Sums, TrainingError
from data_loader import Batch
from model import VisualFeatures
from vocabulary import END_IDX

if TYPE_CHECKING:
    from captioning.training.run import Run

PATIENCE = 20  # steps in a row without variety before a run is stopped
OF_PICTURES = {
    "sequence_nll": objectives.sequence_nll,
    "risk": objectives.risk,
    "max_margin": objectives.max_margin,
    "multi_margin": objectives.multi_margin,
    "softmax_margin": objectives.softmax_margin,
    "best_of_n": objectives.best_of_n,
}


def different_captions(tokens: Tensor, num_samples: int) -> Tensor:
    """How many different captions each picture has among its samples: (N,T) -> (B,)."""
    captions = tokens.view(-1, num_samples, tokens.shape[1])  # (B,S,T)
    equal = (captions.unsqueeze(1) == captions.unsqueeze(2)).all(-1)  # (B,S,S)
    return (~equal.tril(-1).any(2)).sum(1)


def check_self_critical(config: SelfCriticalConfig, objective: str, batching: str) -> None:
    """Refuse settings that cannot work together.

    Raises:
        ValueError: the setting, what it is, what is allowed.
    """
    compares = objective in OF_PICTURES or config.baseline == "leave_one_out"
    if compares and config.num_samples < 2:
        raise ValueError(
            f"self_critical.num_samples: {config.num_samples} received, at least 2 expected "
            f"(baseline {config.baseline}, objective {objective}: samples are compared)"
        )
    if config.diversity_weight and config.num_samples < 3:
        raise ValueError(
            f"self_critical.num_samples: {config.num_samples} received, at least 3 expected with "
            "diversity_weight"
        )
    if batching != "padded":
        raise ValueError(
            f"loader.batching: {batching!r} received, 'padded' expected: captions are drawn, not "
            "sorted by length"
        )


class SelfCritical:
    """The objective of training on a reward; see `captioning.training.update.Objective`.

    Args:
        run (Run): prepared, with the starting weights.
        reward (Reward | None): takes the place of the settings' reward.

    Raises:
        ValueError: settings that contradict each other, a table of another vocabulary.
    """

    counted = tuple(
        "pictures rows words human_words reward baseline advantage advantage_squares length ended "
        "bad_endings repetition distinct".split()
    )
    logged = ("loss", "logprobs", "kl")

    def __init__(self, run: Run, reward: Reward | None = None) -> None:
        self.config, self.name = run.experiment.self_critical, run.experiment.training.objective
        check_self_critical(self.config, self.name, run.experiment.loader.batching)
        self.reward, self.frequency = self.choose_reward(run, reward)
        names = self.reward.rewards if len(self.reward.rewards) > 1 else ()
        self.parts = {f"reward {name}": name for name in names}  # logged beside their sum
        self.counted = (*type(self).counted, *self.parts)
        self.search = GenerationConfig(
            method="sample",
            temperature=self.config.temperature,
            max_length=run.experiment.generation.max_length,
            suppress_unk=run.experiment.generation.suppress_unk,
        )
        self.start = None
        if self.name == "ppo" or self.config.kl_weight:
            self.start = copy.deepcopy(run.captioner.networks()).eval().requires_grad_(False)

    def choose_reward(self, run: Run, own: Reward | None) -> tuple[Mixture, NgramFrequency | None]:
        """The settings' reward, or one's own, and the table behind it where one is needed."""
        experiment, dataset = run.experiment, run.loader.dataset
        if own is not None and not self.config.diversity_weight:
            return name_reward(own), None
        frequency = None
        if self.config.document_frequency:
            table = Path(self.config.document_frequency)
            table = table / FREQUENCY_FILE if table.is_dir() else table
            frequency = NgramFrequency.load(table, dataset.vocabulary)
        corpus = f"{Path(experiment.data).name} {experiment.loader.train_split}"
        device = run.captioner.device
        built, frequency = build_rewards(self.config, dataset, corpus, device, frequency)
        return built if own is None else name_reward(own), frequency

    # ------------------------------------------------------------------------ before the gradient

    def prepare(self, run: Run, batch: Batch, stages: Stages, keep: bool) -> Prepared:
        """Look, draw, judge, compare: all that needs no gradient.

        The encoder's output is kept for the gradient pass, with its graph where the encoder is
        trained; while batches are accumulated, only a trained encoder looks again there.
        """
        captioner, precision = run.captioner, run.experiment.training.precision
        trained = encoder_is_trained(run, batch)
        with stages("encode"), torch.set_grad_enabled(keep and trained):
            features = encode(captioner, batch, precision)
        seen = VisualFeatures(features.regions.detach(), features.region_mask, features.boxes)
        with stages("sample"), torch.no_grad(), autocast(captioner.device, precision):
            tokens = self.draw(run, seen, batch)
            others = self.search_baseline(run, seen)
        with stages("reward"), torch.no_grad():
            parts = self.reward.parts(tokens, batch)
            reward = self.judge(tokens, parts)
            baseline = self.compare(reward, others, batch)
        advantage = objectives.advantages(reward, baseline)
        values = {"tokens": tokens, "mask": word_mask(tokens), "reward": reward}
        values["advantage"] = advantage
        sums = self.count(run, batch, values, baseline)
        sums |= {title: parts[name].sum() for title, name in self.parts.items()}
        return Prepared(batch, sums, features if keep or not trained else None, values)

    def draw(self, run: Run, features: VisualFeatures, batch: Batch) -> Tensor:
        """(N,T) `num_samples` captions of each picture; the same for any number of processes."""
        set_dropout(run.captioner.decoder, self.config.dropout)
        keys = [(run.experiment.seed, run.epoch, image_id) for image_id in batch.image_ids]
        shape = (self.config.num_samples, self.search.max_length)
        uniform = uniform_numbers(keys, shape, features.regions.device)  # (B,S,T)
        uniform = uniform.flatten(0, 1)
        return sample_from_uniform(run.captioner.decoder, features, self.search, uniform)[0]

    def search_baseline(self, run: Run, features: VisualFeatures) -> Tensor | None:
        """(B,T) one searched caption of each picture, for the baselines that want it."""
        if self.config.baseline not in ("greedy", "beam"):
            return None
        set_dropout(run.captioner.decoder, False)
        search = GenerationConfig(
            method=self.config.baseline,
            beam_size=self.config.baseline_beam_size,
            max_length=self.search.max_length,
            suppress_unk=self.search.suppress_unk,
        )
        return generate(run.captioner.decoder, features, search).tokens

    def judge(self, tokens: Tensor, parts: dict[str, Tensor]) -> Tensor:
        """(N,) the reward of each caption, with the diversity it adds."""
        reward = self.reward.total(parts)
        if self.config.diversity_weight:
            added = marginal_diversity(tokens, self.config.num_samples, self.frequency)
            reward = reward + self.config.diversity_weight * added
        return reward

    def compare(self, reward: Tensor, searched: Tensor | None, batch: Batch) -> Tensor:
        """(N,) what each reward is compared to."""
        if searched is not None:
            return self.reward(searched, batch).repeat_interleave(self.config.num_samples)
        if self.config.baseline == "none":
            return torch.zeros_like(reward)
        return objectives.leave_one_out(reward, self.config.num_samples)

    def count(self, run: Run, batch: Batch, values: dict[str, Tensor], baseline: Tensor) -> Sums:
        """What the loss is divided by, and what the log says, as sums."""
        tokens, mask, advantage = (values[name] for name in ("tokens", "mask", "advantage"))
        is_end = mask & (tokens == END_IDX)
        number = torch.tensor(float(len(batch)), device=tokens.device)
        return {
            "pictures": number,
            "rows": number * self.config.num_samples,
            "words": mask.sum(),
            "human_words": batch.token_mask[:, 1:].sum(),
            "reward": values["reward"].sum(),
            "baseline": baseline.sum(),
            "advantage": advantage.sum(),
            "advantage_squares": advantage.square().sum(),
            "length": (mask & ~is_end).sum(),
            "ended": is_end.sum(),
            "bad_endings": bad_endings(tokens, run.captioner.vocabulary).sum(),
            "repetition": repetitions(tokens).sum(),
            "distinct": different_captions(tokens, self.config.num_samples).sum(),
        }

    # ------------------------------------------------------------------------ with the gradient

    def loss(self, run: Run, prepared: Prepared, totals: Sums) -> tuple[Tensor, Sums]:
        """This batch's share of the loss: the objective, and what is added to it."""
        config, batch, values = self.config, prepared.batch, prepared.values
        tokens, mask = values["tokens"], values["mask"]
        captioner, precision = run.captioner, run.experiment.training.precision
        features = prepared.features
        if features is None:
            features = encode(captioner, batch, precision)
        set_dropout(captioner.decoder, config.dropout)
        policy = (tokens, config.temperature, self.search.suppress_unk)
        with autocast(captioner.device, precision):
            logits, logprobs = policy_logprobs(captioner.decoder, features, *policy)
            start = self.start_policy(run, batch, features, policy)
        total = self.objective(values, logprobs, start, totals)
        kl = total.new_zeros(())
        if start is not None and config.kl_weight:
            kl = objectives.kl_to_start(logits, start[0], mask)[0] / totals["words"]
        if config.entropy_weight:
            entropy = objectives.entropy_bonus(logits, mask)[0] / totals["words"]
            total = total - config.entropy_weight * entropy
        total = total + config.kl_weight * kl
        if config.cross_entropy_weight:
            with autocast(captioner.device, precision):
                output = captioner.decoder(features, batch.captions[:, :-1])
            human, _ = caption_loss(output, batch.captions, words=totals["human_words"])
            total = torch.lerp(total, human, config.cross_entropy_weight)
        return total, {"loss": total, "logprobs": (logprobs.detach() * mask).sum(), "kl": kl}

    def objective(
        self,
        values: dict[str, Tensor],
        logprobs: Tensor,
        start: tuple[Tensor, Tensor] | None,
        totals: Sums,
    ) -> Tensor:
        """The sequence objective of the settings, divided by the counts of the whole step."""
        mask, reward, number = values["mask"], values["reward"], self.config.num_samples
        if self.name in OF_PICTURES:
            total, _ = OF_PICTURES[self.name](logprobs, mask, reward, number)
            return total / totals["words" if self.name == "best_of_n" else "pictures"]
        advantage = values["advantage"]
        if self.config.normalize_advantage:
            counts = (totals[name] for name in ("advantage", "advantage_squares", "rows"))
            advantage = objectives.normalise(advantage, *counts)
        words = totals["words"]
        if self.config.drop_worst:
            own = -advantage * objectives.mean_logprobs(logprobs.detach(), mask)
            mask = mask & objectives.drop_worst(own, self.config.drop_worst).unsqueeze(1)
            words = words * (1 - self.config.drop_worst)  # those left, on average
        if self.name == "ppo":
            clip = self.config.ppo_clip
            return objectives.ppo(logprobs, start[1], mask, advantage, clip)[0] / words
        return objectives.reinforce(logprobs, mask, advantage)[0] / words

    @torch.no_grad()
    def start_policy(
        self, run: Run, batch: Batch, features: VisualFeatures, policy: tuple
    ) -> tuple[Tensor, Tensor] | None:
        """Logits and log-probabilities of the same words under the starting model."""
        if self.start is None:
            return None
        if encoder_is_trained(run, batch):
            features = replace(run.captioner, encoder=self.start["encoder"]).look(batch.images)
        return policy_logprobs(self.start["decoder"], features, *policy)

    # ------------------------------------------------------------------------ what is said of it

    def row(self, totals: dict[str, float]) -> dict[str, float]:
        """Means over the step: see lesson 4 for how to read them."""
        rows, words = totals["rows"], totals["words"]
        means = {
            name: totals[name] / rows
            for name in ("reward", "baseline", "ended", "bad_endings", "repetition", *self.parts)
        }
        mean = totals["advantage"] / rows
        spread = max(0.0, totals["advantage_squares"] / rows - mean**2) ** 0.5
        more = {
            "loss": totals["loss"],
            "advantage_std": spread,
            "entropy": -totals["logprobs"] / words,
            "words": totals["length"] / rows,
            "distinct": totals["distinct"] / totals["pictures"],
        }
        return means | more | ({"kl": totals["kl"]} if self.config.kl_weight else {})

    def check(self, run: Run, row: dict[str, float]) -> None:
        """Stop a policy that has collapsed onto a few captions.

        Raises:
            TrainingError: entropy or the number of different captions stayed near zero.
        """
        number = self.config.num_samples
        variety = (row["distinct"] - 1) / max(1, number - 1)
        poor = row["entropy"] < self.config.stop_entropy
        poor = poor or (number > 1 and variety < self.config.stop_distinct)
        run.collapsed = run.collapsed + 1 if poor else 0
        if run.collapsed >= PATIENCE:
            raise TrainingError(
                f"step {run.step}: for {PATIENCE} steps the captions have had no variety (entropy "
                f"{row['entropy']:.3f} nats a word, {row['distinct']:.2f} of {number} captions "
                "different); a lower training.learning_rate or self_critical.kl_weight helps; the "
                "checkpoint and the best weights from before are intact"
            )

    def postfix(self, row: dict[str, float]) -> dict[str, str]:
        """What the bar shows."""
        shown = {"reward": f"{row['reward']:.3f}", "baseline": f"{row['baseline']:.3f}"}
        return shown | {"words/s": f"{row['words_per_second']:.0f}"}

    def signature(self) -> dict[str, Any]:
        """Everything that makes two rewards comparable; kept in the bundle."""
        baseline = self.config.baseline if self.name not in OF_PICTURES else None
        return {
            "objective": self.name,
            "reward": self.reward.signature(),
            "baseline": baseline,
            "num_samples": self.config.num_samples,
        }


def name_reward(reward: Reward) -> Mixture:
    """A reward of one's own, under the name of its function or class."""
    return Mixture({getattr(reward, "__name__", type(reward).__name__): (1.0, reward)})


def encoder_is_trained(run: Run, batch: Batch) -> bool:
    """Whether gradient flows into the encoder for this batch."""
    thawed = any(parameter.requires_grad for parameter in run.captioner.encoder.parameters())
    return batch.features is None and thawed


def describe_signature(signature: dict[str, Any]) -> str:
    """A signature in one line."""
    rewards = " + ".join(
        f"{one['weight']:g} x {name} ("
        + ", ".join(f"{key} {one[key]}" for key in one if key not in ("weight", "metric"))
        + ")"
        for name, one in signature["reward"].items()
    ).replace(" ()", "")
    parts = [f"objective {signature['objective']}", f"reward {rewards}"]
    if signature["baseline"]:
        parts.append(f"baseline {signature['baseline']}")
    return "; ".join([*parts, f"{signature['num_samples']} samples of each picture"])
