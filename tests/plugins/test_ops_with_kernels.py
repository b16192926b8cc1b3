"""A plugin's op brings kernels for backends that other plugins own."""

from __future__ import annotations

from distributions import SitePackages

OP = """
import numpy as np
from gradloom.hookspecs import hookimpl
from gradloom.op import Op

def softsign_spec(x): return x
def softsign_partial(out, x): return 1.0 / (1.0 + np.abs(x)) ** 2
def softsign_kernel(x): return x / (1.0 + np.abs(x))

softsign = Op("softsign", spec=softsign_spec, partials=(softsign_partial,), elementwise=True)

@hookimpl
def gradloom_ops(register):
    register(softsign, kernels={"numpy": softsign_kernel, "not_installed": softsign_kernel})
"""

#: A second distribution with kernels for the op of the first.
MORE = """
from gradloom.hookspecs import hookimpl
from foo_dist import softsign, softsign_kernel

@hookimpl
def gradloom_ops(register):
    register(softsign, kernels={"BACKEND": softsign_kernel})
"""


def test_differentiated_batched_and_compiled(site: SitePackages) -> None:
    """The op serves every transform on the NumPy backend, with no line changed in core or in that backend."""
    site.install("foo-dist", "foo", OP)
    done = site.run(
        """
        import numpy as np, gradloom as gl
        from foo_dist import softsign
        x = np.array([1.0, -3.0])
        def loss(x): return np.sum(softsign(x))
        gradient = gl.grad(loss)
        print(gradient(x), gl.jit(gradient)(x), gl.jvp(softsign, (x,), (x,)), gl.vmap(gradient)(x[:, None]).shape)
        print(gl.grad(lambda x: np.sum(gradient(x)))(x))
        gl.check_grads(loss, (x,))
        print(softsign(x), softsign(1), softsign(np.float32(1.0)).dtype)
        """
    )
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    one = "[0.25   0.0625]"
    assert first == f"{one} {one} (array([ 0.5 , -0.75]), array([ 0.25  , -0.1875])) (2, 1)"
    assert second == "[-0.25     0.03125]"
    assert third == "[ 0.5  -0.75] 0.5 float32"


def test_a_pickled_graph_finds_the_plugin_of_its_op(site: SitePackages) -> None:
    """Another process has looked for no plugin yet when it loads the graph."""
    site.install("foo-dist", "foo", OP)
    done = site.run(
        """
        import pickle, numpy as np, gradloom as gl
        from foo_dist import softsign
        with open("graph", "wb") as file:
            pickle.dump(gl.make_graph(gl.grad(softsign))(1.0), file)
        """
    )
    assert done.returncode == 0, done.stderr
    done = site.run(
        """
        import pickle
        with open("graph", "rb") as file:
            graph = pickle.load(file)
        print("softsign" in str(graph))
        """
    )
    assert done.stdout == "True\n", done.stderr


def test_workers_of_a_cluster_find_the_plugin_of_an_op(site: SitePackages) -> None:
    """They get plans with the op before they have looked for plugins."""
    site.install("foo-dist", "foo", OP)
    done = site.run(
        """
        import numpy as np, gradloom as gl
        from foo_dist import softsign
        w, x = np.ones((3, 3)) / 3, np.ones((5, 3))
        def loss(w, x): return np.sum(softsign(np.tanh(x @ w)) ** 2)
        here = gl.grad(loss)(w, x)
        with gl.cluster(n_workers=1) as executor:
            executor.always = True
            print(np.array_equal(gl.grad(loss)(w, x), here), executor.name)
        """
    )
    assert done.stdout == "True distributed\n", done.stderr


def test_a_plan_on_a_backend_without_the_kernel_raises(site: SitePackages) -> None:
    """The kernel is for the backends it names only."""
    site.install("foo-dist", "foo", OP.replace('"numpy": softsign_kernel, ', ""))
    done = site.run("import gradloom as gl, foo_dist; gl.grad(foo_dist.softsign)(1.0)")
    assert "MissingKernelError: softsign: backend 'numpy' has no kernel for this op" in done.stderr
    assert "kernels={'numpy': ...}" in done.stderr


