#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The LSTM once more, to compare ours with: lstm.py > lstm.txt

Written from the equations, in double precision, and without any derivative:
gradients come from the complex step, Im f(p + ih) / h, which is exact to the
last digits (Squire & Trapp 1998).  Needs numpy; the tests do not run it.
"""
import numpy as np

SHAPE = dict(n_chunk=11, chunk_dim=5, n_delta=7, delta_dim=4, n_size=3,
             size_dim=2, n_gap=4, gap_dim=3, n_vector=6, vector_dim=3, n_hid=8)
PHASES = 2
LANES, STEPS = 3, 5
HEADS = ("chunk", "delta")
HEAD_WEIGHT = (1.0, 0.5)
RATE, CLIP = 0.01, 0.1
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Numbers:
    """The same numbers as test_lstm_golden.c makes."""

    def __init__(self, seed):
        self.x = seed

    def word(self):
        self.x = (1664525 * self.x + 1013904223) % 2**32
        return self.x >> 8

    def real(self):
        return self.word() / 2**24 - 0.5

    def below(self, n):
        return self.word() % n


def blocks():
    s = SHAPE
    n_in = (s["chunk_dim"] + s["delta_dim"] + s["size_dim"] + s["gap_dim"] +
            PHASES + s["vector_dim"])
    h = s["n_hid"]
    return [
        ("chunk_embed", s["n_chunk"], s["chunk_dim"]),
        ("delta_embed", s["n_delta"], s["delta_dim"]),
        ("size_embed", s["n_size"], s["size_dim"]),
        ("gap_embed", s["n_gap"], s["gap_dim"]),
        ("vector", s["vector_dim"], s["n_vector"]),
        ("gates_1", 4 * h, n_in + h),
        ("gates_1_bias", 1, 4 * h),
        ("gates_2", 4 * h, 2 * h),
        ("gates_2_bias", 1, 4 * h),
        ("chunk_head", s["n_chunk"], h),
        ("chunk_head_bias", 1, s["n_chunk"]),
        ("delta_head", s["n_delta"], h),
        ("delta_head_bias", 1, s["n_delta"]),
    ]


def split(flat):
    at, out = 0, {}
    for name, rows, cols in blocks():
        out[name] = flat[at:at + rows * cols].reshape(rows, cols)
        at += rows * cols
    return out


def make_segment(numbers, is_first):
    """[step][lane] of samples."""
    s = SHAPE

    def next_of(n_tokens):
        n = numbers.below(4)
        first = numbers.below(n_tokens)
        return [(first + k * 2) % n_tokens for k in range(n)]

    def sample(step, lane):
        return dict(
            chunk=numbers.below(s["n_chunk"]),
            delta=numbers.below(s["n_delta"]),
            size=numbers.below(s["n_size"]),
            gap=numbers.below(s["n_gap"]),
            is_start=int(is_first and step == 0 or (step, lane) == (3, 1)),
            weight=0.25 if lane == 2 else 1.0,
            phase=[numbers.real() for _ in range(PHASES)],
            vector=[numbers.real() for _ in range(s["n_vector"])]
            if numbers.below(2) else None,
            next=[next_of(s["n_chunk"]), next_of(s["n_delta"])])

    return [[sample(t, b) for b in range(LANES)] for t in range(STEPS)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def embed(p, s):
    vector = (p["vector"] @ np.array(s["vector"]) if s["vector"] else
              np.zeros(SHAPE["vector_dim"]))
    return np.concatenate([
        p["chunk_embed"][s["chunk"]], p["delta_embed"][s["delta"]],
        p["size_embed"][s["size"]], p["gap_embed"][s["gap"]], s["phase"],
        vector])


def cell(w, bias, x, h, c):
    n = SHAPE["n_hid"]
    a = np.concatenate([x, h]) @ w.T + bias[0]
    i, f, g, o = a[:n], a[n:2 * n], a[2 * n:3 * n], a[3 * n:]
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def cross_entropy(logits, tokens):
    top = logits.real.max()
    log_sum = top + np.log(np.exp(logits - top).sum())
    return log_sum - logits[tokens].mean()


def forward(p, segment, states):
    """Loss sum of each head, samples' weights, ends of lanes, logits."""
    zero = np.zeros((4, SHAPE["n_hid"]))
    loss, ends, last = [0, 0], [], None
    for lane in range(LANES):
        h1, c1, h2, c2 = states[lane]
        for step in range(STEPS):
            s = segment[step][lane]
            if s["is_start"]:
                h1, c1, h2, c2 = zero
            h1, c1 = cell(p["gates_1"], p["gates_1_bias"], embed(p, s), h1, c1)
            h2, c2 = cell(p["gates_2"], p["gates_2_bias"], h1, h2, c2)
            for k, head in enumerate(HEADS):
                logits = p[head + "_head"] @ h2 + p[head + "_head_bias"][0]
                if lane == 0:
                    last = (*(last or ()), logits)[-2:]
                if s["next"][k]:
                    loss[k] += s["weight"] * cross_entropy(logits,
                                                           s["next"][k])
        ends.append((h1, c1, h2, c2))
    return loss, ends, last


