"""Files that were written to do harm or to take for ever: `validate` and `up` both end soon, with 2, and have made nothing."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.commands import Said, lab
from support.world import look, run_directory

pytestmark = pytest.mark.root

SECONDS = 25.0
"""More than any of these takes on a busy machine; the renderer's own limit is 5."""


def refused(*words: str | Path, cwd: Path) -> str:
    """What both commands say of it, which is the same; both at once, since neither makes anything."""
    before = look()
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda command: lab(command, *words, timeout=SECONDS, cwd=cwd), ("validate", "up")))
    for said in both:
        assert (said.status, said.stdout) == (2, ""), said.stderr[-2000:]
        assert "Traceback" not in said.stderr
    assert look() == before
    assert not run_directory().exists()
    assert both[0].stderr == both[1].stderr
    return both[0].stderr


def refused_text(folder: Path, text: str | bytes) -> str:
    file = folder / "hostile.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    said = refused("hostile.yaml", cwd=folder)
    assert [path.name for path in folder.iterdir()] == ["hostile.yaml"]
    assert len(said) < 100_000
    return said


NAMES = {
    "a lab that is a path upwards": ("name: ../../tmp/x\nnodes: {a: {}}", ":1:7: '../../tmp/x' cannot be the name of a lab"),
    "a lab that is an absolute path": ("name: /etc\nnodes: {a: {}}", ":1:7: '/etc' cannot be the name of a lab"),
    "a lab that is a command": ('name: "$(touch x)"\nnodes: {a: {}}', ":1:7: '$(touch x)' cannot be the name of a lab"),
    "a lab that looks like an option": ('name: "-rf"\nnodes: {a: {}}', ":1:7: '-rf' cannot be the name of a lab"),
    "a node that is a path upwards": ("name: x\nnodes: {../../x: {}}", ":2:9: '../../x' cannot be the name of a node"),
    "a node that is its own folder": ("name: x\nnodes: {.: {}}", ":2:9: '.' cannot be the name of a node"),
    "a node that is an absolute path": (
        "name: x\nnodes: {/etc/passwd: {}}",
        ":2:9: '/etc/passwd' cannot be the name of a node",
    ),
    "a node that is a command": ('name: x\nnodes: {"`touch x`": {}}', ":2:9: '`touch x`' cannot be the name of a node"),
    "a node that is two commands": ('name: x\nnodes: {"a;touch x": {}}', ":2:9: 'a;touch x' cannot be the name of a node"),
    "a node of two lines": ('name: x\nnodes: {"a\\n": {}}', ":2:9: 'a\\n' cannot be the name of a node"),
    "a node with a NUL": ('name: x\nnodes: {"a\\0b": {}}', ":2:9: 'a\\x00b' cannot be the name of a node"),
    "an end of a link": ('name: x\nnodes: {a: {}}\nlinks: [{endpoints: ["../a", a]}]', "'../a' cannot be the name of a node"),
    "an interface that is a path upwards": (
        "name: x\nnodes: {a: {interfaces: {../../x: {kind: ifb}}}}",
        ":2:26: '../../x' cannot be the name of an interface",
    ),
    "an interface that is its parent folder": (
        "name: x\nnodes: {a: {interfaces: {..: {kind: ifb}}}}",
        ":2:26: '..' cannot be the name of an interface",
    ),
    "an interface that is a command": (
        'name: x\nnodes: {a: {interfaces: {"|touch x": {kind: ifb}}}}',
        ":2:26: '|touch x' cannot be the name of an interface",
    ),
    "a sysctl that climbs out of net": (
        "name: x\nnodes: {a: {sysctls: {net/../kernel/hostname: x}}}",
        ":2:23: 'net/../kernel/hostname' is no sysctl name",
    ),
    "a sysctl of the host": (
        "name: x\nnodes: {a: {sysctls: {kernel.core_pattern: '|/bin/sh'}}}",
        "sysctl kernel.core_pattern does not belong to a network namespace",
    ),
    "a sysctl of an interface that climbs": (
        "name: x\nnodes: {a: {interfaces: {lo: {sysctls: {ipv4.../../../kernel/hostname: x}}}}}",
        "is no sysctl of an interface",
    ),
}


@pytest.mark.parametrize(("text", "said"), NAMES.values(), ids=NAMES.keys())
def test_a_name_is_never_a_path_an_option_or_a_command(tmp_path: Path, text: str, said: str) -> None:
    assert f"hostile.yaml{said}" in (told := refused_text(tmp_path, text)) or said in told