def test_the_own_kernel_of_a_backend_comes_first(site: SitePackages) -> None:
    """A backend that gains a kernel for the op uses that, and nothing has to be uninstalled."""
    site.install("foo-dist", "foo", OP)
    site.install(
        "own-dist",
        "own",
        """
        from gradloom.hookspecs import hookimpl

        def factory():
            from gradloom_numpy.backend import NumpyBackend
            from gradloom.backend import AbstractBackend
            class Own(AbstractBackend):
                name = "not_installed"
                kernels = {"softsign": lambda x: x * 0 + 7.0}
                recognises = lambda self, kind: False
                describe, from_host, to_host = NumpyBackend.describe, NumpyBackend.from_host, NumpyBackend.to_host
            return Own()

        @hookimpl
        def gradloom_backends(register):
            register("not_installed", factory)
        """,
    )
    done = site.run(
        """
        from gradloom.backend import backends
        from foo_dist import softsign
        for name in ("numpy", "not_installed"):
            kernel, keywords = backends.get(name).kernel(softsign, ())
            print(kernel(1.0, **keywords))
        """
    )
    assert done.stdout == "0.5\n7.0\n", done.stderr


def test_another_plugin_brings_more_kernels(site: SitePackages) -> None:
    """It registers the same op again; only what it adds is new."""
    site.install("foo-dist", "foo", OP)
    site.install("more-dist", "more", MORE.replace("BACKEND", "third"))
    assert site.doctor().returncode == 0
    done = site.run(
        """
        from gradloom.backend import foreign_kernels, backends
        from gradloom.op import get_op
        backends.entries()
        print([foreign_kernels.get(name, get_op("softsign")).__name__ for name in ("numpy", "not_installed", "third")])
        """
    )
    assert done.stdout == f"{['softsign_kernel'] * 3}\n", done.stderr


def test_a_second_kernel_for_a_backend_is_refused(site: SitePackages) -> None:
    """Both owners are named, and the first kernel stays."""
    site.install("foo-dist", "foo", OP)
    site.install("more-dist", "more", MORE.replace("BACKEND", "numpy"))
    doctor = site.doctor()
    assert doctor.returncode == 1
    assert "backend 'numpy' has a kernel for this op already" in doctor.stdout
    assert "no kernel beside that of foo-dist" in doctor.stdout
    assert "a second one by more-dist" in doctor.stdout
    done = site.run("import gradloom as gl, foo_dist; print(gl.grad(foo_dist.softsign)(1.0))")
    assert done.stdout == "0.25\n", done.stderr


def test_what_is_no_kernel_is_refused(site: SitePackages) -> None:
    site.install("foo-dist", "foo", OP.replace('"numpy": softsign_kernel', '"numpy": 3'))
    doctor = site.doctor()
    assert doctor.returncode == 1
    assert "no kernel for backend 'numpy'; expected: callables kernel(*arrays, **attrs)" in doctor.stdout
    assert "got: int" in doctor.stdout


def test_kernels_of_a_broken_plugin_are_taken_back(site: SitePackages) -> None:
    """Op and kernels are gone, so that a healthy plugin can bring them."""
    site.install("foo-dist", "foo", OP + "    raise RuntimeError('too late')\n")
    done = site.run(
        """
        from gradloom.backend import backends, foreign_kernels
        from gradloom.op import ops
        import foo_dist
        backends.entries()
        print("softsign" in ops, [foreign_kernels.get(n, foo_dist.softsign) for n in ("numpy", "not_installed")])
        """
    )
    assert done.stdout == "False [None, None]\n", done.stderr


def test_two_ops_of_one_name(site: SitePackages) -> None:
    """The second is refused; the modules of both are named."""
    site.install("a-dist", "a", OP)
    site.install("b-dist", "b", OP)
    doctor = site.doctor()
    assert doctor.returncode == 1
    assert "an op named 'softsign' is registered already" in doctor.stdout
    assert "that of the op of a_dist" in doctor.stdout
    assert "a second op of that name, of b_dist" in doctor.stdout
