"""What more workers gain: the table and the plot of docs/scaling.md, and how simulated runs compare with real ones.

``python tools/scaling.py`` prints the table and saves the plot, ``docs/scaling.svg`` (needs matplotlib). It runs
nothing: times come from the cost model with fixed rates, so the result is the same on every machine.

``python tools/scaling.py --validate threads`` (or ``processes``: local clusters) compares predicted and real runs on 1
and 2 workers. ``--validate waiting`` compares them on 1 to 8 threads with kernels that only wait, so that cores and
load do not count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np

import gradloom as gl
from gradloom.backend import backends
from gradloom.calibration import Rates
from gradloom.compiler import compiler_for
from gradloom.decision import Decision
from gradloom.executor import executors
from gradloom.plan import Plan
from gradloom.schedule import Schedule
from gradloom.simplify import simplify
from gradloom.simulate import Cut, Link, choose_cuts
from gradloom.site import AbstractSite, ThisProcess, add_up, on_one_core, run_alone, seconds_of
from gradloom.tasks import step_costs
from gradloom_dask.cluster import LINK
from gradloom_dask.site import ClusterSite

COUNTS = [2**k for k in range(11)]
#: One core of a server: seconds a call, operations a second elementwise and in products, bytes a second.
RATES = Rates(1e-6, 1e10, 3e10, 1e10)
LINKS = {"shared memory": Link(), "network, 10 Gbit/s and 1 ms": Link(1.25e9, 1e-3)}
#: Seconds below which waiting is not worth the call.
SLEEP = 200e-6
#: How often each runs when it is its turn; the least counts.
REPEATS = 3
#: How many units and rows arrays have where kernels only wait, for so many otherwise; and how much longer they wait
#: than the kernels of a server take, so that the little that they do does not count.
FEW = {400: 4, 128: 3, 2000: 5}
SLOWER = 4.0
COLOURS = ("#30638e", "#d1495b", "#2f8a4a", "#8a3fa0")

Function = Callable[..., Any]


def layers(y: Any, weights: list[Any]) -> Any:
    """Return the loss of layers that follow each other."""
    for w in weights:
        y = np.tanh(y @ w)
    return np.sum(y**2)


def chain(y: Any, weights: list[Any]) -> Any:
    """Return the loss of one network."""
    return layers(y, weights)


def two_branches(a: Any, b: Any, left: list[Any], right: list[Any]) -> Any:
    """Return the loss of two networks that share nothing."""
    return layers(a, left) + layers(b, right)


def ensemble(models: list[list[Any]], x: Any) -> Any:
    """Return the loss of many models, each with parameters of its own."""
    return sum([layers(x, weights) for weights in models])


def data_parallel(weights: list[Any], chunks: list[Any]) -> Any:
    """Return the loss of one model over chunks of data."""
    return sum([layers(x, weights) for x in chunks])


def workloads(models: int, n: int, array: Callable[..., Any]) -> dict[str, tuple[Function, tuple[Any, ...]]]:
    """Return functions and their arguments: so many models or chunks, and networks of so many units."""

    def weights(size: int, depth: int) -> list[Any]:
        return [array(size, size) for _ in range(depth)]

    rows = array(2000, 128)
    return {
        "chain of 8 layers": (gl.value_and_grad(chain, argnums=1), (array(n, n), weights(n, 8))),
        "two branches of 8 layers": (
            gl.value_and_grad(two_branches, argnums=(2, 3)),
            (array(n, n), array(n, n), weights(n, 8), weights(n, 8)),
        ),
        f"{models:,} models": (gl.value_and_grad(ensemble), ([weights(128, 2) for _ in range(models)], rows)),
        f"one model, {models:,} chunks": (
            gl.value_and_grad(data_parallel),
            (weights(128, 2), [array(2000, 128) for _ in range(models)]),
        ),
    }


def empty(*shape: int) -> Any:
    """Return an array that takes no memory: nothing is computed of it."""
    return np.broadcast_to(0.0, shape)


def filled(*shape: int) -> Any:
    """Return random numbers, small enough for layers that follow each other."""
    return np.random.default_rng(sum(shape)).normal(size=shape) / np.sqrt(shape[-1])


# -- simulated -----------------------------------------------------------------------------------


def curves() -> dict[str, dict[str, list[float]]]:
    """Return simulated seconds by link and workload, for each count of workers."""
    found: dict[str, dict[str, list[float]]] = {link: {} for link in LINKS}
    for name, (f, args) in workloads(1024, 600, empty).items():
        plan = Plan(simplify(gl.make_graph(f)(*args)), backends.get("numpy"))
        seconds = [cost.seconds(RATES) for cost in step_costs(plan)]
        for key, link in LINKS.items():
            cuts = choose_cuts(plan, seconds, COUNTS, link)
            found[key][name] = [cuts[n].run(n, link).seconds for n in COUNTS]
    return found


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Return a table of speed-ups in Markdown."""
    shown = [n for n in COUNTS if n in (1, 2, 4, 16, 64, 256, 1024)]
    lines = [f"| workload | link | one worker | {' | '.join([f'{n:,}' for n in shown[1:]])} |"]
    lines.append("| --- " * (len(shown) + 2) + "|")
    for name in found["shared memory"]:
        for link, rows in found.items():
            seconds = dict(zip(COUNTS, rows[name], strict=True))
            gains = " | ".join([f"{seconds[1] / seconds[n]:.3g}x" for n in shown[1:]])
            lines.append(f"| {name} | {link.split(',')[0]} | {seconds[1]:.3g} s | {gains} |")
    return "\n".join(lines)


