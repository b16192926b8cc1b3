"""Samples of the contraction ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

Array = Any


def array(*shape: int, seed: int = 0) -> Array:
    """Return positive data: no cancellation, so that sums are accurate in any order."""
    return rng(seed).uniform(0.5, 2.0, shape)


def complex_array(*shape: int, seed: int = 0) -> Array:
    """Return complex data."""
    return array(*shape, seed=seed) + 1j * rng(seed + 100).uniform(-0.3, 0.3, shape)


def product(a: Array, b: Array, zeros: int = 0) -> Array:
    """Multiply matrices by the definition."""
    left = a[None] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    dtype = np.result_type(a, b)
    out = np.sum(left[..., :, :, None] * right[..., None, :, :], axis=-2, dtype=dtype)
    if b.ndim == 1:
        out = out[..., 0]
    return out[0] if a.ndim == b.ndim == 1 else out[..., 0, :] if a.ndim == 1 else out


def contraction(*operands: Array, subscripts: str, annihilates: int | None = None) -> Array:
    """Contract by the definition: one product for every value of all indices."""
    left, output = subscripts.split("->")
    terms = left.split(",")
    lengths: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        lengths |= zip(term, x.shape, strict=True)
    index = dict(zip(lengths, np.indices(tuple(lengths.values())), strict=True))
    products = np.ones(tuple(lengths.values()), np.result_type(*operands))
    for term, x in zip(terms, operands, strict=True):
        products = products * x[tuple([index[letter] for letter in term])]
    if not output:
        return np.sum(products)
    out = np.zeros([lengths[letter] for letter in output], products.dtype)
    np.add.at(out, tuple([index[letter] for letter in output]), products)
    return out


MATMULS = [
    ((2, 3), (3, 1)),
    ((3,), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3,)),
    ((2, 1, 3), (3,)),
    ((2, 1, 3), (3, 2)),
    ((3,), (2, 3, 1)),
    ((2, 3), (2, 3, 1)),
    ((2, 1, 3), (2, 3, 1)),
    ((2, 1, 1, 2), (3, 2, 1)),
    ((1, 1), (1, 2)),
    ((2, 0), (0, 3)),
    ((0, 2), (2, 3)),
    ((0,), (0,)),
    ((0, 2, 3), (3, 1)),
]

EINSUMS: list[tuple[str, tuple[tuple[int, ...], ...], str]] = [
    ("ij,jk->ik", ((2, 3), (3, 1)), ""),
    ("ij->ji", ((2, 3),), "transposition"),
    ("ij->i", ((2, 3),), "summed out"),
    ("ij->", ((2, 3),), "summed out"),
    ("ii->i", ((3, 3),), "diagonal"),
    ("ii->", ((3, 3),), "trace"),
    ("iij->j", ((2, 2, 3),), "trace"),
    ("iji->ij", ((2, 1, 2),), "diagonal"),
    ("i->ii", ((3,),), "onto a diagonal"),
    ("ij->iji", ((2, 3),), "onto a diagonal"),
    ("ii,i->i", ((2, 2), (2,)), "diagonal"),
    ("ij,j->", ((2, 3), (3,)), "summed out"),
    ("i,j->ij", ((2,), (3,)), "outer"),
    ("i,j->ji", ((2,), (3,)), "outer"),
    ("ij,kj,k->i", ((1, 3), (2, 3), (2,)), "three operands"),
    ("ijk,k->ji", ((2, 1, 3), (3,)), "output order"),
    ("i,->i", ((3,), ()), "scalar"),
    ("ij,jk->ik", ((2, 0), (0, 3)), "size 0"),
]

SAMPLES = [
    *[
        Sample(op, (array(*a), array(*b, seed=1)), product, attrs, name=name)
        for op, attrs, name in (
            ("matmul", {}, ""),
            ("annihilating_matmul", {"zeros": 0}, "left"),
            ("annihilating_matmul", {"zeros": 1}, "right"),
        )
        for a, b in (MATMULS if op == "matmul" else MATMULS[:4])
    ],
    Sample("matmul", (complex_array(1, 3), complex_array(3, seed=1)), product, name="complex"),
    Sample("matmul", (array(2, 3), complex_array(3, 1, seed=1)), product, name="real and complex"),
    Sample("matmul", (np.arange(6).reshape(2, 3), np.arange(3)), product, name="integers"),
    Sample("matmul", (np.array([[True], [False]]), np.array([[True, False, True]])), product, name="booleans"),
    Sample("matmul", (np.arange(6).reshape(2, 3), array(3)), product, name="integers and floats"),
    *[
        Sample(
            "einsum",
            tuple([array(*shape, seed=k) for k, shape in enumerate(shapes)]),
            contraction,
            {"subscripts": subscripts, "annihilates": None},
            name=f"{subscripts} {name}".replace("->", " to ").replace(",", " and "),
        )
        for subscripts, shapes, name in EINSUMS
    ],
    Sample(
        "einsum",
        (array(2, 3), array(3, 1, seed=1)),
        contraction,
        {"subscripts": "ij,jk->ik", "annihilates": 1},
        name="annihilating",
    ),
    Sample(
        "einsum",
        (complex_array(2, 2), complex_array(2, seed=1)),
        contraction,
        {"subscripts": "ii,i->i", "annihilates": None},
        name="complex",
    ),
    Sample(
        "einsum",
        (np.arange(6).reshape(2, 3), array(3)),
        contraction,
        {"subscripts": "ij,j->i", "annihilates": None},
        name="integers and floats",
    ),
]
