"""StraightLine: the steps of a plan as one Python function, one line a step."""

from __future__ import annotations

import keyword
import operator
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from types import FrameType
from typing import Any, final

from gradloom.backend import AbstractBackend, Kernel
from gradloom.buffers import Buffers, Places
from gradloom.generated import bound, code
from gradloom.step import Bound, Step, stretches

_INFIX: Mapping[Any, str] = {
    operator.add: "{} + {}",
    operator.sub: "{} - {}",
    operator.mul: "{} * {}",
    operator.truediv: "{} / {}",
    operator.matmul: "{} @ {}",
    operator.neg: "-{}",
}
#: Parts of a kernel that names stand for, besides its attrs.
KERNEL, INTO, INDEX = "(kernel)", "(into)", "(index)"


@final
class StraightLine:
    """A plan's steps compiled to a Python function.

    Parameters
    ----------
    text : Text
    namespace : dict
        What its names stand for.
    """

    def __init__(self, text: Text, namespace: dict[str, Any]) -> None:
        self._text = text
        self._namespace = namespace
        #: Takes one array per input and returns the list of outputs.
        self.run: Callable[..., list[Any]] = bound(text.code, namespace)

    @property
    def source(self) -> str:
        """The function as text."""
        return "\n".join(self._text.lines)

    def running_step(self) -> int | None:
        """Return the number of the step that called what calls this."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_globals is not self._namespace:
            frame = frame.f_back
        return None if frame is None else self._text.steps[frame.f_lineno - 1]

    def failed_step(self, error: BaseException) -> int | None:
        """Return the number of the step that an error passed through."""
        found = None
        traceback = error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_globals is self._namespace:
                found = traceback.tb_lineno
            traceback = traceback.tb_next
        return None if found is None else self._text.steps[found - 1]


@final
class Text:
    """The text of a straight line, which serves all plans that differ in sizes alone.

    Parameters
    ----------
    steps : sequence of Step
    kinds : sequence of int
        Of each step; `COPY` for copies of outputs.
    kernels : mapping
        By kind, with their attrs.
    common : collection of int
        The kinds of those that are the same in all these plans.
    inputs, outputs : sequence of int
        Ids of the values that go in and come out.
    constants, scalars : collection of int
        Ids of the values that are known, and of those that are 0-d.
    places : Places
        Which values have places in a block.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        kinds: Sequence[int],
        kernels: Mapping[int, Bound],
        common: Collection[int],
        inputs: Sequence[int],
        outputs: Sequence[int],
        constants: Collection[int],
        scalars: Collection[int],
        places: Places,
    ) -> None:
        self._kinds = kinds
        self._inputs = frozenset(inputs)
        self._constants = frozenset(constants)
        self._scalars = scalars
        self._places = places
        self._names: dict[Any, str] = {}
        #: What has a name by its identity.
        self._named: list[Any] = []
        #: What names stand for: parts of kernels by kind, and constants, as scalars or not.
        self._parts: dict[tuple[str, int, str], None] = {}
        self._values: list[tuple[str, int, bool]] = []
        self._forms = {kind: _form(*kernels[kind]) for kind in dict.fromkeys(kinds) if kind not in common}
        #: The step of each line, -1 for lines that are none.
        self.steps = [-1]
        self.lines = [f"def run({', '.join(self._name(i) for i in inputs)}):"]
        if places.numbers:
            self._add(" block = take()")
        for quiet, start, stop in stretches(steps):
            if quiet:
                self._add(" with quiet():")
            for k in range(start, stop):
                if k not in places.items:
                    self._add(("  " if quiet else " ") + self._statement(k, steps[k]), k)
        if places.numbers:
            self._add(" give(block)")
        self.lines.append(f" return [{', '.join(self._name(i) for i in outputs)}]")
        self.code = code(self.lines)
        self._named.clear()
        #: What names stand for in all plans.
        self._common = {name: _part(*kernels[k], part) for name, k, part in self._parts if k in common}
        self._own_parts = [(name, kind, part) for name, kind, part in self._parts if kind not in common]

    def line(
        self, kernels: Mapping[int, Bound], constants: Mapping[int, Any], backend: AbstractBackend, buffers: Buffers
    ) -> StraightLine | None:
        """Return the straight line of a plan, given its kernels by kind; None where these need another text."""
        if self._constants != constants.keys():
            return None
        for kind, form in self._forms.items():
            if _form(*kernels[kind]) != form:
                return None
        namespace = {**self._common, "quiet": backend.quiet, "take": buffers.take, "give": buffers.give}
        for name, kind, part in self._own_parts:
            value = _part(*kernels[kind], part)
            if namespace.setdefault(name, value) is not value:
                return None
        for name, i, is_scalar in self._values:
            value = constants[i]
            at_home = backend.recognises(type(value))
            namespace[name] = backend.constant(value, is_scalar) if at_home else value
        return StraightLine(self, namespace)

    def _add(self, line: str, step: int = -1) -> None:
        self.lines.append(line)
        self.steps.append(step)

    def _statement(self, k: int, step: Step) -> str:
        if k in self._places.joined:
            return f"v{step.out} = {self._array(step.out)}"
        words = [self._operand(i, step) for i in step.inputs]
        attrs = step.attrs.items()
        keywords = [f"{key}={_inline(value) or self._global(value, 'attr', k, key)}" for key, value in attrs]
        name = _kernel_name(step.kernel)
        written = self._places.written.get(k)
        if written is not None:
            kernel: Any = step.kernel
            outs = [self._name(i) for i in written]
            arrays = [self._array(i) for i in written]
            scalars = [f"; {out} = {out}[()]" for out, i in zip(outs, written, strict=True) if i in self._scalars]
            call = f"{self._global(kernel.into, name, k, INTO)}({', '.join([*words, *outs, *keywords])})"
            return f"{', '.join(outs)} = {', '.join(arrays)}; {call}{''.join(scalars)}{self._deletion(step)}"
        infix = self._item(step.kernel, k) if type(step.kernel) is itemgetter else _INFIX.get(step.kernel)
        if infix is not None and not step.attrs:
            call = infix.format(*words)
        else:
            call = f"{self._global(step.kernel, name, k, KERNEL)}({', '.join([*words, *keywords])})"
        return f"v{step.out} = {call}{self._deletion(step)}"

    def _array(self, i: int) -> str:
        return f"block[{self._places.numbers[i]}]"

    def _deletion(self, step: Step) -> str:
        """Return what frees the memory that is not of a block."""
        drop = [self._name(i) for i in step.drop if i not in self._places.numbers]
        return f"; del {', '.join(drop)}" if drop else ""

    def _operand(self, i: int, step: Step) -> str:
        if i not in self._constants:
            return self._name(i)
        key = i, step.out in self._scalars
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"c{len(self._names)}"
            self._values.append((name, *key))
        return name

    def _name(self, i: int) -> str:
        return f"a{i}" if i in self._inputs else f"v{i}"

    def _item(self, kernel: Any, k: int) -> str:
        index = _part(kernel, {}, INDEX)
        return f"{{}}[{_inline(index) or self._global(index, 'index', k, INDEX)}]"

    def _global(self, value: Any, prefix: str, k: int, part: str) -> str:
        name = self._names.get(id(value))
        if name is None:
            name = self._names[id(value)] = f"{prefix}_{len(self._names)}"
            self._named.append(value)
        self._parts[name, self._kinds[k], part] = None
        return name


def _part(kernel: Any, attrs: Mapping[str, Any], part: str) -> Any:
    """Return what a name in a text stands for: a kernel, what writes where it is told, an index or an attr."""
    if part == KERNEL:
        return kernel
    if part == INTO:
        return kernel.into
    return kernel.__reduce__()[1][0] if part == INDEX else attrs[part]


def _form(kernel: Any, attrs: Mapping[str, Any]) -> Any:
    """Return what the text of a kernel's calls depends on, besides its places."""
    infix = _inline(_part(kernel, attrs, INDEX)) if type(kernel) is itemgetter else _INFIX.get(kernel)
    return type(kernel) is itemgetter, infix, tuple([(key, _inline(value)) for key, value in attrs.items()])


def _kernel_name(kernel: Kernel) -> str:
    name = getattr(kernel, "__name__", "kernel")
    return name if name.isidentifier() and not keyword.iskeyword(name) else "kernel"


def _inline(value: Any) -> str | None:
    """Return a simple attr value as Python text, None for anything else, such as a shape."""
    return repr(value) if value is None or type(value) in (bool, int, str) else None
