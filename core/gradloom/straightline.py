"""StraightLine: the steps of a plan as one Python function, one line a step."""

from __future__ import annotations

import keyword
import operator
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, final

from gradloom.backend import AbstractBackend, Kernel
from gradloom.buffers import Buffers
from gradloom.generated import function
from gradloom.step import Step, stretches

_INFIX: Mapping[Any, str] = {
    operator.add: "{} + {}",
    operator.sub: "{} - {}",
    operator.mul: "{} * {}",
    operator.truediv: "{} / {}",
    operator.matmul: "{} @ {}",
    operator.neg: "-{}",
}


@final
class StraightLine:
    """A plan's steps compiled to a Python function.

    Parameters
    ----------
    steps : sequence of Step
    inputs, outputs : sequence of int
        Ids of the values that go in and come out.
    constants : mapping
        Values of the literals by id.
    backend : AbstractBackend
    is_scalar : callable
        Tells whether the value with an id is 0-d.
    buffers : Buffers
        Where values lie that stay in here.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        inputs: Sequence[int],
        outputs: Sequence[int],
        constants: Mapping[int, Any],
        backend: AbstractBackend,
        is_scalar: Callable[[int], bool],
        buffers: Buffers,
    ) -> None:
        self._inputs = frozenset(inputs)
        self._constants = constants
        self._backend = backend
        self._is_scalar = is_scalar
        self._buffers = buffers
        self._namespace: dict[str, Any] = {"quiet": backend.quiet, "take": buffers.take, "give": buffers.give}
        self._names: dict[Any, str] = {}
        #: The step of each line, -1 for lines that are none.
        self._steps_of_lines = [-1]
        self._lines = lines = [f"def run({', '.join(self._name(i) for i in inputs)}):"]
        if buffers.numbers:
            self._add(" block = take()")
        for quiet, start, stop in stretches(steps):
            if quiet:
                self._add(" with quiet():")
            for k in range(start, stop):
                if k not in buffers.items:
                    self._add(("  " if quiet else " ") + self._statement(k, steps[k]), k)
        if buffers.numbers:
            self._add(" give(block)")
        lines.append(f" return [{', '.join(self._name(i) for i in outputs)}]")
        self.source = "\n".join(lines)
        #: Takes one array per input and returns the list of outputs.
        self.run: Callable[..., list[Any]] = function(lines, self._namespace)

    def failed_step(self, error: BaseException) -> int | None:
        """Return the number of the step that an error passed through."""
        found = None
        traceback = error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_globals is self._namespace:
                found = traceback.tb_lineno
            traceback = traceback.tb_next
        return None if found is None else self._steps_of_lines[found - 1]

    def _add(self, line: str, step: int = -1) -> None:
        self._lines.append(line)
        self._steps_of_lines.append(step)

    def _statement(self, k: int, step: Step) -> str:
        if k in self._buffers.joined:
            return f"v{step.out} = {self._array(step.out)}"
        words = [self._operand(i, step) for i in step.inputs]
        keywords = [f"{key}={_inline(value) or self._global(value, 'attr')}" for key, value in step.attrs.items()]
        name = _kernel_name(step.kernel)
        written = self._buffers.written.get(k)
        if written is not None:
            kernel: Any = step.kernel
            outs = [self._name(i) for i in written]
            arrays = [self._array(i) for i in written]
            scalars = [f"; {out} = {out}[()]" for out, i in zip(outs, written, strict=True) if self._is_scalar(i)]
            call = f"{self._global(kernel.into, name)}({', '.join([*words, *outs, *keywords])})"
            return f"{', '.join(outs)} = {', '.join(arrays)}; {call}{''.join(scalars)}{self._deletion(step)}"
        infix = self._item(step.kernel) if type(step.kernel) is itemgetter else _INFIX.get(step.kernel)
        if infix is not None and not step.attrs:
            call = infix.format(*words)
        else:
            call = f"{self._global(step.kernel, name)}({', '.join([*words, *keywords])})"
        return f"v{step.out} = {call}{self._deletion(step)}"

    def _array(self, i: int) -> str:
        return f"block[{self._buffers.numbers[i]}]"

    def _deletion(self, step: Step) -> str:
        """Return what frees the memory that is not of a block."""
        drop = [self._name(i) for i in step.drop if i not in self._buffers.numbers]
        return f"; del {', '.join(drop)}" if drop else ""

    def _operand(self, i: int, step: Step) -> str:
        if i not in self._constants:
            return self._name(i)
        key = i, self._is_scalar(step.out)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"c{len(self._names)}"
            value = self._constants[i]
            at_home = self._backend.recognises(type(value))
            self._namespace[name] = self._backend.constant(value, key[1]) if at_home else value
        return name

    def _name(self, i: int) -> str:
        return f"a{i}" if i in self._inputs else f"v{i}"

    def _item(self, kernel: Any) -> str:
        (index,) = kernel.__reduce__()[1]
        return f"{{}}[{_inline(index) or self._global(index, 'index')}]"

    def _global(self, value: Any, prefix: str) -> str:
        name = self._names.get(id(value))
        if name is None:
            name = self._names[id(value)] = f"{prefix}_{len(self._names)}"
            self._namespace[name] = value
        return name


def _kernel_name(kernel: Kernel) -> str:
    name = getattr(kernel, "__name__", "kernel")
    return name if name.isidentifier() and not keyword.iskeyword(name) else "kernel"


def _inline(value: Any) -> str | None:
    """Return a simple attr value as Python text, None for anything else, such as a shape."""
    return repr(value) if value is None or type(value) in (bool, int, str) else None