ESCAPES = {
    "the classes of Python": (
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "attribute '__class__' of 'str' object is unsafe",
    ),
    "the globals of a function": (
        "{{ cycler.__init__.__globals__.os.system('touch x') }}",
        "'__init__' of 'type' object is unsafe",
    ),
    "attr": ("{{ ''|attr('__class__') }}", "attribute '__class__' of 'str' object is unsafe"),
    "format": ("{{ '{0.__class__}'.format(1) }}", "attribute '__class__' of 'int' object is unsafe"),
    "the template itself": ("{{ self._TemplateReference__context }}", "is unsafe"),
    "changing a list": ("{{ [].append(1) }}", "attribute 'append' of 'list' object is unsafe"),
    "including a file": ("{% include '/etc/passwd' %}", "cannot include, import or extend another"),
    "importing a module": ("{% import 'os' as os %}", "cannot include, import or extend another"),
    "a tag of Python's": (
        "!!python/object/apply:os.system ['touch x']",
        "the tag '!!python/object/apply:os.system' means nothing here",
    ),
}


@pytest.mark.parametrize(("expression", "said"), ESCAPES.values(), ids=ESCAPES.keys())
def test_there_is_no_way_out_of_a_template(tmp_path: Path, expression: str, said: str) -> None:
    told = refused_text(tmp_path, f"name: x\nnodes:\n  a: {expression}\n")
    assert "hostile.yaml:3:" in told
    assert said in told


def loops(depth: int) -> str:
    return "#% for i in range(99999)\n" * depth + "# x\n" + "#% endfor\n" * depth


ENDLESS = {
    "a loop that says nothing": (loops(3).replace("# x\n", ""), "rendering took longer than 5 s"),
    "a loop that never stops talking": (loops(2), "rendering made more than 8,388,608 characters"),
    "a macro that calls itself": (
        "#% macro m()\n{{ m() }}{{ m() }}\n#% endmacro\n{{ m() }}",
        "maximum recursion depth exceeded",
    ),
    "a range": ("# {{ range(10**9)|list }}", "Range too big"),
    "a text": ("# {{ 'x' * 10**10 }}", "rendering took more than 512 MiB of memory"),
    "a width": ("# {{ '%10000000000d' % 1 }}", "rendering took more than 512 MiB of memory"),
    "a number": ("# {{ 10**(10**7) }}", "hostile.yaml:3:"),
}


@pytest.mark.parametrize(("body", "said"), ENDLESS.values(), ids=ENDLESS.keys())
def test_what_has_no_end_is_ended(tmp_path: Path, body: str, said: str) -> None:
    assert said in refused_text(tmp_path, f"name: x\nnodes: {{a: {{}}}}\n{body}\n")


def laughs() -> str:
    lines = [f"l{at}: &l{at} [{', '.join([f'*l{at - 1}'] * 9)}]" for at in range(1, 12)]
    return "\n".join(["name: x", "nodes: {a: {}}", "l0: &l0 [lol]", *lines])


def aliases(size: int) -> str:
    """Each a list of the one before."""
    lines, length, at = ["name: x", "nodes: {a: {}}", "x0: &x0 [1]"], 0, 0
    while length < size:
        at += 1
        lines.append(f"x{at}: &x{at} [*x{at - 1}]")
        length += len(lines[-1]) + 1
    return "\n".join(lines)


def misspelt(count: int) -> str:
    nodes = "".join(f"  node{at}: {{}}\n" for at in range(count))
    links = "".join(f"  - {{endpoints: [nodd{at}, node{at}]}}\n" for at in range(count))
    return f"name: x\nnodes:\n{nodes}links:\n{links}"


def piled(count: int, step: int) -> str:
    """Devices each on the next (1) or on the one before (-1)."""
    devices = "".join(f"      v{at}: {{kind: macvlan, parent: v{at + step}}}\n" for at in range(count))
    return f"name: x\nnodes:\n  a:\n    interfaces:\n{devices}"


LARGE = {
    "a billion laughs": (laughs(), "more than 500000 values, with every alias written out"),
    "10 MB of nested aliases": (aliases(10_000_000), "hostile.yaml: is larger than 8 MiB"),
    "8 MB of nested aliases": (aliases(8_000_000), "more than 500000 values, with every alias written out"),
    "an alias inside itself": ("name: x\nnodes: &n {a: *n}", "*n refers to a value that contains it"),
    "a million brackets": ("name: x\nnodes: " + "[" * 1_000_000, "more than 64 collections inside each other"),
    "a million mappings": ("name: x\nnodes: " + "{a: " * 1_000_000, "more than 64 collections inside each other"),
    "a number of 7 MB": (f"name: x\nnodes: {{a: {{interfaces: {{lo: {{mtu: {'9' * 7_000_000}}}}}}}}}", "hostile.yaml:2:36:"),
    "4000 nodes that are all misspelt": (misspelt(4000), "node 'nodd0' does not exist"),
    "50000 unknown keys": ("name: x\nnodes: {a: {" + "".join(f"k{at}: 1, " for at in range(50_000)) + "}}", "unknown key 'k0'"),
    "a pile of 3000 devices": (piled(3000, -1), "stands on too many devices"),
    "a pile of 3000 devices, the highest first": (piled(3000, 1), "stands on too many devices"),
}


