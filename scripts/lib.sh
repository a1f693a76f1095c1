# What the scripts here share. It is read with `.`, after `set -euo pipefail`.
# shellcheck shell=bash

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() { # message, remedy
  printf '%s: error: %s\n' "${0##*/}" "$1" >&2
  [ $# -lt 2 ] || printf '    %s\n' "$2" >&2
  exit 1
}

die_with_log() { # message, file
  tail -n 15 "$2" >&2
  die "$1" "Its last lines are above, all of them in $2."
}

has() { command -v "$1" >/dev/null 2>&1; }

# Root's own rights, or sudo's. Without a terminal sudo must not ask for a password.
can_be_root() { [ "$(id -u)" -eq 0 ] || { has sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; }; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; elif [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
}

apt_available() { # package
  apt-cache policy "$1" 2>/dev/null | grep -q '^  Candidate: [^(]'
}

apt_install() { # why, package...
  local why=$1 log
  shift
  has apt-get || die "$* is missing, and this machine has no apt" "Install it by your system's own means, then try again. It is needed $why."
  can_be_root || die "$* is missing" "Ask for it to be installed: sudo apt-get install $*   (it is needed $why)"
  say "installing $* by apt, $why"
  log=$(mktemp)
  if ! apt_available "$1"; then apt_get update >"$log" 2>&1 || true; fi
  if ! apt_get install --yes --no-install-recommends "$@" >>"$log" 2>&1; then
    # Lists may be older than the mirror: fetch them anew, once.
    { apt_get update && apt_get install --yes --no-install-recommends "$@"; } >"$log" 2>&1 ||
      die_with_log "apt could not install $*" "$log"
  fi
  rm -f "$log"
}

# Nothing may prompt, and services must not hold our streams open.
apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
}
