# How the demonstration speaks: steps, words, and each command before it runs. It is read with `.`.
# shellcheck shell=bash

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi

step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
tell() { printf '   %s\n' "$@"; }

run() {
  local word line=''
  for word in "$@"; do
    if [[ $word =~ ^[[:alnum:]_./:=@,-]+$ ]]; then line+=" $word"; else line+=" ${word@Q}"; fi
  done
  printf '%s$%s%s\n' "$dim" "$line" "$plain"
  "$@"
}
