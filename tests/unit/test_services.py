"""Services of a topology: what may be written, what becomes of it, and every mistake at its place."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
from support.roles import specs, write_role

from lab.errors import TopologyError
from lab.recipe import read, read_rendered
from lab.roles import services as stage
from lab.roles.spec import Ready, ServiceSpec

Said = tuple[str, str | None]

NAMES = "write up to 63 letters, digits, _ or -, none of them - at the start"
PORT = "write tcp/PORT or udp/PORT, such as tcp/80"


def refused(tmp_path: Path, text: str) -> list[tuple[int, int, str, str | None]]:
    """Line, column, message and hint of every problem of the file `text`."""
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(TopologyError) as caught:
        read(file)
    found = [(each.place, each.message, each.hint) for each in caught.value.problems]
    return [(place.line, place.column, message, hint) for place, message, hint in found if place]


def markers(text: str) -> list[tuple[int, int]]:
    """Line and column of every `▶`, as they are in the text without them."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        before = 0
        for part in line.split("▶")[:-1]:
            before += len(part)
            found.append((number, before + 1))
    return found


FORM: list[tuple[str, list[Said]]] = [
    ('{▶"a b": {}}', [("'a b' cannot be the name of a service", NAMES)]),
    ("{▶-a: {}}", [("'-a' cannot be the name of a service", NAMES)]),
    ("{▶.a: {}}", [("'.a' cannot be the name of a service", NAMES)]),
    (f"{{▶{'a' * 64}: {{}}}}", [(f"'{'a' * 64}' cannot be the name of a service", NAMES)]),
    ("▶[radvd]", [("['radvd']: a mapping is wanted here", None)]),
    ("{w: {command: ▶sleep 9}}", [("'sleep 9': a command is a list of words", "no shell reads it: write [sleep, 9]")]),
    (
        "{w: {command: ▶'a | b'}}",
        [("'a | b': a command is a list of words", "no shell reads it: write [program, argument, …]")],
    ),
    ("{w: {command: ▶[]}}", [("a command has at least the name of a program", "such as [sleep, infinity]")]),
    ("{w: {command: ▶7}}", [("7: a command is a list of words", "such as [sleep, infinity]")]),
    (
        "{w: {command: [echo, ▶true]}}",
        [("True is no word of a command", "write a text, in quotes where YAML reads something else")],
    ),
    (
        "{w: {command: [a], ▶redy: {}, ▶role: http}}",
        [
            ("unknown key 'redy'", "did you mean 'ready'?"),
            ("unknown key 'role'", "known here: command, directories, env, files, ready, timeout"),
        ],
    ),
    ("{w: {command: [a], ready: {▶port: 80}}}", [("unknown key 'port'", "known here: answer, counter, file, line, listen")]),
    ("{w: {command: [a], ready: {listen: ▶80}}}", [("80: input should be a valid string", None)]),
    ("{w: {command: [a], ready: {listen: ▶tcp/0}}}", [("'tcp/0' is no port to listen at", PORT)]),
    ("{w: {command: [a], ready: {listen: [tcp/80, ▶udp/65536]}}}", [("'udp/65536' is no port to listen at", PORT)]),
    (
        "{w: {command: [a], ready: {line: ▶'(x'}}}",
        [
            (
                "'(x' is no regular expression: missing ), unterminated subpattern at position 0",
                "a backslash takes a sign as it is",
            )
        ],
    ),
    (
        "{w: {command: [a], ready: {answer: ▶ping b}}}",
        [("'ping b': a command is a list of words", "no shell reads it: write [ping, b]")],
    ),
    ("{w: {command: [a], ready: {file: ▶''}}}", [("'' is no path", None)]),
    (
        "{w: {command: [a], ready: {counter: ▶a b}}}",
        [("'a b' cannot be the name of a counter", "write it as nstat(8) does, such as Icmp6OutRouterAdvertisements")],
    ),
    (
        "{w: {command: [a], env: {▶1A: x}}}",
        [("'1A' cannot be the name of an environment variable", "write letters, digits and _, no digit first")],
    ),
    (
        "{w: {command: [a], files: {▶../x: y}}}",
        [("'../x' cannot be the name of a file of a service", "write letters, digits and any of _ . @ + -, and no folder")],
    ),
    (
        "{w: {command: [a], directories: [/var/lib/a, ▶/var/../etc]}}",
        [("'/var/../etc' is no absolute path in its shortest form", "write it as /var/lib/NAME, without . and ..")],
    ),
    (
        "{w: {command: [a], directories: ▶/proc/sys}}",
        [("/proc/sys cannot be an empty directory of a service's own", "name one that the program writes to")],
    ),
    ("{w: {command: [a], timeout: ▶0}}", [("0: input should be greater than 0", None)]),
    ("{w: {role: ▶../http}}", [("'../http' cannot be the name of a role", NAMES)]),
]


