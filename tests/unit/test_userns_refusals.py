"""User namespaces without making one: which ids a map has, and the sentence for each way of being refused."""

from __future__ import annotations

import errno

import pytest

from lab.substrate import userns
from lab.substrate.userns import MAP, MOUNT_PROC, MOUNT_RUN, UNSHARE, Range, Settings, why_not

FILE = """\
# a comment
anna:100000:65536
1001:165536:10
bert:200000:65536
anna:300000:5
anna:not:numbers
carl:1:0
dora:5
"""
LIMITS = {"max_user_namespaces": 96365, "max_mnt_namespaces": 96365, "max_pid_namespaces": 96365}
ALL_WELL = Settings(limits=LIMITS)


@pytest.mark.parametrize(
    ("name", "number", "ranges"),
    [
        ("anna", 1000, (Range(100000, 65536), Range(300000, 5))),
        ("emil", 1001, (Range(165536, 10),)),
        ("carl", 1003, ()),
        ("ann", 100, ()),
        ("dora", 1004, ()),
    ],
)
def test_a_user_has_the_ranges_that_stand_there_by_name_or_number(name: str, number: int, ranges: tuple[Range, ...]) -> None:
    assert userns.subordinate(FILE, name, number) == ranges


def test_a_map_begins_with_the_caller_as_root_and_has_no_gap() -> None:
    ranges = (Range(100000, 65536), Range(300000, 5))
    assert userns.map_lines(1000, ranges) == [(0, 1000, 1), (1, 100000, 65536), (65537, 300000, 5)]
    assert userns.map_lines(1000, ()) == [(0, 1000, 1)]


def test_the_range_that_is_suggested_is_nobodys() -> None:
    assert userns.first_free("", "") == 100000
    assert userns.first_free(FILE, "anna:400000:1") == 400001


REFUSALS = [
    (errno.EINVAL, UNSHARE, Settings(supported=False), "this kernel has none", "CONFIG_USER_NS"),
    (errno.EPERM, UNSHARE, Settings(supported=False), "this kernel has none", "CONFIG_USER_NS"),
    (errno.EINVAL, UNSHARE, ALL_WELL, "this kernel has none", "CONFIG_PID_NS"),
    (
        errno.EPERM,
        UNSHARE,
        Settings(debian=0, limits=LIMITS),
        "kernel.unprivileged_userns_clone is 0",
        "sudo sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        errno.ENOSPC,
        UNSHARE,
        Settings(limits=LIMITS | {"max_user_namespaces": 0}),
        "user.max_user_namespaces is 0",
        "sudo sysctl user.max_user_namespaces=10000",
    ),
    (
        errno.ENOSPC,
        UNSHARE,
        Settings(limits=LIMITS | {"max_pid_namespaces": 0}),
        "user.max_pid_namespaces is 0",
        "sudo sysctl user.max_pid_namespaces=10000",
    ),
    (
        errno.ENOSPC,
        UNSHARE,
        ALL_WELL,
        "a limit of namespaces is reached (user.max_user_namespaces 96365, ",
        "raise it with sysctl",
    ),
    (errno.EUSERS, UNSHARE, ALL_WELL, "a limit of namespaces is reached", "raise it with sysctl"),
    *(
        (
            code,
            step,
            Settings(apparmor=1, limits=LIMITS),
            "AppArmor forbids its use (kernel.apparmor_restrict_unprivileged_userns is 1)",
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        )
        for code, step in (
            (errno.EPERM, UNSHARE),
            (errno.EPERM, MAP),
            (errno.EACCES, MOUNT_RUN),
            (errno.EPERM, MOUNT_PROC),
        )
    ),
    (
        errno.EPERM,
        UNSHARE,
        Settings(mapped=False),
        "this user has no id in the user namespace it is in",
        "map its user and group",
    ),
    (errno.EPERM, UNSHARE, Settings(filtered=True), "a seccomp filter", "--security-opt seccomp=unconfined"),
    (errno.EPERM, MOUNT_PROC, ALL_WELL, "parts of /proc are hidden by mounts", "--security-opt systempaths=unconfined"),
    (errno.EPERM, MOUNT_PROC, Settings(filtered=True), "parts of /proc are hidden", "--security-opt systempaths=unconfined"),
    (errno.EPERM, UNSHARE, ALL_WELL, "it was not possible to make a user namespace: Operation not permitted", "chroot"),
    (
        errno.EACCES,
        MOUNT_RUN,
        Settings(apparmor=0, debian=1),
        "mount a tmpfs on its /run: Permission denied",
        "security module",
    ),
    (errno.ENOMEM, UNSHARE, ALL_WELL, "Cannot allocate memory", "sudo"),
]


@pytest.mark.parametrize(("code", "step", "host", "message", "hint"), REFUSALS)
def test_a_refusal_names_the_setting_and_what_changes_it(code: int, step: str, host: Settings, message: str, hint: str) -> None:
    problem = why_not(code, step, host)
    assert problem.message.startswith("a lab without root needs a user namespace, and ")
    assert message in problem.message
    assert problem.hint is not None
    assert hint in problem.hint
    assert problem.hint.endswith("or run it as root, for example with sudo")


def test_the_settings_of_this_host_can_be_read() -> None:
    found = Settings.read()
    assert found.supported
    assert found.mapped
    assert set(found.limits) == set(LIMITS)


def test_a_process_of_the_host_has_every_id() -> None:
    assert userns.is_initial() == (userns.ids_available() == 2**32 - 1)
    assert userns.ids_available() > 0
