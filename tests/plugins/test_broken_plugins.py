"""Broken plugins are kept out, shown with their reason, and raise only when asked for by name."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from distributions import SitePackages

HEALTHY = """
from gradloom.backend import backends
from gradloom.hookspecs import hookimpl

def factory():
    from gradloom_numpy.backend import NumpyBackend
    return NumpyBackend()

@hookimpl
def gradloom_backends(register):
    register("NAME", factory)
"""


class Broken(NamedTuple):
    """A broken plugin named ``foo`` of the distribution ``foo-dist``, and what is said about it."""

    name: str
    source: str
    reason: str


KEPT_OUT = [
    Broken("import_error", "import does_not_exist", "ModuleNotFoundError: No module named 'does_not_exist'"),
    Broken("exception", "1 / 0", "ZeroDivisionError: division by zero"),
    Broken("exit", "raise SystemExit(3)", "SystemExit: 3"),
    Broken("syntax_error", "def f(:", "SyntaxError: invalid syntax"),
    Broken(
        "wrong_signature",
        """
        from gradloom.hookspecs import hookimpl

        @hookimpl
        def gradloom_backends(registry): ...
        """,
        "hookimpl definition: gradloom_backends(registry) "
        "Argument(s) {'registry'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    Broken(
        "misspelt_hook",
        """
        from gradloom.hookspecs import hookimpl

        @hookimpl
        def gradloom_backend(register): ...
        """,
        "unknown hook 'gradloom_backend'",
    ),
    Broken(
        "no_hook",
        "def gradloom_backends(register): ...",
        "the plugin implements no hook; expected: a function marked with gradloom.hookspecs.hookimpl, "
        "named one of ['gradloom_backends', 'gradloom_compilers', 'gradloom_executors', 'gradloom_ops']",
    ),
    Broken(
        "taken_backend_name",
        HEALTHY.replace("NAME", "numpy"),
        "the backend name 'numpy' is taken; expected: a name other than that of gradloom; "
        "got: a second registration by foo-dist; "
        "remedy: uninstall gradloom or foo-dist, or list only the wanted plugins in GRADLOOM_PLUGINS",
    ),
    Broken(
        "hook_raises",
        """
        from gradloom.hookspecs import hookimpl

        @hookimpl
        def gradloom_backends(register):
            register("bar", lambda: None)
            raise RuntimeError("changed my mind")
        """,
        "RuntimeError: changed my mind",
    ),
]


@pytest.mark.parametrize("plugin", KEPT_OUT, ids=lambda plugin: plugin.name)
class TestKeptOut:
    def test_harms_nobody_who_does_not_ask_for_it(self, site: SitePackages, plugin: Broken) -> None:
        """Gradients work, silently; asking for it by name raises with the reason, and `gl.backends()` shows it."""
        site.install("foo-dist", "foo", plugin.source)
        done = site.run(
            """
            import numpy as np, gradloom as gl
            print(gl.grad(np.sin)(0.0))
            for choose in (gl.backend, gl.scheduler):
                try:
                    with choose("foo"): ...
                except gl.errors.BackendError as error:
                    print(error.message)
            (row,) = [row for row in gl.backends() if row.name == "foo"]
            print(row.owner, row.status, row.reason)
            assert "foo-dist" in str(gl.backends())
            """
        )
        assert (done.stderr, done.returncode) == ("", 0)
        gradient, backend, scheduler, row = done.stdout.splitlines()
        assert gradient == "1.0"
        assert backend.startswith("backend 'foo' was kept out: ")
        assert scheduler.startswith("scheduler 'foo' was kept out: ")
        assert row.startswith("foo-dist broken ")
        assert all(plugin.reason in line for line in (backend, scheduler, row))

    def test_doctor_shows_it_and_exits_with_1(self, site: SitePackages, plugin: Broken) -> None:
        site.install("foo-dist", "foo", plugin.source)
        done = site.doctor()
        assert (done.returncode, done.stderr) == (1, "")
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("foo ")]
        assert plugin.reason in line


def test_nothing_of_a_broken_plugin_stays_behind(site: SitePackages) -> None:
    """Backends, executors and ops that it had registered or defined are gone."""
    site.install(
        "foo-dist",
        "foo",
        """
        from gradloom.executor import SerialExecutor
        from gradloom.hookspecs import hookimpl
        from gradloom.op import Op, define

        def same(x): return x

        DEFINED = define("defined_by_foo", spec=same, elementwise=True)

        @hookimpl
        def gradloom_backends(register): register("foo_backend", lambda: None)

        @hookimpl
        def gradloom_compilers(register): register("foo_compiler", lambda: None)

        @hookimpl
        def gradloom_executors(register): register("foo_executor", SerialExecutor)

        @hookimpl
        def gradloom_ops(register):
            register(Op("registered_by_foo", spec=same, elementwise=True))
            raise RuntimeError("too late")
        """,
    )
    done = site.run(
        """
        from gradloom.backend import backends
        from gradloom.compiler import compilers
        from gradloom.discovery import plugins
        from gradloom.executor import executors
        from gradloom.op import ops
        print([status.reason for status in plugins.status() if status.name == "foo"])
        tables = backends.entries(), compilers.entries(), executors.entries(), ops
        print([name for table in tables for name in table if "foo" in name])
        """
    )
    assert done.stdout == "['RuntimeError: too late']\n[]\n", done.stderr


def test_a_name_that_a_broken_plugin_had_registered_explains_itself(site: SitePackages) -> None:
    """The reason is found under the backend's name too, not only under the plugin's."""
    site.install("foo-dist", "foo", KEPT_OUT[-1].source)
    done = site.run("from gradloom.backend import backends; backends.get('bar')")
    assert "backend 'bar' was kept out: RuntimeError: changed my mind" in done.stderr


def test_two_plugins_of_one_name(site: SitePackages) -> None:
    """The second is refused; both distributions are named, and the first works."""
    site.install("a-dist", "foo", HEALTHY.replace("NAME", "foo"))
    site.install("b-dist", "foo", HEALTHY.replace("NAME", "foo"))
    done = site.doctor()
    assert done.returncode == 1
    text = "the plugin name 'foo' is taken by a-dist, so that of b-dist was not loaded; uninstall a-dist or b-dist"
    assert text in done.stdout
    assert site.run("import gradloom as gl\nwith gl.backend('foo'): print('works')").stdout == "works\n"


def test_no_other_distribution_takes_the_name_of_ours(site: SitePackages) -> None:
    """gradloom's own plugins come first, whatever the alphabet says."""
    site.install("aaa", "numpy", "1 / 0")
    done = site.doctor()
    assert "the plugin name 'numpy' is taken by gradloom, so that of aaa was not loaded" in done.stdout
    assert site.run("import numpy as np, gradloom as gl; print(gl.grad(np.sin)(0.0))").stdout == "1.0\n"


