# Read by the zsh of `lab shell` after the user's own.
if [[ -n ${_lab_user_zdotdir+set} ]]; then ZDOTDIR=$_lab_user_zdotdir; else unset ZDOTDIR; fi
unset _lab_zdotdir _lab_user_zdotdir
[[ -r ${ZDOTDIR:-$HOME}/.zshrc ]] && . ${ZDOTDIR:-$HOME}/.zshrc
PROMPT="[$LAB_NAME $LAB_NODE] %~ %# "
_lab_prompt() { # what the user's own left for each prompt may make another one
    [[ $PROMPT == "[$LAB_NAME $LAB_NODE] "* ]] || PROMPT="[$LAB_NAME $LAB_NODE] $PROMPT"
}
precmd_functions+=(_lab_prompt)
