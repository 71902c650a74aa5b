"""Completion for bash, zsh and fish: click's own protocol with scripts of ours, and the command that prints them.

What differs from click's scripts: no space after what goes on (a folder, `KEY=`), and in bash words that it parted at = and :
are put together again, for otherwise `--set members=` and IPv6 addresses would be several arguments.
"""

from __future__ import annotations

import os

import click
from click import shell_completion
from click.shell_completion import CompletionItem

VARIABLE = "_LAB_COMPLETE"
_GOES_ON = ("/", "=")

_BASH = r"""# bash completion for lab
%(complete_func)s() {
    local IFS=$'\n' answer kind value
    answer=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" %(complete_var)s=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value"); [[ $value == *[/=] ]] && compopt -o nospace ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done <<< "$answer"
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = r"""#compdef %(prog_name)s
%(complete_func)s() {
    local -a answer plain open described
    local kind value about
    (( $+commands[%(prog_name)s] )) || return 1
    answer=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) %(complete_var)s=zsh_complete \
        %(prog_name)s 2>/dev/null)}")
    for kind value about in $answer; do
        case $kind in
            plain)
                if [[ $value == *[/=] ]]; then open+=("$value")
                elif [[ $about == _ ]]; then plain+=("$value")
                else described+=("$value:$about")
                fi ;;
            file) _path_files -f ;;
            dir) _path_files -/ ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#plain )) && compadd -U -V unsorted -a plain
    (( $#open )) && compadd -U -V unsorted -S '' -a open
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = r"""# fish completion for lab
function %(complete_func)s
    set -l answer (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp | string collect) \
        COMP_CWORD=(commandline -t | string collect --allow-empty) %(prog_name)s 2>/dev/null)
    for line in $answer
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case plain
                echo -- $parts[2]
            case file
                __fish_complete_path $parts[2]
            case dir
                __fish_complete_directories $parts[2]
        end
    end
end
complete --no-files --keep-order --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Bash(shell_completion.BashComplete):
    source_template = _BASH
    _cut = 0

    def source(self) -> str:
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words as the user typed them; bash parts them at = and :, and replaces only what stands behind."""
        words = shell_completion.split_arg_string(os.environ["COMP_WORDS"])
        at = int(os.environ["COMP_CWORD"])
        words = [*words[: at + 1], *[""] * (at + 1 - len(words))]
        joined = _joined(words)
        last = words[-1]
        self._cut = len(joined[-1]) - (0 if _parts(last) else len(last))
        return joined[1:-1], joined[-1]

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type},{item.value[self._cut :] if item.type == 'plain' else item.value}"


def _parts(word: str) -> bool:
    return bool(word) and not word.strip("=:")


def _joined(words: list[str]) -> list[str]:
    found: list[str] = []
    for at, word in enumerate(words):
        if at > 1 and (_parts(word) or _parts(words[at - 1])):
            found[-1] += word
        else:
            found.append(word)
    return found


class _Zsh(shell_completion.ZshComplete):
    source_template = _ZSH


class _Fish(shell_completion.FishComplete):
    source_template = _FISH


SHELLS: dict[str, type[shell_completion.ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def answer(cli: click.Group, instruction: str) -> int:
    """Answers a shell (`bash_complete`, …) on stdout; the exit status."""
    for name, shell in SHELLS.items():
        shell_completion.add_completion_class(shell, name)
    return shell_completion.shell_complete(cli, {}, "lab", VARIABLE, instruction)


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes the words of lab in a shell.

    Completed are commands, options, names of living labs and of their nodes, topologies, scenarios, parameters after --set
    and the conditions of `wait`. The script asks lab itself at each press of the key, so it need not be renewed. It needs no
    root: names of labs can be read by everybody.

    \b
    Install for yourself, into a directory that exists or is made before:
      bash  lab completion bash > ~/.local/share/bash-completion/completions/lab
      zsh   lab completion zsh > ~/.zfunc/_lab
            and in ~/.zshrc, before compinit:  fpath=(~/.zfunc $fpath)
      fish  lab completion fish > ~/.config/fish/completions/lab.fish

    \b
    For all users, as root:
      bash  lab completion bash > /etc/bash_completion.d/lab
      zsh   lab completion zsh > /usr/local/share/zsh/site-functions/_lab
      fish  lab completion fish > /etc/fish/completions/lab.fish

    bash completes from these directories with the package bash-completion; for one session alone there is the example.

    \b
    Example:
      source <(lab completion bash)
    """
    root = context.find_root().command
    click.echo(SHELLS[shell](root, {}, "lab", VARIABLE).source(), nl=False)


COMMANDS = (completion,)
