"""Invoke: one native builtin that checks arguments against a record and calls a kernel.

A record is an array of ``int64``: what the kernel is, what it takes, and what each argument must
be. A call costs a fraction of a microsecond, a tenth of what ctypes takes.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from typing import Any, Final, TypeAlias, final

import numpy as np

from gradloom.generated import function
from gradloom.memory import LEAST, empty
from gradloom.sharing import RANGES, share
from gradloom.spec import Spec
from gradloom_llvm.engine import load
from gradloom_llvm.entry import builtin, prelude
from gradloom_llvm.jobs import Job
from gradloom_llvm.tiers import Code

#: Flags of arrays that kernels take: C-contiguous and aligned; outputs can be written, too.
CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400


#: What an argument must be: its dtype, its shape and its flags.
Argument: TypeAlias = tuple[np.dtype[Any], tuple[int, ...], int]
#: The record of a call, and what its numbers point into.
Loaded: TypeAlias = tuple[np.ndarray[Any, Any], Any]


def words(
    workspaces: tuple[int, int],
    phases: tuple[int, int],
    chunks: int,
    release: int,
    arguments: Sequence[Argument],
    numbers: Sequence[int],
) -> tuple[int, ...]:
    """Return what the record of a call consists of, besides the kernel's address.

    Parameters
    ----------
    workspaces : tuple of int
        Bytes of the workspace that all threads share, and of that of each.
    phases : tuple of int
        One bit for each, set if it runs over rows; and how many there are.
    chunks : int
        How many there are.
    release : int
        Whether other Python threads run meanwhile.
    arguments : sequence of Argument
    numbers : sequence of int
        The kernel's parameters.
    """
    shared, own = workspaces
    found = [0, 0, shared + own, shared, phases[1] - 1, chunks, release, len(arguments), phases[0]]
    for dtype, shape, flags in arguments:
        found += [dtype.num, len(shape), flags, *shape]
    found[1] = 8 * len(found)
    return *found, *numbers


def record(address: int, words: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return the record of a call to a kernel; see `words`."""
    made = np.array(words, np.int64)
    made[0] = address
    return made


@final
class Entry:
    """How a kernel is entered: by the best code that there is.

    Parameters
    ----------
    codes : sequence of Code
        What it runs.
    load : callable
        Returns what to run, of the codes' libraries.
    threaded : bool, default False
        Whether several threads may run it.
    """

    def __init__(self, codes: Sequence[Code], load: Callable[[], Loaded], threaded: bool = False) -> None:
        self._codes, self._load, self._threaded = codes, load, threaded
        #: Whether it is entered directly, by the best code.
        self.settled = self._has_run = False
        #: What runs now; who runs it must hold it meanwhile.
        self.loaded = load()
        self._enter: Callable[..., object] | None = None
        # Where arrays of other sizes have run the code for long, all is there.
        if INVOKE.done and all([code.final for code in codes]) and all([job.done for job in self._needs()]):
            self._enter_directly()

    def open(self, enter: Callable[..., object]) -> None:
        """Tell functions that could run the code without coming here by what, once there can be no better code.

        That is ``enter(record, invoke, together, mailbox)``.
        """
        self._enter = enter
        if self.settled:
            self._enter_directly()

    def run(self, run: Callable[[Loaded], object]) -> None:
        """Run the code, and go over to better code when there is some of all."""
        if self.settled:
            run(self.loaded)
            return
        start = time.perf_counter()
        run(self.loaded)
        seconds = time.perf_counter() - start
        for code in self._codes:
            code.ran(seconds)
        # Once may have been all, and what is not compiled well takes the roundabout way for as long as that takes.
        best = self._has_run and all([code.final for code in self._codes])
        if best and all([not job.begin() or job.done for job in self._needs()]):
            self._settle()
        self._has_run = True

    def finish(self) -> None:
        """Wait for the best code of all, and go over to it."""
        for code in self._codes:
            code.finish()
        for job in self._needs():
            job.result()
        if not self.settled:
            self._settle()

    def _needs(self) -> list[Job[Any]]:
        """Return what compiles the direct way."""
        return [INVOKE, _team().CODE] if self._threaded else [INVOKE]

    def _settle(self) -> None:
        self.loaded = self._load()
        self._enter_directly()

    def _enter_directly(self) -> None:
        self.settled = True
        if self._enter is not None:
            mailbox = _team().team.mailbox if self._threaded else _refuse
            self._enter(self.loaded[0], *INVOKE.result(), mailbox)


