"""X-linear attention against its plain form: results, gradients, dropout, masks, memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from captioning.decoders import x_linear
from captioning.decoders.x_linear import CompareInChunks, XLinearAttention, chunks, compare

DIM, PICTURES, QUERIES, REGIONS = 8, 3, 7, 5
COUNTS = (5, 2, 3)  # regions of the three pictures


def close(found, expected, tolerance):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.fixture(params=[1, 3 * REGIONS * DIM * 8, 15 * REGIONS * DIM * 8, 2**30])
def chunk_bytes(request, monkeypatch):
    """One word a chunk; 3 words; 2 pictures; everything (of 8-byte numbers)."""
    monkeypatch.setattr(x_linear, "CHUNK_BYTES", request.param)
    return request.param


def make_attention(dropout=0.0, dim=DIM, dtype=torch.float64):
    torch.manual_seed(1)
    return XLinearAttention(dim, dropout).to(dtype)


def make_inputs(sizes=(PICTURES, QUERIES, REGIONS, DIM), dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    pictures, queries, regions, dim = sizes
    words = torch.randn(pictures, queries, dim, generator=generator, dtype=dtype)
    memory = torch.randn(pictures, regions, dim, generator=generator, dtype=dtype)
    return words.requires_grad_(), memory.requires_grad_()


def make_mask():
    return torch.arange(REGIONS) < torch.tensor(COUNTS)[:, None]  # (B, P)


def ours(attention, words, memory, mask):
    return attention(words, *attention.project(memory), mask)


def plain(attention, words, memory, mask):
    """The published form: every large tensor is built, and nothing is moved out of a sum."""
    q1, q2 = attention.query(words), attention.value_query(words)
    key, value = attention.key(memory), attention.value(memory)
    mixed = torch.einsum("bqd,bpd->bqpd", q1, key)
    mixed = attention.dropout(attention.mix(mixed).relu())
    scores = attention.score(mixed).squeeze(-1)
    if mask is None:
        mask = torch.ones(memory.shape[:2], dtype=torch.bool)
    weights = scores.masked_fill(~mask.unsqueeze(1), -1e9).softmax(-1)
    counted = mask[:, None, :, None].to(mixed.dtype)
    gate = attention.gate((mixed * counted).sum(2) / counted.sum(2)).sigmoid()
    seen = torch.einsum("bqd,bpd->bqpd", q2, value)
    return gate * torch.einsum("bqp,bqpd->bqd", weights, seen), weights


def gradients(form, attention, words, memory, mask):
    """Result, weights, and the gradients of everything for a loss that both take part in."""
    out, weights = form(attention, words, memory, mask)
    generator = torch.Generator().manual_seed(3)
    loss = (out * torch.randn(out.shape, generator=generator)).sum() + weights.square().sum()
    given = (words, memory, *attention.parameters())
    return [out, weights, *torch.autograd.grad(loss, given)]


def by_hand(attention, words, memory, mask):
    """One number after the other, from the equations; also the layer norm."""

    def embed(block, x):
        linear, _, norm = block
        z = linear.weight @ x + linear.bias
        z = torch.stack([v if v > 0 else v.exp() - 1 for v in z])
        deviation = (z.var(unbiased=False) + norm.eps).sqrt()
        return norm.weight * (z - z.mean()) / deviation + norm.bias

    rows = []
    for picture in range(len(words)):
        regions = [j for j in range(memory.shape[1]) if mask[picture, j]]
        keys = {j: embed(attention.key, memory[picture, j]) for j in regions}
        values = {j: embed(attention.value, memory[picture, j]) for j in regions}
        for word in words[picture]:
            q1, q2 = embed(attention.query, word), embed(attention.value_query, word)
            mixed = {
                j: (attention.mix.weight @ (q1 * keys[j]) + attention.mix.bias).clamp(min=0)
                for j in regions
            }
            alpha = {j: math.exp(attention.score.weight[0] @ mixed[j]) for j in regions}
            mean = sum(mixed.values()) / len(regions)
            beta = 1 / (1 + (-(attention.gate.weight @ mean + attention.gate.bias)).exp())
            pooled = sum(alpha[j] / sum(alpha.values()) * (q2 * values[j]) for j in regions)
            rows.append(beta * pooled)
    return torch.stack(rows).unflatten(0, words.shape[:2])


# ---- the same numbers ----


def test_equals_the_equations_written_out():
    attention, (words, memory), mask = make_attention(), make_inputs(), make_mask()
    with torch.no_grad():
        out, weights = ours(attention, words, memory, mask)
        close(out, by_hand(attention, words, memory, mask), 1e-12)
    assert out.shape == (PICTURES, QUERIES, DIM) and weights.shape == (PICTURES, QUERIES, REGIONS)
    close(weights.sum(-1), torch.ones(PICTURES, QUERIES, dtype=torch.float64), 1e-12)
    assert (weights[~mask.unsqueeze(1).expand_as(weights)] == 0).all()


@pytest.mark.parametrize("masked", [False, True])
def test_result_and_gradients_equal_the_plain_form(chunk_bytes, masked):
    attention, inputs = make_attention(), make_inputs()
    mask = make_mask() if masked else None
    found = gradients(ours, attention, *inputs, mask)
    for one, other in zip(found, gradients(plain, attention, *inputs, mask), strict=True):
        close(one, other, 1e-12)


def test_single_precision_at_a_size_of_practice():
    sizes = (2, 40, 60, 128)
    attention, inputs = (
        make_attention(dim=128, dtype=torch.float32),
        make_inputs(sizes, torch.float),
    )
    assert len([*chunks(*inputs)]) == 1
    mask = torch.ones(2, 60, dtype=torch.bool)
    mask[1, 30:] = False
    exact = make_attention(dim=128), [x.detach().double().requires_grad_() for x in inputs]
    expected = gradients(plain, exact[0], *exact[1], mask)
    for form in (ours, plain):
        found = gradients(form, attention, *inputs, mask)
        for one, other in zip(found, expected, strict=True):
            close(one.double() / other.abs().max(), other / other.abs().max(), 1e-5)


def test_masked_regions_do_not_count_whatever_is_in_them():
    attention, (words, memory), mask = make_attention(), make_inputs(), make_mask()
    out, weights = ours(attention, words, memory, mask)
    other = torch.where(mask[..., None], memory, 1e3 * torch.ones_like(memory))
    close(ours(attention, words, other, mask)[0], out, 1e-12)
    for picture, count in enumerate(COUNTS):  # as if they were not there
        one = slice(picture, picture + 1)
        alone, seen = ours(attention, words[one], memory[one, :count], None)
        close(alone, out[one], 1e-12)
        close(seen, weights[one, :, :count], 1e-12)
    grad = torch.autograd.grad(out.sum(), memory)[0]
    assert (grad[~mask] == 0).all() and (grad[mask] != 0).any()


def test_words_do_not_meet(chunk_bytes):
    attention, (words, memory), mask = make_attention(), make_inputs(), make_mask()
    whole = ours(attention, words, memory, mask)[0]
    for t in range(QUERIES):  # as in decoding, one word after the other
        close(ours(attention, words[:, t : t + 1], memory, mask)[0], whole[:, t : t + 1], 1e-12)


# ---- dropout ----


def comparison_inputs():
    words, memory = make_inputs((2, 3, 4, 6))
    attention = make_attention(dim=6)
    weights = (attention.mix.weight, attention.mix.bias, attention.score.weight)
    mask = torch.tensor([[True] * 4, [True, False, True, False]])
    return words, memory, mask, weights


@pytest.mark.parametrize("words_a_chunk", [1, 2, 6])
def test_backward_drops_what_forward_dropped(monkeypatch, words_a_chunk):
    monkeypatch.setattr(x_linear, "CHUNK_BYTES", words_a_chunk * 4 * 6 * 8)
    words, memory, mask, weights = comparison_inputs()

    def run(words, memory, *weights):
        return CompareInChunks.apply(words, memory, mask, 0.5, 7, *weights)

    assert torch.autograd.gradcheck(run, (words, memory, *weights))  # by finite differences
    generator = torch.Generator().manual_seed(7)
    parts = [
        compare(words[some, where], memory[some], mask[some], weights, 0.5, generator)
        for some, where in chunks(words, memory)
    ]
    kept = [torch.cat([one.flatten() for one in some]) for some in zip(*parts, strict=True)]
    for one, other in zip(run(words, memory, *weights), kept, strict=True):
        close(one.flatten().sort()[0], other.sort()[0], 1e-12)


def test_dropout_follows_the_seed_and_the_mode():
    attention, inputs = make_attention(0.5), make_inputs()

    def result(seed):
        torch.manual_seed(seed)
        return gradients(ours, attention, *inputs, None)

    first = result(0)
    for one, other in zip(first, result(0), strict=True):
        assert torch.equal(one, other)
    assert (result(1)[0] - first[0]).abs().max() > 1e-3
    torch.manual_seed(0)
    both = [ours(attention, *inputs, None)[0] for _ in range(2)]  # two draws of one seed
    assert torch.equal(both[0], first[0]) and not torch.equal(both[0], both[1])
    attention.eval()
    for one, other in zip(result(0), gradients(plain, attention, *inputs, None), strict=True):
        close(one, other, 1e-12)
    before = torch.get_rng_state()
    ours(attention, *inputs, None)
    assert torch.equal(before, torch.get_rng_state())  # nothing is drawn without dropout


def test_dropout_keeps_the_mean_and_drops_the_share():
    words, memory, _, weights = comparison_inputs()
    weights = [x.detach() for x in weights]
    weights = (weights[0] * 0, weights[1] * 0 + 1, weights[2])  # every number is 1 before it
    generator = torch.Generator().manual_seed(0)
    draws = [compare(words, memory, None, weights, 0.25, generator)[1] / 4 for _ in range(400)]
    assert float(torch.stack(draws).detach().mean()) == pytest.approx(1, abs=0.01)
    levels = torch.stack(draws).unique()  # 0 to 4 of 4 regions kept, each counts 4/3
    close(levels, torch.arange(5, dtype=torch.float64) / 3, 1e-9)


# ---- memory and precision ----


class LargestTensor(TorchDispatchMode):
    """Remembers the size in bytes of the largest tensor that any operation made."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = [x for x in (result if isinstance(result, tuple) else [result])]
        self.bytes = max([self.bytes, *(x.nbytes for x in made if isinstance(x, torch.Tensor))])
        return result


