"""A role's folder: what is read of it, what is refused, and what its templates can and cannot do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.roles import LEAST, specs, write_role

from lab.errors import TopologyError
from lab.roles.role import Role, read_role
from lab.services.environment import has_program
from lab.topology import limits

Problems = list[tuple[str, str | None]]


def problems_of(folder: Path, base: Path) -> Problems:
    """Each with its place, as a user reads it, without the folder of the test."""
    with pytest.raises(TopologyError) as caught:
        read_role(folder)
    found = caught.value.problems
    return [(str(each).split("\n")[0].replace(f"{base}/templates/", ""), each.hint) for each in found]


def role_of(tmp_path: Path, declaration: str = LEAST, **files: str) -> Role:
    return read_role(write_role(tmp_path, "r", declaration, files))


DECLARATIONS: list[tuple[str, Problems]] = [
    ("[]", [("r/role.yaml:1:1: a role is a mapping", "begin with description: and command:")]),
    ("", [("r/role.yaml:1:1: the file describes nothing", None)]),
    ("a: [", [("r/role.yaml:1:5: not YAML: did not find expected node content", None)]),
    (
        "package: radvd\n",
        [
            ("r/role.yaml:1:1: key 'description' is missing", "add it"),
            ("r/role.yaml:1:1: key 'command' is missing", "add it"),
        ],
    ),
    (
        "description: x\ncommand: sleep 1\n",
        [("r/role.yaml:2:10: 'sleep 1': a command is a list of words", "no shell reads it: write [sleep, 1]")],
    ),
    (f"{LEAST}comand: x\n", [("r/role.yaml:3:1: unknown key 'comand'", "did you mean 'command'?")]),
    (f"{LEAST}package: A B\n", [("r/role.yaml:3:10: 'A B' cannot be the name of a Debian package", None)]),
    (f"{LEAST}owner: 'a:b'\n", [("r/role.yaml:3:8: 'a:b' cannot be the name of a user", None)]),
    (
        f"{LEAST}directories: [/var/lib/x/, relative]\n",
        [
            (
                f"r/role.yaml:3:{column}: '{path}' is no absolute path in its shortest form",
                "write it as /var/lib/NAME, without . and ..",
            )
            for column, path in ((15, "/var/lib/x/"), (28, "relative"))
        ],
    ),
    (
        f"{LEAST}ready: {{listen: tcp/http, line: '[', counter: 'a b', fil: x}}\n",
        [
            ("r/role.yaml:3:17: 'tcp/http' is no port to listen at", "write tcp/PORT or udp/PORT, such as tcp/80"),
            (
                "r/role.yaml:3:33: '[' is no regular expression: unterminated character set at position 0",
                "a backslash takes a sign as it is",
            ),
            (
                "r/role.yaml:3:47: 'a b' cannot be the name of a counter",
                "write it as nstat(8) does, such as Icmp6OutRouterAdvertisements",
            ),
            ("r/role.yaml:3:54: unknown key 'fil'", "did you mean 'file'?"),
        ],
    ),
    (
        f"{LEAST}params: {{command: 1, node: 2, a-b: 3, x: {{default: a, type: int}}, y: {{required: 7, default: 1}}}}\n",
        [
            ("r/role.yaml:3:10: the parameter name 'command' is taken", "choose another one"),
            ("r/role.yaml:3:22: the parameter name 'node' is taken", "choose another one"),
            (
                "r/role.yaml:3:31: the parameter name 'a-b' is not one that Jinja2 can use",
                "begin with a letter, and use letters, digits and `_`",
            ),
            ("r/role.yaml:3:52: parameter x: 'a' is not an int", None),
            ("r/role.yaml:3:81: parameter y: `required` must be true or false", None),
        ],
    ),
]


@pytest.mark.parametrize(("declaration", "said"), DECLARATIONS, ids=[text[:40] for text, _ in DECLARATIONS])
def test_a_wrong_declaration_is_told_whole_at_its_places(tmp_path: Path, declaration: str, said: Problems) -> None:
    found = problems_of(write_role(tmp_path, "r", declaration), tmp_path)
    assert [each[0] for each in found] == [each[0] for each in said]
    assert [hint for (_, hint), (_, wanted) in zip(found, said, strict=True) if wanted] == [each[1] for each in said if each[1]]


def test_problems_of_a_role_are_told_with_the_topology_that_uses_it(tmp_path: Path) -> None:
    write_role(tmp_path, "r", "description: x\ncommand: []\n")
    with pytest.raises(TopologyError) as caught:
        specs(tmp_path, "{r: , nothing: }")
    assert [each.message for each in caught.value.problems] == [
        "there is no role 'nothing'",
        "a command has at least the name of a program",
    ]
    place = caught.value.problems[1].place
    assert place is not None
    assert (place.file, place.line, place.column) == (f"{tmp_path}/templates/r/role.yaml", 2, 10)


# -- the files beside role.yaml


def test_what_is_a_file_of_the_service_and_what_is_not(tmp_path: Path) -> None:
    files = {
        "a.conf.j2": "a",
        "_macros.j2": "m",
        "plain": "p",
        "README.md": "r",
        ".hidden": "h",
        "a.conf.j2~": "old",
    }
    role = role_of(tmp_path, **files)
    assert dict(role.templates) == {"_macros.j2": "m", "a.conf.j2": "a"}
    assert role.wanted == ("a.conf.j2",)
    assert dict(role.files) == {"plain": "p"}


def test_a_symbolic_link_within_the_folder_is_followed_and_one_that_leads_out_is_refused(tmp_path: Path) -> None:
    folder = write_role(tmp_path, "r", files={"a": "text"})
    (folder / "b").symlink_to("a")
    assert read_role(folder).files["b"] == "text"
    (folder / "c").symlink_to("/etc/passwd")
    (folder / "d.j2").symlink_to("../../secret")
    (folder / "e").symlink_to(tmp_path / "nowhere")
    hint = "a role's files lie in its own folder: copy it there"
    assert problems_of(folder, tmp_path) == [(f"r/{name}: leads out of its folder", hint) for name in ("c", "d.j2", "e")]


def test_a_declaration_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write_role(tmp_path, "r")
    (folder / "role.yaml").rename(tmp_path / "elsewhere.yaml")
    (folder / "role.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert problems_of(folder, tmp_path)[0][0] == "r/role.yaml: leads out of its folder"


def test_what_is_no_text_is_refused_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder = write_role(tmp_path, "r", files={"a b": "x", "twice": "x", "twice.j2": "y"})
    (folder / "binary").write_bytes(b"ok\n\xff")
    os.mkfifo(folder / "pipe")
    (folder / "sub").mkdir()
    assert [each[0] for each in problems_of(folder, tmp_path)] == [
        "r/a b: cannot be a file of a service",
        "r/binary:2:1: the byte 0xff is not UTF-8",
        "r/pipe: is not a regular file",
        "r/sub: is a directory",
        "r/twice: is made from a template beside it as well",
    ]


def test_the_program_is_known_unless_it_depends_on_a_parameter(tmp_path: Path) -> None:
    assert role_of(tmp_path / "a").program == "sleep"
    assert role_of(tmp_path / "b", "description: x\nparams: {p: nc}\ncommand: ['{{ p }}']\n").program is None


def test_a_role_beside_the_topology_comes_before_a_shipped_one_of_its_name(tmp_path: Path) -> None:
    assert specs(tmp_path, "{http: }")[0].package == "python3"
    write_role(tmp_path, "http", "description: mine\ncommand: [mine]\n")
    (made,) = specs(tmp_path, "{http: }")
    assert (made.argv, made.package) == (("mine",), None)


def test_roles_are_found_beside_the_topology_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_role(tmp_path, "mine", files={"f.j2": "{{ nothing }}"})
    (tmp_path / "x.yaml").write_text("name: x\nnodes: {a: {services: {mine: }}}\n")
    monkeypatch.chdir(tmp_path)
    from lab.recipe import read

    with pytest.raises(TopologyError) as caught:
        read("x.yaml")
    (problem,) = caught.value.problems
    assert problem.message == "templates/mine/f.j2:1: 'nothing' is not defined"
    assert str(problem.place) == "x.yaml:2:24"


# -- its templates


def rendered(tmp_path: Path, template: str, **more: str) -> str:
    write_role(
        tmp_path, "r", "description: x\ncommand: [a]\nparams: {n: 3, t: true, empty: null}\n", {"f.j2": template, **more}
    )
    return specs(tmp_path, "{r: }")[0].files["f"]


def refused(tmp_path: Path, template: str, **more: str) -> Problems:
    """Messages without the folder of the role, and hints."""
    with pytest.raises(TopologyError) as caught:
        rendered(tmp_path, template, **more)
    problems = caught.value.problems
    assert {(each.place.line, each.place.column) for each in problems if each.place} == {(3, 32)}
    return [(each.message.replace(f"{tmp_path}/templates/r/", ""), each.hint) for each in problems]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a\n  {% if t %}\nb {{ n }}\n  {% endif %}\nc\n", "a\nb 3\nc\n"),
        ("#% not a statement\n", "#% not a statement\n"),
        ("{{ t }} {{ [1] }}", "True [1]"),
        ("no end", "no end"),
        ("{{ service.name }} {{ service.folder }} {{ topology.name }}", "r /run/services/r x"),
        ("{{ node.name }} {{ node.kind }} {{ nodes | join(' ') }}", "a router a b"),
        ("{{ nodes.b.interfaces[1].addresses[0].cidr }}", "10.0.0.2/24"),
        ("{% for i in node.interfaces %}{{ i.name }} {{ i.kind }} {{ i.up }};{% endfor %}", "lo lo True;eth0 veth True;"),
        ("{{ node.interfaces[1].peer.node }}:{{ node.interfaces[1].peer.interface }}", "b:eth0"),
        ("{{ node.interfaces[0].peer is none }} {{ node.interfaces[1].mtu is none }}", "True True"),
        (
            "{% for a in node.interfaces[1].addresses %}\n"
            "{{ a.ip }} {{ a.length }} {{ a.prefix }} {{ a.version }} {{ a.scope }}\n"
            "{% endfor %}",
            "10.0.0.1 24 10.0.0.0/24 4 global\n2001:db8::1 64 2001:db8::/64 6 global\n",
        ),
    ],
)
def test_a_template_sees_its_parameters_and_the_topology(tmp_path: Path, template: str, text: str) -> None:
    assert rendered(tmp_path, template) == text


def test_a_template_sees_the_routes_of_its_node(tmp_path: Path) -> None:
    write_role(tmp_path, "r", files={"f.j2": "{% for r in nodes.c.routes %}{{ r.to }} {{ r.via }} {{ r.dev }}\n{% endfor %}"})
    routes = "[{to: default, via: 10.9.0.2}, {to: 10.8.0.0/16, dev: d}]"
    more = f"  c: {{interfaces: {{d: {{kind: dummy, addresses: 10.9.0.1/24}}}}, routes: {routes}}}\n"
    assert specs(tmp_path, "{r: }", more)[0].files["f"] == "default 10.9.0.2 None\n10.8.0.0/16 None d\n"


def test_a_template_may_include_and_import_what_lies_beside_it(tmp_path: Path) -> None:
    macros = {"_macros.j2": "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}", "_part.j2": "part {{ n }}"}
    template = "{% from '_macros.j2' import twice %}{{ twice(n) }} {% include '_part.j2' %}"
    assert rendered(tmp_path, template, **macros) == "33 part 3"


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x.yaml", "role.yaml", "f", "../r/f.j2"])
@pytest.mark.parametrize("tag", ["include", "import", "extends"])
def test_nothing_else_can_be_included(tmp_path: Path, name: str, tag: str) -> None:
    words = " as x" if tag == "import" else ""
    ((message, hint),) = refused(tmp_path, f"\n{{% {tag} '{name}'{words} %}}")
    assert (message, hint) == (f"f.j2:2: there is no '{name}' in the role's folder", "it has: f.j2")


@pytest.mark.parametrize(
    "expression",
    ["''.__class__.__mro__", "cycler.__init__.__globals__", "self._TemplateReference__context", "node.interfaces.append(1)"],
)
def test_an_escape_from_the_sandbox_is_refused(tmp_path: Path, expression: str) -> None:
    ((message, hint),) = refused(tmp_path, f"\n{{{{ {expression} }}}}")
    assert message.startswith("f.j2:2: Jinja2 may not do this here: ")
    assert hint == "a role computes with its parameters and the topology alone"


def test_every_undefined_name_of_a_file_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path, "{{ nods }}\n{{ zzz }}") == [
        ("f.j2:1: 'nods' is not defined", "did you mean 'nodes'?"),
        ("f.j2:2: 'zzz' is not defined", "there are: n, t, empty, node, nodes, service, topology, fail"),
    ]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("\n{{ node.nme }}", "f.j2:2: Jinja2: 'dict object' has no attribute 'nme'"),
        ("\n\n{% if %}", "f.j2:3: Jinja2: Expected an expression, got 'end of statement block'"),
        ("{% include '_part.j2' %}", "_part.j2:2: 'gone' is not defined"),
        ("{{ 1 / 0 }}", "f.j2:1: Jinja2: ZeroDivisionError: division by zero"),
        ("{{ fail('port ' ~ n ~ ' is odd') }}", "role r: port 3 is odd"),
        ("{{ 'a' * 10 ** 10 }}", "f.j2:1: rendering took more than 512 MiB of memory"),
        (
            "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
            "f.j2:1: rendering made more than 8,388,608 characters, those of all services together",
        ),
    ],
)
def test_a_fault_of_a_template_names_its_file_and_line(tmp_path: Path, template: str, message: str) -> None:
    found = refused(tmp_path, template, **{"_part.j2": "\n{{ gone }}"})
    assert [each[0] for each in found] == [message]


def test_a_template_without_end_is_ended_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEADLINE", 0.5)
    monkeypatch.setattr(limits, "GRACE", 4.0)
    loop = "{% for i in range(99999) %}\n{% for j in range(99999) %}\n{% endfor %}{% endfor %}"
    ((message, _),) = refused(tmp_path, loop)
    assert message.startswith("f.j2:")
    assert message.endswith(": rendering took longer than 0.5 s")


def test_a_fault_in_a_word_names_its_line_in_the_declaration(tmp_path: Path) -> None:
    write_role(tmp_path, "r", "description: x\ncommand:\n  - a\n  - '{{ prt }}'\nparams: {port: 1}\n")
    with pytest.raises(TopologyError) as caught:
        specs(tmp_path, "{r: }")
    (problem,) = caught.value.problems
    assert problem.message == f"{tmp_path}/templates/r/role.yaml:4: 'prt' is not defined"
    assert problem.hint == "did you mean 'port'?"


def test_the_templates_of_one_role_do_not_see_those_of_another(tmp_path: Path) -> None:
    write_role(tmp_path, "other", files={"_theirs.j2": "x"})
    write_role(tmp_path, "r", files={"f.j2": "{% include '_theirs.j2' %}"})
    with pytest.raises(TopologyError, match=r"there is no '_theirs.j2' in the role's folder"):
        specs(tmp_path, "{other: , r: }")


def test_a_role_names_the_program_that_its_command_calls(tmp_path: Path) -> None:
    write_role(tmp_path, "mine", "description: d\nprogram: /usr/lib/none/daemon\ncommand: [sh, -c, x]\npackage: none\n")
    (spec,) = specs(tmp_path, "{mine: }")
    assert (spec.program, spec.argv[0], has_program(spec)) == ("/usr/lib/none/daemon", "sh", False)