@cache
def _team() -> Any:
    """Return the module of that name; one run needs none of it."""
    from gradloom_llvm import team

    return team


def _refuse(*arguments: object) -> None:
    raise TypeError


def _make() -> tuple[Callable[..., None], Callable[..., None]]:
    """Return what calls a kernel: ``invoke(record, *arrays)``, inputs, then outputs; and the same by a team.

    ``together(record, mailbox, workers, workspace, *arrays)`` takes workspace for all threads, an array of uint8.
    Both return None; TypeError says that an argument is not what the record asks for.
    """
    # Imported here, because one run needs none of it.
    from gradloom_llvm.invoke_code import source

    library = load(prelude() + source(), quick=True)
    doc = "Check arrays against a record and call its kernel"
    together = builtin(library, "invoke_together", name="together", doc=f"{doc} in several threads.")
    return builtin(library, "invoke", doc=f"{doc}."), together


#: What makes the builtins.
INVOKE: Final = Job(_make)
_KERNEL: Final = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 4)


def invoke(record: np.ndarray[Any, Any], *arrays: Any) -> None:
    """Call a record's kernel on arrays that fit it: in a roundabout way at first, while the builtin is compiled."""
    if INVOKE.done:
        INVOKE.result()[0](record, *arrays)
        return
    address, start, size, split, last, chunks, *_ = record.tolist()
    workspace = np.empty(size, np.uint8)
    pointers = np.array([array.ctypes.data for array in arrays], np.intp)
    numbers, shared = record.ctypes.data + start, workspace.ctypes.data
    _KERNEL(address)(pointers.ctypes.data, numbers, shared, shared + split, 0, last, 0, chunks)


def invoke_in_turns(record: np.ndarray[Any, Any], workers: int, *arrays: Any) -> None:
    """Call a record's kernel phase by phase, those over rows in threads of Python: at first, when there is no team."""
    address, at, size, shared, last, chunks, _, _, rows, *_ = record.tolist()
    own, numbers = size - shared, record.ctypes.data + at
    kernel, workspace = _KERNEL(address), empty((shared + workers * own,), np.dtype(np.uint8))
    pointers = np.array([array.ctypes.data for array in arrays], np.intp)
    start = workspace.ctypes.data
    blocks = deque([start + shared + worker * own for worker in range(workers)])

    def run(phase: int, pieces: int, k: int) -> None:
        block = blocks.pop()
        first, beyond = chunks * k // pieces, chunks * (k + 1) // pieces
        kernel(pointers.ctypes.data, numbers, start, block, phase, phase, first, beyond)
        blocks.append(block)

    for phase in range(last + 1):
        pieces = min(chunks, RANGES * workers) if rows >> phase & 1 else 1
        share(pieces, partial(run, phase, pieces))


def invoke_by_team(record: np.ndarray[Any, Any], workers: int, *arrays: Any) -> None:
    """Call a record's kernel with its chunks spread over threads, on arrays that need not be what it asks for."""
    address, start, size, shared, last, chunks, _, _, rows, *_ = record.tolist()
    workspace = empty((shared + workers * (size - shared),), np.dtype(np.uint8))
    pointers = np.array([array.ctypes.data for array in arrays], np.intp)
    _team().run_chunks(
        address,
        (pointers.ctypes.data, record.ctypes.data + start),
        (workspace.ctypes.data, shared, size - shared),
        (rows, last + 1),
        chunks,
        workers,
    )


