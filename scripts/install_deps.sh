#!/usr/bin/env bash
# Installs what building, running and testing need, from Debian's or Ubuntu's packages; only what is
# missing. As root it asks nothing; otherwise it says what it would install and asks before it uses sudo.
#
#   scripts/install_deps.sh           install
#   scripts/install_deps.sh --check   print what is missing; exit code 1 if anything is
#   … --without-mpi                   what a build with USE_MPI=0 needs
set -u

# Without one of these nothing builds or runs.
required="gcc g++ make libc6-dev openmpi-bin libopenmpi-dev libdnnl-dev libxxhash-dev libcjson-dev libcmocka-dev python3 procps perl"
# Without these: no demo text (a text of one's own still trains), no `make format`, no data sets but that.
optional="bible-kjv clang-format python3-venv"

fail() {
  echo "error: install_deps.sh: $*" >&2
  exit 1
}

# Prints those of the packages that are not installed. A python3 that was not packaged serves as well, and what it brings.
missing_of() {
  local missing="" installed package
  installed=" $(dpkg-query -W -f '${Package}:${db:Status-Status} ' "$@" 2> /dev/null) "
  for package in "$@"; do
    case $installed in *" $package:installed "*) continue ;; esac
    if [ "$package" = python3 ] && command -v python3 > /dev/null; then continue; fi
    if [ "$package" = python3-venv ] && python3 -c 'import ensurepip' 2> /dev/null; then continue; fi
    missing="$missing $package"
  done
  echo "$missing"
}

check=0
for option in "$@"; do
  case $option in
    --check) check=1 ;;
    --without-mpi) required=${required/openmpi-bin libopenmpi-dev /} ;;
    *) fail "'$option' found; the options are --check and --without-mpi" ;;
  esac
done

if ! command -v dpkg-query > /dev/null; then
  fail "dpkg-query not found: this is not Debian or Ubuntu; install by hand what these packages hold: $required"
fi
# shellcheck disable=SC2086 # lists of words
missing_required=$(missing_of $required)
# shellcheck disable=SC2086
missing_optional=$(missing_of $optional)
missing="$missing_required$missing_optional"
if [ -z "$missing" ]; then
  exit 0
fi
if [ "$check" = 1 ]; then
  echo "missing:$missing"
  exit 1
fi

if ! command -v apt-get > /dev/null; then
  fail "apt-get not found; install by hand what these packages hold:$missing"
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
  by_hand="sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing"
  if ! command -v sudo > /dev/null; then
    fail "not root and sudo not found; run as root: ${by_hand//sudo /}"
  fi
  if [ ! -t 0 ]; then
    fail "not root and no terminal to ask on; run: $by_hand"
  fi
  echo "These packages are missing:$missing"
  printf 'Install them with sudo apt-get? [y/N] '
  read -r answer
  case $answer in
    y | Y | yes) ;;
    *) fail "nothing installed; when you want to: $by_hand" ;;
  esac
  as_root=(sudo)
fi

# Runs apt-get without questions or chatter; its output is shown only when it fails.
quiet_apt() {
  local output
  if ! output=$("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" 2>&1); then
    echo "$output" >&2
    return 1
  fi
}

echo "installing:$missing"
quiet_apt update || echo "install_deps.sh: apt-get update failed; going on with the package lists at hand" >&2
if [ -n "$missing_required" ]; then
  # shellcheck disable=SC2086
  quiet_apt install -y --no-install-recommends $missing_required ||
    fail "apt-get could not install$missing_required (see above); mend that, then run: make deps"
fi
for package in $missing_optional; do
  quiet_apt install -y --no-install-recommends "$package" ||
    echo "install_deps.sh: going on without $package, which apt-get could not install (see above)" >&2
done