@pytest.mark.parametrize("training", [False, True])
def test_no_tensor_is_larger_than_a_chunk_and_nothing_large_is_kept(monkeypatch, training):
    sizes = (2, 24, 30, 16)
    attention, inputs = make_attention(0.1 * training, dim=16), make_inputs(sizes)
    everything = 2 * 24 * 30 * 16 * 8
    chunk = everything // 6
    monkeypatch.setattr(x_linear, "CHUNK_BYTES", chunk)
    kept = []

    def keep(x):
        kept.append(x.nbytes)
        return x

    with LargestTensor() as largest:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            out = ours(attention, *inputs, None)[0]
        assert max(kept) == 2 * 24 * 30 * 8  # the attention weights (B, Q, P)
        out.sum().backward()
    assert 0.8 * chunk < largest.bytes <= chunk
    with LargestTensor() as largest:
        plain(attention, *inputs, None)[0].sum().backward()
    assert largest.bytes == everything


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((2, 4, 9, 7), [(0, 1, 0, 2), (0, 1, 2, 4), (1, 2, 0, 2), (1, 2, 2, 4)]),  # not 3 and 1
        ((5, 1, 9, 7), [(0, 3, 0, 1), (3, 6, 0, 1)]),
        ((2, 2, 9, 7), [(0, 1, 0, 2), (1, 2, 0, 2)]),
    ],
)
def test_chunks_share_out_words_or_pictures(monkeypatch, sizes, expected):
    monkeypatch.setattr(x_linear, "CHUNK_BYTES", 3 * 9 * 7 * 8)  # three words
    words, memory = make_inputs(sizes)
    found = [(a.start, a.stop, b.start, b.stop) for a, b in chunks(words, memory)]
    assert found == expected
    monkeypatch.setattr(x_linear, "CHUNK_BYTES", 1)  # too small for a single word: one it is
    assert len([*chunks(words, memory)]) == sizes[0] * sizes[1]