def as_asked(value: Any, spec: Spec, copied: float = math.inf) -> Any:
    """Return an aligned array of whole elements a step in a dtype; C-contiguous, unless it has more elements."""
    dtype = spec.dtype
    array = value if type(value) is np.ndarray and value.dtype == dtype else np.asarray(value, dtype)
    if array.shape != spec.shape:
        raise ValueError(f"expected an array of shape {spec.shape}, got {array.shape}")
    flags = array.flags
    if flags.aligned and (flags.c_contiguous or array.size > copied):
        size = dtype.itemsize
        if not [step for step in array.strides if step % size]:
            return array
    return np.array(array, order="C")


def caller(
    entry: Entry,
    arity: int,
    outs: Sequence[Spec],
    otherwise: Callable[..., None],
    sharing: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
) -> Callable[..., Any]:
    """Return a function of a kernel's inputs that makes the outputs, calls it, and returns them; ``into`` takes them.

    Parameters
    ----------
    entry : Entry
        What is entered.
    arity : int
        Number of inputs.
    outs : sequence of Spec
    otherwise : callable
        ``otherwise(inputs, outputs)`` runs the kernel where the arguments do not fit the record.
    sharing : tuple of callable, optional
        How several threads run it, if they are to: what returns how many, and what returns the workspace of so many.
    """
    large = [spec.nbytes >= LEAST for spec in outs]
    make = _maker(arity, tuple([(not s.shape, n) for s, n in zip(outs, large, strict=True)]), sharing is not None)
    making = [(empty if n else np.empty, s.shape, s.dtype) for s, n in zip(outs, large, strict=True)]
    kernel, kernel.into, enter = make(_refuse, otherwise, making, *sharing or (None, None))
    entry.open(enter)
    return kernel  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def _maker(arity: int, outs: tuple[Any, ...], shared: bool) -> Callable[..., Any]:
    """Return what makes the functions of kernels, and one that tells them by what to enter directly.

    They are closures, as the code of functions that differ in what they read alone is in use, when a new one is called.

    Parameters
    ----------
    arity : int
        Number of inputs.
    outs : tuple
        Of each output: whether it is 0-d; and whatever its array is made by, to which Python adapts the code.
    shared : bool
        Whether several threads are to run them.
    """
    inputs = [f"a{k}" for k in range(arity)]
    results = [f"o{k}" for k in range(len(outs))]
    values = [f"{name}[()]" if is_scalar else name for name, (is_scalar, _) in zip(results, outs, strict=True)]
    making = [f"  {name} = empty{k}(shape{k}, dtype{k})" for k, name in enumerate(results)]
    arrays = ", ".join([*inputs, *results])
    alone = f"invoke(record, {arrays})"
    if not shared:
        calling = ["  try:", f"   {alone}"]
    else:
        calling = [
            "  workers = threads()",
            "  try:",
            f"   if workers < 2: {alone}",
            f"   else: together(record, mailbox(workers), workers, workspace(workers), {arrays})",
        ]
    calling += ["  except TypeError:", f"   otherwise([{', '.join(inputs)}], [{', '.join(results)}])"]
    lines = [
        "def make(refuse, otherwise, outs, threads, workspace):",
        f" [{', '.join([f'(empty{k}, shape{k}, dtype{k})' for k in range(len(outs))])}] = outs",
        " record, invoke, together, mailbox = None, refuse, refuse, refuse",
        f" def kernel({', '.join(inputs)}):",
        *making,
        *calling,
        f"  return {', '.join(values)}",
        f" def into({arrays}):",
        *calling,
        " def enter(*directly):",
        "  nonlocal record, invoke, together, mailbox",
        "  record, invoke, together, mailbox = directly",
        " return kernel, into, enter",
    ]
    return function(lines, {})
