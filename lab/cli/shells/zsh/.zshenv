# Read by the zsh of `lab shell`, whose ZDOTDIR is this directory until the user's own .zshrc has been read.
_lab_zdotdir=$ZDOTDIR
if [[ -n ${LAB_USER_ZDOTDIR+set} ]]; then ZDOTDIR=$LAB_USER_ZDOTDIR; else unset ZDOTDIR; fi
unset LAB_USER_ZDOTDIR
[[ -r ${ZDOTDIR:-$HOME}/.zshenv ]] && . ${ZDOTDIR:-$HOME}/.zshenv
[[ -n ${ZDOTDIR+set} ]] && _lab_user_zdotdir=$ZDOTDIR # which the user's .zshenv may have chosen
ZDOTDIR=$_lab_zdotdir
