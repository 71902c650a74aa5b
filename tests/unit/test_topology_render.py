"""The renderer's process: what a hostile template cannot do, and what stays behind (nothing)."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import TopologyError
from lab.substrate.syscalls import adopt_orphans
from lab.topology import limits, sandbox
from lab.topology.sandbox import Fault, Renderer
from lab.topology.text import Source, load

ENDLESS = "a: 1\n#% for i in range(99999)\n#% for j in range(99999)\n#% endfor\n#% endfor\n"
MIB = 1 << 20


def outcome(template: str, **params: object) -> str | Fault:
    renderer = Renderer()
    renderer.send(template, params)
    return renderer.answer()


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def children() -> list[int]:
    """Our children, dead or alive, by the kernel's list."""
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = descriptors(), children()
    yield
    assert (descriptors(), children()) == before


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a", "a"),
        ("", ""),
        ("{{ n }}\n", "3\n"),
        ("{{ none }} {{ not n }} {{ (none, 'it\\'s', 'ä') }} {{ {'a': 1.5} }}", 'null false [null, "it\'s", "ä"] {"a": 1.5}'),
        ("a\n#% for i in range(2)\n b{{ i }}\n  #% endfor\nc", "a\n b0\n b1\nc"),
        ("{{ 2 ** 128 - 1 }}", str(2**128 - 1)),
        ("{{ '%x' % 255 }} {{ 'x' * n }} {{ 2 ** -1 }}", "ff xxx 0.5"),
        ("{{ 'ä€𝄞' }}", "ä€𝄞"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(n) }}", "<3>"),
    ],
)
def test_an_honest_template_is_rendered(template: str, text: str) -> None:
    assert outcome(template, n=3) == text


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__.__mro__",
        "''['__class__']",
        "''|attr('__class__')",
        "cycler.__init__.__globals__",
        "self._TemplateReference__context",
        "'{0.__class__}'.format(1)",
        "'{a.__class__}'.format_map({'a': 1})",
        "('{0.__cl' ~ 'ass__}').format(1)",
        "range.__class__.__base__",
        "names.append(1)",
        "joiner.__call__.__func__.__globals__",
    ],
)
def test_an_escape_from_the_sandbox_is_refused_at_its_line(expression: str) -> None:
    fault = outcome(f"a: 1\nb: {{{{ {expression} }}}}\n", names=[])
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.line) == ("unsafe", 2)


