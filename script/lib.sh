# Shared by the scripts here; sourced, not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export FLUXGATE_CACHE="${FLUXGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fluxgate}"
export PIP_DISABLE_PIP_VERSION_CHECK=1
JOBS="${JOBS:-$(nproc)}"

say() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# build PRESET [TARGET...]: configures once, then builds what changed.
build() {
  local preset=$1
  shift
  [ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" >/dev/null || return 1
  cmake --build --preset "$preset" -j "$JOBS" ${1:+--target "$@"}
}