def test_two_backends_of_one_name(site: SitePackages) -> None:
    """Two plugins register one backend: the second is refused, and both owners are named."""
    site.install("a-dist", "a", HEALTHY.replace("NAME", "shared"))
    site.install("b-dist", "b", HEALTHY.replace("NAME", "shared"))
    done = site.doctor()
    assert done.returncode == 1
    assert "the backend name 'shared' is taken; expected: a name other than that of a-dist" in done.stdout
    assert "got: a second registration by b-dist" in done.stdout


FACTORY = """
from gradloom.hookspecs import hookimpl

def factory():
    BODY

@hookimpl
def gradloom_backends(register):
    register("foo", factory)
"""


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("raise OSError('no such library')", "backend 'foo' of foo-dist failed to initialise: no such library"),
        ("return 3", "backend 'foo' of foo-dist is not a AbstractBackend"),
    ],
    ids=["raises", "wrong_type"],
)
def test_factory(site: SitePackages, body: str, text: str) -> None:
    """A factory that fails is seen when the backend is first asked for, and shown by the doctor."""
    site.install("foo-dist", "foo", FACTORY.replace("BODY", body))
    assert site.run("import numpy as np, gradloom as gl; print(gl.grad(np.sin)(0.0))").stdout == "1.0\n"
    done = site.run("import gradloom as gl\nwith gl.backend('foo'): ...")
    assert f"BackendError: {text}" in done.stderr
    doctor = site.doctor()
    assert doctor.returncode == 1
    assert text in doctor.stdout


def test_unavailable_backend(site: SitePackages) -> None:
    """What works elsewhere is no defect: the doctor says why and exits with 0; using it raises."""
    site.install(
        "foo-dist",
        "foo",
        """
        from gradloom.hookspecs import hookimpl

        def factory():
            from gradloom.backend import AbstractBackend
            class Foo(AbstractBackend):
                name = "foo"
                kernels = {}
                recognises = describe = from_host = to_host = lambda self, value: False
                def unavailable(self): return "there is no foo in this machine; put one in"
            return Foo()

        @hookimpl
        def gradloom_backends(register):
            register("foo", factory)
        """,
    )
    doctor = site.doctor()
    assert doctor.returncode == 0, doctor.stdout
    (line,) = [line for line in doctor.stdout.splitlines() if line.startswith("foo ")]
    assert line.split(maxsplit=3) == ["foo", "foo-dist", "unavailable", "there is no foo in this machine; put one in"]
    done = site.run("import gradloom as gl\nwith gl.backend('foo'): ...")
    assert "backend 'foo' cannot run here: there is no foo in this machine; put one in" in done.stderr


