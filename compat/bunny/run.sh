#!/usr/bin/env bash
# The specs of bunny, which the source package of Debian has. Needs ruby-bunny (for what it needs itself) and ruby-rspec. Files
# that are not run stand in specs.left-out, examples that may fail in specs.allow.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
command -v rspec >/dev/null && ruby -e 'require "amq/protocol"' 2>/dev/null || exit 69
source "$here/../debian-source.sh"
debian_source ruby-bunny 2.23.0-1 ruby-bunny_2.23.0.orig.tar.gz
cd "$COMPAT_WORK/ruby-bunny"
specs=()
for spec in spec/higher_level_api/integration/*_spec.rb spec/lower_level_api/integration/*_spec.rb spec/issues/*_spec.rb; do
    grep -q "^$spec" "$here/specs.left-out" || specs+=("$spec")
done
said=$COMPAT_WORK/bunny.log
CI=true rspec -I "$here" -I lib -r longshore_shim --format progress --no-color "${specs[@]}" "$@" >"$said" 2>&1 || true
grep "examples," "$said" || { cat "$said" >&2; exit 1; }
unexpected=$(sed -n 's,^rspec \./\([^ ]*\).*,\1,p' "$said" | grep -vxFf <(grep -v '^#' "$here/specs.allow" | cut -d' ' -f1) || true)
[ -z "$unexpected" ] || { cat "$said"; echo "not in specs.allow:" $unexpected >&2; exit 1; }