def plot(found: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Save speed-up against workers, one panel for each link."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "gradloom", "font.family": "sans-serif"})
    figure, panels = plt.subplots(1, len(found), figsize=(9.6, 4.4), sharey=True, layout="constrained")
    for axes, (link, rows) in zip(panels, found.items(), strict=True):
        axes.plot(COUNTS, COUNTS, color="0.7", linestyle="--", linewidth=1.0, label="ideal")
        for (name, seconds), colour, marker in zip(rows.items(), COLOURS, "osD^", strict=True):
            gains = [seconds[0] / s for s in seconds]
            axes.plot(COUNTS, gains, color=colour, marker=marker, markersize=4.5, label=name)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(COUNTS[::2], [f"{n:,}" for n in COUNTS[::2]])
        axes.set_yticks(COUNTS[::2], [f"{n:,}x" for n in COUNTS[::2]])
        axes.set_title(link, fontsize=11)
        axes.set_xlabel("workers")
        axes.grid(color="0.93")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("simulated speed-up over one worker")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


# -- validated -----------------------------------------------------------------------------------


def validate(where: str, runs: int, only: str) -> None:
    """Print predicted and real times of the workloads whose names begin so."""
    print(
        "| workload | workers | tasks | predicted, ms | real, ms | predicted / real: median | of half the rounds "
        "| slowest / fastest round | two cores do |"
    )
    print("| --- " * 9 + "|")
    if where == "waiting":
        small = workloads(8, 400, lambda *shape: filled(*[FEW[n] for n in shape]))
        for name, (f, args) in workloads(8, 400, empty).items():
            if name.startswith(only):
                wait_instead(name, f, args, small[name][1], runs)
        return
    cases = workloads(8, 400, filled)
    cases["six decompositions"] = (decompositions, ([filled(250, 250 + k) for k in range(6)],))
    with ExitStack() as stack:
        counts = (1, 2) if where == "processes" else ()
        clusters = {n: stack.enter_context(gl.cluster(n_workers=n)) for n in counts}
        for name, (f, args) in cases.items():
            if name.startswith(only):
                compare(name, f, args, clusters, runs)


def compare(name: str, f: Function, args: tuple[Any, ...], clusters: dict[int, Any], runs: int) -> None:
    """Print the rows of a workload: on clusters, by number of workers, or else in threads.

    All that a prediction rests on is measured in each round, beside what it predicts: what each step takes on one core,
    how much two cores slow each other down, and what messages take on a cluster. So a round has a prediction of its
    own, and what is compared is of the same few seconds, in which the speed of a shared machine hardly changes: the
    median of the ratios is the error of the model; how much the rounds differ, that of the machine.
    """
    plan = Plan(simplify(gl.make_graph(f)(*args)), backends.get("numpy"), compiler_for("numpy"))
    values = list(leaves(args))
    run_alone(plan, values)
    seconds = run_alone(plan, values)[1]
    cuts = choose_cuts(plan, seconds, [1, 2], LINK if clusters else Link())
    sites: dict[int, AbstractSite] = {}
    actions: dict[int, Function] = {}
    for n, cut in cuts.items():
        if clusters:
            connection = clusters[n]._connection
            shipped = connection.shipments.add(plan, cut.tasks, 1, n)
            sites[n] = ClusterSite(connection, shipped, plan, values)
            actions[n] = partial(clusters[n].run, plan, values)
        else:
            sites[n] = ThisProcess(plan, values)
            actions[n] = partial(in_threads, plan, cut, values, n)
    for n in cuts:
        sites[n].alone()
        actions[n]()
    pairs: dict[int, list[tuple[float, float]]] = {n: [] for n in cuts}
    gains: list[float] = []
    for _ in range(runs):
        for n, cut in cuts.items():
            measured = [(*sites[n].alone(), sites[n].at_once(), seconds_of(actions[n])) for _ in range(REPEATS)]
            alone, steps, twice, real = zip(*measured, strict=True)
            slowdown = max(1.0, min(twice) / min(alone)) if n > 1 else 1.0
            link = sites[n].link()._replace(slowdown=slowdown)
            own = add_up(list(map(min, *steps)), min(alone))
            pairs[n].append((cut.with_seconds(own).run(n, link).seconds, min(real)))
            if n > 1:
                gains.append(2.0 * min(alone) / min(twice))
    for n, cut in cuts.items():
        report(name, n, cut, pairs[n], f"{statistics.median(gains):.2f}")


def wait_instead(name: str, f: Function, args: tuple[Any, ...], small: tuple[Any, ...], runs: int) -> None:
    """Print the rows of a workload whose kernels only wait as long as they are predicted to take.

    So neither the cores of this machine nor its load count, but all that schedulers do.
    """
    large = Plan(gl.make_graph(f)(*args), backends.get("numpy"))
    plan = Plan(gl.make_graph(f)(*small), backends.get("numpy"))
    seconds = [SLOWER * cost.seconds(RATES) for cost in step_costs(large)]
    for k, step in enumerate(plan.steps):
        plan.steps[k] = step._replace(kernel=waiting(step.kernel, seconds[k]))
    cuts = choose_cuts(plan, seconds, [1, 2, 4, 8], Link())
    values = list(leaves(small))
    for n, cut in cuts.items():
        in_threads(plan, cut, values, n)
        guess = cut.run(n, Link()).seconds
        report(name, n, cut, [(guess, seconds_of(partial(in_threads, plan, cut, values, n))) for _ in range(runs)], "-")


def waiting(kernel: Function, seconds: float) -> Function:
    """Return a kernel that takes some seconds, of which it works next to none."""

    def wait(*values: Any, **attrs: Any) -> Any:
        end = time.perf_counter() + seconds
        found = kernel(*values, **attrs)
        if seconds > SLEEP:
            time.sleep(max(0.0, end - time.perf_counter()))
        return found

    return wait


def report(name: str, n: int, cut: Cut, rounds: list[tuple[float, float]], gain: str) -> None:
    """Print a row of a workload, of what was predicted and what was real in some rounds."""
    guess, real = [statistics.median(times) for times in zip(*rounds, strict=True)]
    ratios = sorted([guessed / taken for guessed, taken in rounds])
    quarter = len(ratios) // 4
    spread = f"{ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f}"
    slowest, fastest = [pick([taken for _, taken in rounds]) for pick in (max, min)]
    times = f"{guess * 1e3:.1f} | {real * 1e3:.1f} | {statistics.median(ratios):.2f} | {spread}"
    print(f"| {name} | {n} | {len(cut.tasks)} | {times} | {slowest / fastest:.2f} | {gain} |", flush=True)


def in_threads(plan: Plan, cut: Cut, values: list[Any], workers: int) -> None:
    """Run a plan as it is cut, each task in one of some threads."""
    if len(cut.tasks) > 1:
        plan.schedule = Decision(Schedule(plan, cut.tasks), True)
        with dask.config.set(num_workers=workers):
            executors.get("threads").run(plan, values)
        return
    on_one_core(lambda: plan.run(values))


def decompositions(matrices: list[Any]) -> Any:
    """Return numbers of several matrices that do not depend on each other."""
    total = 0.0
    for m in matrices:
        s = m @ m.T
        total = total + np.sum(np.linalg.eigvalsh(s)) + np.linalg.slogdet(s)[1] + np.sum(np.linalg.inv(s))
    return total


def leaves(tree: Any) -> Iterator[Any]:
    """Yield the arrays of nested containers."""
    if isinstance(tree, (list, tuple)):
        for part in tree:
            yield from leaves(part)
    else:
        yield tree


def main() -> None:
    """Print the table and save the plot, or validate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--validate", choices=("threads", "processes", "waiting"), help="compare with real runs instead"
    )
    parser.add_argument("--runs", type=int, default=10, help="of each, when validating")
    parser.add_argument("--only", default="", help="workloads whose names begin so, when validating")
    parser.add_argument("--plot", type=Path, default=Path(__file__).parents[1] / "docs" / "scaling.svg")
    options = parser.parse_args()
    if options.validate:
        validate(options.validate, options.runs, options.only)
        return
    found = curves()
    print(table(found))
    plot(found, options.plot)


if __name__ == "__main__":
    main()