def test_half_precision():
    attention = make_attention(dim=32, dtype=torch.float32)
    inputs = make_inputs((2, 6, 9, 32), torch.float32)
    mask = torch.arange(9) < torch.tensor([[9], [4]])

    def run(form, dtype):
        def cast(*arguments):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                return form(*arguments)

        torch.manual_seed(0)
        return gradients(cast, attention, *inputs, mask)

    def errors(found, exact):
        pairs = zip(found, exact, strict=True)
        return [((one - true).norm() / true.norm()).item() for one, true in pairs]

    exact, found = run(plain, torch.float32), run(ours, torch.bfloat16)
    assert all(x.dtype == torch.float32 for x in found[1:])  # the plain form's softmax is bfloat16
    close(found[1].sum(-1), torch.ones(2, 6), 1e-6)
    usual = errors(run(plain, torch.bfloat16), exact)
    for error, other in zip(errors(found, exact), usual, strict=True):
        assert error < max(0.01, 1.5 * other) and error < 0.15
    attention.dropout.p = 0.3  # both precisions drop the same
    assert max(errors(run(ours, torch.bfloat16), run(ours, torch.float32))) < 0.15


def test_it_learns_with_frozen_regions_and_runs_without_gradients():
    attention, (words, memory) = make_attention(), make_inputs()
    keys, values = (x.detach() for x in attention.project(memory))
    attention(words.detach(), keys, values)[0].sum().backward()
    assert attention.mix.weight.grad.abs().sum() > 0 and attention.key[0].weight.grad is None
    with torch.inference_mode():
        assert not attention(words, keys, values)[0].requires_grad