def total(flat, segment, states):
    loss = forward(split(flat), segment, states)[0]
    return HEAD_WEIGHT[0] * loss[0] + HEAD_WEIGHT[1] * loss[1]


def gradient(flat, segment, states):
    out = np.zeros(len(flat))
    at = flat.astype(complex)
    for k in range(len(flat)):
        at[k] += 1e-30j
        out[k] = total(at, segment, states).imag / 1e-30
        at[k] = flat[k]
    return out


def weight_of(segment):
    return sum(s["weight"] for row in segment for s in row if any(s["next"]))


def touched(segment):
    """Of embeddings of chunks and deltas only rows that were read move."""
    mask = np.ones(sum(r * c for _, r, c in blocks()), bool)
    p = split(mask)
    for name in "chunk", "delta":
        p[name + "_embed"][:] = False
        for row in segment:
            for s in row:
                p[name + "_embed"][s[name]] = True
    return mask


def adam(flat, m, v, t, g, mask):
    m[mask] = BETA_1 * m[mask] + (1 - BETA_1) * g[mask]
    v[mask] = BETA_2 * v[mask] + (1 - BETA_2) * g[mask]**2
    m_hat, v_hat = m / (1 - BETA_1**t), v / (1 - BETA_2**t)
    flat[mask] -= (RATE * m_hat / (np.sqrt(v_hat) + EPSILON))[mask]


def show(name, values):
    print(name, len(values), *("%.7g" % v for v in values))


def show_segment(segment):
    for row in segment:
        for s in row:
            print("sample", s["chunk"], s["delta"], s["size"], s["gap"],
                  s["is_start"], s["weight"], *s["phase"])
            show("vector", s["vector"] or [])
            for k in range(2):
                show("next", s["next"][k])


def main():
    numbers = Numbers(7)
    flat = np.array([numbers.real()
                     for _ in range(sum(r * c for _, r, c in blocks()))])
    segments = [make_segment(numbers, True), make_segment(numbers, False)]
    states = [np.zeros((4, SHAPE["n_hid"])) for _ in range(LANES)]
    m, v = np.zeros(len(flat)), np.zeros(len(flat))

    print("shape", *SHAPE.values())
    for segment in segments:
        show_segment(segment)
    for t in range(10):
        segment = segments[t % 2]
        loss, ends, last = forward(split(flat), segment, states)
        show("loss", loss)
        for logits in last:
            show("logits", logits)
        g = gradient(flat, segment, states)
        if t < 2:
            show("gradient", g)
        g /= weight_of(segment)
        g *= min(1, CLIP / np.linalg.norm(g))
        adam(flat, m, v, t + 1, g, touched(segment))
        states = ends
    show("parameters", flat)


main()