def test_a_registered_op_works(site: SitePackages) -> None:
    """An op that a healthy plugin registers is there, with no line changed in core."""
    site.install(
        "foo-dist",
        "foo",
        """
        from gradloom.hookspecs import hookimpl
        from gradloom.op import Op

        def same(x): return x

        @hookimpl
        def gradloom_ops(register):
            register(Op("foo_op", spec=same, elementwise=True))
        """,
    )
    done = site.run(
        """
        from gradloom.discovery import plugins
        from gradloom.op import get_op
        plugins.ensure_loaded()
        print(get_op("foo_op"))
        """
    )
    assert done.stdout == "<op foo_op>\n", done.stderr


def test_a_registered_executor_works(site: SitePackages) -> None:
    """`gl.scheduler` takes the name of an executor that a plugin registers."""
    site.install(
        "foo-dist",
        "foo",
        """
        from gradloom.hookspecs import hookimpl

        def factory():
            from gradloom.executor import AbstractExecutor
            class Loud(AbstractExecutor):
                name = "loud"
                def run(self, plan, inputs, sources=()):
                    print("running")
                    return plan.run(inputs, sources)
            return Loud()

        @hookimpl
        def gradloom_executors(register):
            register("loud", factory)
        """,
    )
    done = site.run("import numpy as np, gradloom as gl\nwith gl.scheduler('loud'): print(gl.grad(np.sin)(0.0))")
    assert done.stdout == "running\n1.0\n", done.stderr


class TestLimit:
    """``GRADLOOM_PLUGINS`` names the plugins to load; the NumPy backend is always loaded."""

    SHOW = "import gradloom as gl; print(sorted(row.name for row in gl.backends() if row.status == 'ready'))"

    def install(self, site: SitePackages) -> None:
        for name in ("a", "b"):
            site.install(f"{name}-dist", name, HEALTHY.replace("NAME", name))

    @pytest.mark.parametrize(
        ("limit", "ready"),
        [("a", ["a", "numpy"]), (" b , a ,", ["a", "b", "numpy"]), ("", ["numpy"]), ("numpy", ["numpy"])],
    )
    def test_only_these_are_loaded(self, site: SitePackages, limit: str, ready: list[str]) -> None:
        self.install(site)
        done = site.run(self.SHOW, GRADLOOM_PLUGINS=limit)
        assert done.stdout == f"{ready}\n", done.stderr

    def test_the_others_say_so(self, site: SitePackages) -> None:
        """What is left out is not broken: the doctor exits with 0, and asking for it names the variable."""
        self.install(site)
        doctor = site.doctor(GRADLOOM_PLUGINS="a")
        assert doctor.returncode == 0
        done = site.run("import gradloom as gl\nwith gl.backend('b'): ...", GRADLOOM_PLUGINS="a")
        assert "backend 'b' was kept out: not listed in GRADLOOM_PLUGINS" in done.stderr

    def test_a_name_that_nothing_has(self, site: SitePackages) -> None:
        done = site.run("import gradloom as gl; print(gl.backends())", GRADLOOM_PLUGINS="typo")
        assert "listed in GRADLOOM_PLUGINS, but no installed plugin has this name" in done.stdout


def test_threads_that_come_first_together(site: SitePackages) -> None:
    """Eight threads look up a backend while a slow plugin loads: all find it."""
    site.install("foo-dist", "foo", "import time; time.sleep(0.3)\n" + HEALTHY.replace("NAME", "foo"))
    done = site.run(
        """
        import threading
        import gradloom
        from gradloom.backend import backends
        found, barrier = [], threading.Barrier(8)
        def look():
            barrier.wait()
            found.append(backends.get("foo"))
        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(found), len(set(map(id, found))))
        """
    )
    assert done.stdout == "8 1\n", done.stderr


def test_a_plugin_may_look_up_others_while_it_loads(site: SitePackages) -> None:
    site.install(
        "foo-dist",
        "foo",
        "from gradloom.backend import backends; backends.get('numpy')\n" + HEALTHY.replace("NAME", "foo"),
    )
    done = site.run("import gradloom as gl\nwith gl.backend('foo'): print('works')")
    assert done.stdout == "works\n", done.stderr