@pytest.mark.parametrize(
    "where", ["nodes: {{a: {{services: {}}}}}", "defaults: {{nodes: {{services: {}}}}}\nnodes: {{a: {{}}}}"]
)
@pytest.mark.parametrize(("services", "said"), FORM, ids=[text[:40] for text, _ in FORM])
def test_what_cannot_be_is_refused_at_its_place(tmp_path: Path, where: str, services: str, said: list[Said]) -> None:
    text = f"name: x\n{where.format(services)}\n"
    expected = [(*place, *each) for place, each in zip(markers(text), said, strict=True)]
    assert refused(tmp_path, text.replace("▶", "")) == expected


KNOWN = """\
description: for a test
params:
  port: {default: 80, min: 1}
  mode: {default: udp, choices: [udp, tcp]}
  peer: {required: true, type: str}
command: [nc, "{{ port }}", "{{ peer }}"]
"""
OF_ROLES: list[tuple[str, list[Said]]] = [
    ("{▶known: {}}", [("role known: parameter peer: a value must be given", "write peer: VALUE")]),
    ("{w: {role: ▶knwon, peer: a}}", [("there is no role 'knwon'", "did you mean 'known'?; searched for ")]),
    ("{▶zzz: }", [("there is no role 'zzz'", "searched for ")]),
    ("{known: {peer: a, ▶prot: 8}}", [("role known has no parameter 'prot'", "did you mean 'port'?")]),
    ("{known: {peer: a, ▶zz: 8}}", [("role known has no parameter 'zz'", "it has: port, mode, peer")]),
    ("{known: {peer: ▶7, port: ▶x, mode: ▶sctp, ▶prot: 1}}", [
        ("parameter peer: 7 is not a str", None),
        ("parameter port: 'x' is not an int", None),
        ("parameter mode: 'sctp' is not one of its choices", "choices are: 'udp', 'tcp'"),
        ("role known has no parameter 'prot'", "did you mean 'port'?"),
    ]),
    ("{known: {peer: ▶null}}", [("parameter peer: a value must be given", None)]),
    ("{known: {peer: a, port: ▶0}}", [("parameter port: 0 is less than 1, its least", None)]),
    (
        "{known: {peer: a, ▶directories: [/x]}}",
        [
            (
                "role known has no parameter 'directories'",
                "a role has its own directories; a service with a command: can name some",
            )
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    "where", ["nodes: {{a: {{services: {}}}}}", "defaults: {{nodes: {{services: {}}}}}\nnodes: {{a: {{}}}}"]
)
@pytest.mark.parametrize(("services", "said"), OF_ROLES, ids=[text[:40] for text, _ in OF_ROLES])
def test_what_a_role_does_not_take_is_refused_at_its_key(tmp_path: Path, where: str, services: str, said: list[Said]) -> None:
    write_role(tmp_path, "known", KNOWN)
    text = f"name: x\n{where.format(services)}\n"
    found = refused(tmp_path, text.replace("▶", ""))
    assert [each[:3] for each in found] == [(*place, each[0]) for place, each in zip(markers(text), said, strict=True)]
    for (*_, hint), (_, wanted) in zip(found, said, strict=True):
        assert hint == wanted or (wanted and hint and "searched for " in hint and hint.startswith(wanted))


def test_an_unknown_role_names_both_folders_that_were_searched(tmp_path: Path) -> None:
    (*_, hint) = refused(tmp_path, "name: x\nnodes: {a: {services: {zzz: }}}\n")[0]
    assert re.fullmatch(rf"searched for {tmp_path}/templates/zzz/role.yaml and /.*/templates/zzz/role.yaml", str(hint))


def test_problems_of_all_services_are_told_at_once_and_each_once(tmp_path: Path) -> None:
    write_role(tmp_path, "known", KNOWN)
    write_role(tmp_path, "torn", files={"f.j2": "\n{{ nothing }}"})
    found = refused(
        tmp_path,
        "name: x\ndefaults:\n  nodes:\n    services:\n      torn:\nnodes:\n"
        "  a: {services: {known: }}\n  b: {services: {zz: }}\n",
    )
    assert [(line, message) for line, _, message, _ in found] == [
        (5, f"{tmp_path}/templates/torn/f.j2:2: 'nothing' is not defined"),
        (7, "role known: parameter peer: a value must be given"),
        (8, "there is no role 'zz'"),
    ]


# -- what becomes of it


def test_a_command_is_taken_as_it_is_written(tmp_path: Path) -> None:
    (made,) = specs(
        tmp_path,
        "{w: {command: [nc, -l, 80, 1.5], ready: {listen: tcp/80, file: x, line: 'a+', answer: [true-ish, 1], counter: C},"
        " env: {A: 7}, files: {f.conf: '$text'}, directories: /var/lib/w, timeout: 3}}",
    )
    assert made == ServiceSpec(
        node="a",
        name="w",
        argv=("nc", "-l", "80", "1.5"),
        env={"A": "7"},
        files={"f.conf": "$text"},
        directories=("/var/lib/w",),
        ready=Ready(("tcp/80",), "x", "a+", ("true-ish", "1"), "C"),
        timeout=3.0,
        path=("nodes", "a", "services", "w"),
    )
    assert made.folder == "/run/services/w"


FULL = """\
description: for a test
package: some-package
params: {port: 80, quick: false}
command: [server, "{{ '-q' if quick }}", "", "{{ port }}", "{{ service.folder }}/x", "{{ node.name }}"]
directories: [/var/lib/full, /var/log/full]
owner: nobody
env: {PORT: "{{ port }}", HOME: /}
ready: {listen: "tcp/{{ port }}", line: "on {{ port }}$"}
timeout: 4
"""


def test_a_role_gives_its_words_with_the_parameters_filled_in(tmp_path: Path) -> None:
    write_role(tmp_path, "full", FULL, {"a.conf.j2": "port {{ port }}\n", "b.txt": "{{ as it is }}\n"})
    (made,) = specs(tmp_path, "{web: {role: full, port: 81}}")
    assert made == ServiceSpec(
        node="a",
        name="web",
        argv=("server", "", "81", "/run/services/web/x", "a"),
        env={"PORT": "81", "HOME": "/"},
        files={"a.conf": "port 81\n", "b.txt": "{{ as it is }}\n"},
        directories=("/var/lib/full", "/var/log/full"),
        owner="nobody",
        ready=Ready(listen=("tcp/81",), line="on 81$"),
        timeout=4.0,
        package="some-package",
        path=("nodes", "a", "services", "web"),
    )


def test_a_service_may_replace_when_its_role_is_ready_and_add_to_its_environment_and_files(tmp_path: Path) -> None:
    write_role(tmp_path, "full", FULL, {"a.conf.j2": "port {{ port }}\n"})
    words = "ready: {counter: C}, timeout: 9, env: {HOME: /x, B: 1}, files: {a.conf: mine, more: text}"
    (made,) = specs(tmp_path, f"{{full: {{{words}}}}}")
    assert made.ready == Ready(counter="C")
    assert (made.timeout, made.env) == (9.0, {"PORT": "80", "HOME": "/x", "B": "1"})
    assert made.files == {"a.conf": "mine", "more": "text"}
    (made,) = specs(tmp_path, "{full: {ready: }}")
    assert made.ready == Ready()


def test_services_come_in_the_order_of_the_file_and_defaults_are_joined_by_name(tmp_path: Path) -> None:
    write_role(tmp_path, "one")
    file = tmp_path / "x.yaml"
    file.write_text(
        "name: x\n"
        "defaults: {nodes: {services: {every: {command: [a]}, one: }}}\n"
        "nodes:\n"
        "  c: {kind: switch}\n"
        "  a: {services: {z: {command: [z]}, every: {command: [b]}}}\n"
    )
    found = read(file).services
    assert [(str(each), each.argv[0]) for each in found] == [
        ("c:every", "a"),
        ("c:one", "sleep"),
        ("a:every", "b"),
        ("a:one", "sleep"),
        ("a:z", "z"),
    ]
    assert found[0].path == ("defaults", "nodes", "services", "every")
    assert found[2].path == ("nodes", "a", "services", "every")


def test_a_parameter_may_come_from_an_expression_in_quotes(tmp_path: Path) -> None:
    write_role(tmp_path, "full", FULL)
    file = tmp_path / "x.yaml"
    file.write_text('params: {p: 81}\n---\nname: x\nnodes: {a: {services: {full: {port: "{{ p }}"}}}}\n')
    assert read(file, {"p": "82"}).services[0].ready.listen == ("tcp/82",)


def test_what_a_role_makes_of_its_parameters_is_checked_as_what_is_written_is(tmp_path: Path) -> None:
    write_role(tmp_path, "full", FULL)
    write_role(tmp_path, "none", "description: x\nparams: {p: ''}\ncommand: ['{{ p }}']\n")
    found = refused(tmp_path, "name: x\nnodes: {a: {services: {full: {port: 99999}, none: }}}\n")
    assert [each[2:] for each in found] == [
        ("role full: ready: 'tcp/99999' is no port to listen at", PORT),
        ("role none: its command has no program", None),
    ]


def test_a_rendered_file_that_was_kept_has_no_services(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("name: x\nnodes: {a: {services: {gone: {port: 1}}}}\n")
    assert read_rendered(file).services == ()


def test_without_services_no_renderer_is_started_and_nothing_of_roles_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("name: x\nnodes: {a: {}}\n")
    for name in [each for each in sys.modules if each.startswith("lab.roles")]:
        monkeypatch.delitem(sys.modules, name)
    assert read(file).services == ()
    assert not [each for each in sys.modules if each.startswith("lab.roles")]


def test_commands_alone_start_no_renderer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def renderer() -> None:
        raise AssertionError("a renderer was started")

    monkeypatch.setattr(stage, "Renderer", renderer)
    assert specs(tmp_path, "{w: {command: [a]}}")[0].argv == ("a",)


def test_five_hundred_services_cost_well_under_a_second(tmp_path: Path) -> None:
    write_role(tmp_path, "full", FULL, {"a.j2": "{% for i in node.interfaces %}{{ i.name }} {{ port }}\n{% endfor %}"})
    nodes = "\n".join(f"  n{at}: {{services: {{full: {{port: {at + 1}}}}}}}" for at in range(500))
    file = tmp_path / "x.yaml"
    file.write_text(f"name: x\nnodes:\n{nodes}\n")
    began = time.process_time()
    found = read(file).services
    assert time.process_time() - began < 2  # 0.15 s where nothing else runs
    assert [each.argv[2] for each in found] == [str(at + 1) for at in range(500)]