@pytest.mark.parametrize(
    ("template", "kind", "line"),
    [
        ("{{ 'a' * 10**10 }}", "memory", 1),
        ("\n{{ 'x'|center(10**10) }}", "memory", 2),
        ("\n\n{{ '%10000000000d' % 1 }}", "memory", 3),
        ("{{ range(100000)|join('x' * 10000) }}", "memory", 1),
        ("{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('x') }}", "memory", 1),
        ("\n{{ 2 ** (10 ** 9) }}", "failed", 2),
        ("\n{{ 10 ** 1000 * 10 ** 1000 }}", "failed", 2),
        ("\n{% for i in range(10 ** 9) %}{% endfor %}", "failed", 2),
        ("{% macro m() %}\n{{ m() }}{% endmacro %}\n{{ m() }}", "failed", 2),
        ("{{ " + "(" * 100_000, "failed", None),
        ("{{ " + "-" * 100_000 + "1 }}", "failed", None),
        ("{{ " + "1+" * 50_000 + "1 }}", "failed", None),
        ("".join(f"#% for a{i} in [1]\n" for i in range(30)) + "#% endfor\n" * 30, "failed", None),
        ("{{ '\\ud800' }}", "failed", 1),
        ("\n{% for i in range(99999) %}{{ 'x' * 1000 }}\n{% endfor %}", "output", 2),
        ("a" * (limits.OUTPUT + 1) + "{{ 1 }}", "output", 1),
        ("{{ undefined }}", "undefined", 1),
        ("\n{{ [undefined] }}", "undefined", 2),
        ("\n#% for i in range(undefined)\n#% endfor", "undefined", 2),
        ("\n{{ n.a.b }}", "undefined", 2),
        ("{% raw %}x", "syntax", 1),
        ("a\n{# ", "syntax", 2),
        ("{{ lipsum() }}", "undefined", 1),
        ("{{ [1]|random }}", "syntax", 1),
        ("\n#% include n\n", "failed", 2),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_a_template_that_asks_for_too_much_ends_with_its_reason_and_line(template: str, kind: str, line: int | None) -> None:
    began = time.monotonic()
    fault = outcome(template, n=3)
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.line) == (kind, line)
    assert time.monotonic() - began < 15


def test_a_loop_without_end_is_ended_and_its_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEADLINE", 0.3)
    monkeypatch.setattr(limits, "GRACE", 4.0)
    began = time.monotonic()
    with pytest.raises(TopologyError) as caught:
        load(Source("x.yaml", "params: {}\n---\n" + ENDLESS))
    assert time.monotonic() - began < 4
    place = caught.value.problems[0].place
    assert place is not None
    assert place.line in (4, 5)
    assert "rendering took longer than 0.3 s" in str(caught.value)


def test_a_renderer_that_cannot_hear_its_alarm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEADLINE", 0.2)
    monkeypatch.setattr(limits, "GRACE", 0.1)
    renderer = Renderer()
    renderer.send("{{ 1 }}", {})
    signal.pidfd_send_signal(pidfd_of(renderer), signal.SIGSTOP)
    began = time.monotonic()
    assert renderer.answer() == Fault("time")
    assert time.monotonic() - began < 10


def test_eight_mebibytes_of_text_are_rendered() -> None:
    text = "# line\n" * (limits.OUTPUT // 8)
    assert outcome(text + "{{ 1 }}") == text + "1"


def test_eight_mebibytes_of_expressions_end_in_bounded_time() -> None:
    began = time.monotonic()
    assert isinstance(outcome("{{" * (4 * MIB)), Fault)
    assert time.monotonic() - began < 3 * limits.CPU


def test_a_renderer_that_is_given_up_is_gone_at_once() -> None:
    with Renderer():
        assert len(children()) >= 1
    renderer = Renderer()
    renderer.send(ENDLESS, {})
    renderer.close()
    renderer.close()


def test_a_renderer_that_is_forgotten_is_gone_too() -> None:
    Renderer().send(ENDLESS, {})


def test_a_renderer_that_is_killed_from_outside_is_reported() -> None:
    renderer = Renderer()
    signal.pidfd_send_signal(pidfd_of(renderer), signal.SIGTERM)
    renderer.send("a", {})
    assert renderer.answer() == Fault("failed", "the renderer was ended by SIGTERM")


def test_a_renderer_that_cannot_start_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_PROGRAM", "raise SystemExit('no such library')")
    with pytest.raises(RuntimeError, match="no such library"):
        outcome("a")


def test_a_renderer_cannot_fork_or_dump_core_and_its_memory_is_bounded() -> None:
    with Renderer() as renderer:
        renderer.send(ENDLESS, {})
        wait_until_started(renderer)
        found = limits_of(renderer)
    assert {name: found[name] for name in LIMITS} == {name: (wanted,) for name, wanted in LIMITS.items()}


def test_a_renderer_is_given_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    with Renderer() as renderer:
        renderer.send(ENDLESS, {})
        wait_until_started(renderer)
        assert b"SECRET" not in Path(f"/proc/{pid_of(renderer)}/environ").read_bytes()


def test_a_renderer_takes_no_library_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jinja2.py").write_text("raise SystemExit('hijacked')")
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert outcome("a") == "a"


def test_renderers_that_are_made_one_after_the_other_can_have_one_stock() -> None:
    before = children()
    with sandbox.kept():
        assert children() == before, "it is started by the first need"
        assert outcome("{{ 1 + 1 }}") == "2"
        (stock,) = set(children()) - set(before)
        assert outcome("{{ x }}", x=3) == "3"
        assert set(children()) - set(before) == {stock}
        os.kill(stock, signal.SIGKILL)
        os.waitid(os.P_PID, stock, os.WEXITED | os.WNOWAIT)
        assert outcome("a") == "a"
        assert stock not in children()
    assert children() == before


def test_who_keeps_the_stock_last_ends_it() -> None:
    before = children()
    with sandbox.kept():
        with sandbox.kept():
            assert outcome("a") == "a"
            kept = children()
        assert children() == kept != before
        assert outcome("a") == "a"
    assert children() == before


def test_what_a_template_has_used_up_is_not_taken_from_the_next() -> None:
    with sandbox.kept():
        assert isinstance(outcome("{{ 'x' * 2 ** 40 }}"), Fault)
        assert isinstance(outcome("{% for i in range(10 ** 9) %}{{ i }}{% endfor %}"), Fault)
        assert outcome("{{ 'x' * 9 }}") == "x" * 9


def run(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


ORPHAN = f"""
import time
from lab.topology.sandbox import Renderer
renderer = Renderer()
if {{sent}}:
    renderer.send({ENDLESS!r}, {{{{}}}})
with open(f"/proc/self/fdinfo/{{{{renderer._child.pidfd()}}}}") as info:
    print(next(line.split()[1] for line in info if line.startswith("Pid:")), flush=True)
input()
"""


@pytest.fixture
def orphans() -> Iterator[None]:
    """They become this process's, and who looks for what is left on the host sees whose they are."""
    adopt_orphans()
    yield
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    adopt_orphans(False)


@pytest.mark.usefixtures("orphans")
@pytest.mark.parametrize("sent", [True, False])
def test_a_renderer_dies_with_its_parent(sent: bool) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN.format(sent=sent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout
        pidfd = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            assert gone(pidfd, seconds=2)  # long before its processor time or its own alarm would end it
        finally:
            os.close(pidfd)


IN_A_THREAD = """
import threading
from lab.topology.sandbox import Renderer
made = []
def make():
    made.append(Renderer())
    made[0].send("a{{ 1 }}", {})
thread = threading.Thread(target=make)
thread.start()
thread.join()
print(made[0].answer())
"""
WITHOUT_STDIO = """
import os
saved = os.dup(1)
for descriptor in (0, 1, 2):
    os.close(descriptor)
from lab.topology.sandbox import Renderer
renderer = Renderer()
renderer.send("a{{ 1 }}", {})
os.write(saved, renderer.answer().encode() + b"\\n")
os._exit(0)
"""
CHILDREN_IGNORED = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from lab.topology.sandbox import Renderer
renderer = Renderer()
renderer.send("a{{ 1 }}", {})
print(renderer.answer())
"""
SIGNALS_BLOCKED = """
import signal
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
from lab.topology.sandbox import Renderer
renderer = Renderer()
renderer.send("a{{ 1 }}", {})
print(renderer.answer())
"""


@pytest.mark.parametrize("script", [IN_A_THREAD, WITHOUT_STDIO, CHILDREN_IGNORED, SIGNALS_BLOCKED])
def test_a_renderer_works_whatever_its_parent_is_like(script: str) -> None:
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert result.stdout == "a1\n"


def test_a_fork_of_the_parent_does_not_end_the_parents_renderer() -> None:
    renderer = Renderer()
    pid = os.fork()
    if not pid:
        renderer.close()
        os._exit(0)
    os.waitpid(pid, 0)
    renderer.send("a{{ 1 }}", {})
    assert renderer.answer() == "a1"


def pidfd_of(renderer: Renderer) -> int:
    pidfd = renderer._child.pidfd()
    assert pidfd is not None
    return pidfd


def pid_of(renderer: Renderer) -> int:
    info = Path(f"/proc/self/fdinfo/{pidfd_of(renderer)}").read_text()
    return int(next(line.split()[1] for line in info.splitlines() if line.startswith("Pid:")))


def wait_until_started(renderer: Renderer) -> None:
    """Until the child took its leash's byte: by then its limits stand. Bounded by its own deadline."""
    poll = select.poll()
    poll.register(pidfd_of(renderer), select.POLLIN)
    while any(wanted not in limits_of(renderer)[name] for name, wanted in LIMITS.items()):
        assert not poll.poll(1), "it ended before its limits stood"


LIMITS = {
    "Max address space": str(limits.MEMORY),
    "Max core file size": "0",
    "Max processes": "0",
    "Max cpu time": str(limits.CPU),
}


def limits_of(renderer: Renderer) -> dict[str, tuple[str, ...]]:
    """Name -> the soft limit, by proc(5)."""
    lines = Path(f"/proc/{pid_of(renderer)}/limits").read_text().splitlines()
    return {line[:26].strip(): tuple(line[26:].split()[:1]) for line in lines}


def gone(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
