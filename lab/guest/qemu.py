"""Guest -> the command line of QEMU. Pure.

The kernel is booted by PVH from its ELF, which saves the decompression; `q35`, for `microvm` hangs at times. No network, no
display, no monitor, no configuration of the user's. What QEMU itself may do is cut down by its sandbox. The host's files come
by 9p: one process, and it works without privilege; `readonly=on` is kept by QEMU, out of the guest's reach.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.guest.spec import Guest, Substrate, quoted

PROGRAM = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
TAG = "lab"
MODULES = ("virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay")
"""What the initramfs loads, with what they need; a kernel may have any of them built in."""
_MSIZE = 512 * 1024 - 24  # bytes of a 9p message; more is not worth its memory
_PARAMETERS = (
    "console=ttyS0",
    "quiet",
    "panic=-1",
    "oops=panic",
    "mitigations=off",
    "nokaslr",
    "norandmaps",  # programs at the same addresses in every process: what QEMU translated of one serves the next
    "cryptomgr.notests",  # its tests of every cipher take as long as the rest of the boot
    "random.trust_cpu=on",
    "rdinit=/init",
)


def argv(guest: Guest, channel: int, console: int) -> list[str]:
    """`channel` and `console` are descriptors that the process inherits: a socket and a file."""
    return [
        PROGRAM,
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none", "-nic", "none"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-M", "q35,usb=off,sata=off,smbus=off,vmport=off"),
        *("-m", str(guest.memory), "-smp", str(guest.cpus)),
        *_accelerator(guest),
        *("-kernel", str(guest.image), "-initrd", str(guest.initrd), "-append", command_line(guest)),
        *("-add-fd", f"fd={console},set=1", "-chardev", "file,id=console,path=/dev/fdset/1,append=on"),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id=channel,fd={channel}", "-device", "virtio-serial-pci,max_ports=2"),
        *("-device", "virtserialport,chardev=channel,name=lab"),
        *("-fsdev", f"local,id=root,path={_escaped(str(guest.root))},security_model=none,readonly=on,multidevs=remap"),
        *("-device", f"virtio-9p-pci,fsdev=root,mount_tag={TAG}"),
        *_debugger(guest),
        *guest.extra,
    ]


def command_line(guest: Guest) -> str:
    """Of the kernel; a variable that it does not know becomes one of its first process. Raises ValueError."""
    interpreter, script = guest.agent
    variables = {"LAB_PYTHON": interpreter, "LAB_AGENT": script, "LAB_TAG": TAG, "LAB_MSIZE": str(_MSIZE), **guest.environment}
    return " ".join((*_PARAMETERS, *(quoted(f"{name}={value}") for name, value in variables.items() if value)))


def _accelerator(guest: Guest) -> Iterator[str]:
    if guest.substrate is Substrate.KVM:
        yield from ("-accel", "kvm", "-cpu", "host")
        return
    # What x86-64-v2 asks for, which some systems are built for, and no more: wider vectors are slow in software.
    yield from ("-accel", f"tcg,thread={'single' if guest.warp else 'multi'}", "-cpu", "Nehalem,+rdrand")
    if guest.warp:  # four nanoseconds an instruction: about as long as they take in software
        yield from ("-icount", "shift=2,sleep=off", "-rtc", "base=utc,clock=vm")


def _debugger(guest: Guest) -> Iterator[str]:
    if guest.debugger is not None:
        yield from ("-chardev", f"socket,id=gdb,path={_escaped(str(guest.debugger))},server=on,wait=off")
        yield from ("-gdb", "chardev:gdb", "-S")


def _escaped(path: str) -> str:
    """A comma ends a value, two are one (qemu(1), introduction of the options)."""
    return path.replace(",", ",,")