@pytest.mark.parametrize(("text", "said"), LARGE.values(), ids=LARGE.keys())
def test_what_is_far_too_large_is_refused_in_a_few_seconds_and_few_words(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused_text(tmp_path, text)


NO_TEXTS = {
    "a NUL byte": (b"name: x\0\nnodes: {a: {}}\n", ":1:8: a NUL byte: this is not a text file"),
    "nothing but NUL bytes": (bytes(1 << 20), ":1:1: a NUL byte: this is not a text file"),
    "a control character": (b"name: x\x01\nnodes: {a: {}}\n", ":1:8: the control character U+0001"),
    "Latin-1": ("name: x\ndescription: Köln\n".encode("latin-1"), ":2:15: the byte 0xf6 is not UTF-8"),
    "UTF-16": ("name: x\n".encode("utf-16"), ": is UTF-16 text"),
    "nothing": (b"", ":1:1: the file describes nothing"),
}


@pytest.mark.parametrize(("data", "said"), NO_TEXTS.values(), ids=NO_TEXTS.keys())
def test_what_is_no_text_is_refused_at_its_first_wrong_byte(tmp_path: Path, data: bytes, said: str) -> None:
    assert f"hostile.yaml{said}" in refused_text(tmp_path, data)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    assert "fifo.yaml: is not a regular file" in refused("fifo.yaml", cwd=tmp_path)


def test_a_socket_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket has room for 108 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.yaml")
        assert "socket.yaml: is not a regular file" in refused("socket.yaml", cwd=tmp_path)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/tty", "/dev/full"])
def test_a_device_is_not_read(tmp_path: Path, device: str) -> None:
    assert f"{device}: is not a regular file" in refused(device, cwd=tmp_path)


def test_links_that_lead_in_a_circle_or_to_a_device_are_refused(tmp_path: Path) -> None:
    (tmp_path / "circle.yaml").symlink_to("circle.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    assert "circle.yaml: cannot be read: Too many levels of symbolic links" in refused("circle.yaml", cwd=tmp_path)
    assert "zero.yaml: is not a regular file" in refused("zero.yaml", cwd=tmp_path)


def test_a_directory_and_a_name_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert "folder.yaml: is a directory" in refused("folder.yaml", cwd=tmp_path)
    assert "there is no topology" in refused("x" * 5000, cwd=tmp_path)
    assert "there is no topology '$(touch x)'" in refused("$(touch x)", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.yaml"]


PARAMS = "params: {who: a}\n---\nname: x\nnodes: {'{{ who }}': {}}\n"


@pytest.mark.parametrize("value", ["../../x", "$(touch x)", "; touch x", "a b", "{{ 7 * 7 }}", "a\nlinks: []"])
def test_a_parameter_is_a_value_and_never_a_template_a_command_or_a_path(tmp_path: Path, value: str) -> None:
    (tmp_path / "hostile.yaml").write_text(PARAMS)
    told = refused("hostile.yaml", "--set", f"who={value}", cwd=tmp_path)
    assert "hostile.yaml:4:" in told
    assert "49" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.yaml"]


@pytest.mark.parametrize("name", ["../../tmp/x", "..", "/etc", "-rf", "$(touch x)", "a b", "a\nb", "x" * 33, ""])
def test_a_lab_cannot_be_named_so_on_the_command_line(tmp_path: Path, name: str) -> None:
    before = look()
    said: Said = lab("up", "two-hosts", f"--name={name}", cwd=tmp_path)
    assert (said.status, said.stdout) == (2, "")
    assert f"{name!r} cannot be the name of a lab" in said.stderr
    assert look() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["..", "../..", "/", "*", "$(touch x)"])
def test_down_and_exec_look_for_a_name_and_not_for_a_path(tmp_path: Path, name: str) -> None:
    assert lab("down", name, cwd=tmp_path).status == 2
    assert lab("exec", name, "a", "true", cwd=tmp_path).status == 125
    assert list(tmp_path.iterdir()) == []
