#!/usr/bin/env bash
# Part of other scripts, after cause.sh: how a step has apt install packages, notes what of them it brought, and takes
# away that and nothing else.
#
# The note, $kept/ours, is only added to: a line for each fact, which is on the disk before what it tells of happens.
# A line counts if it is whole, which the full stop at its end shows. The last one about a package holds:
#   installing NAME purge|remove .   apt is about to; `remove` where its configuration was there before
#   installed NAME purge|remove .    it is there, and this step brought it
#   removing NAME purge|remove .     apt is about to take it away, and may forget marks while it does
#   gone NAME .                      it isn't there any more, or was never made
#   replacing NAME VERSION .         of another's package: the version that it had before this step
set -eu
export DEBIAN_FRONTEND=noninteractive
umask 022
: "${note:=$kept/ours}" "${lock_wait:=600}"
apt=/var/lib/watchpost/apt
# Where there is room for packages.
archives=/var/cache/apt/archives/watchpost

# Adds facts to the note, a line each on standard input.
add_facts() {
  # A line that was cut off stays by itself.
  [ -z "$(tail -c 1 "$note" 2>/dev/null)" ] || echo >>"$note"
  sed 's/$/ ./' >>"$note"
  sync "$note"
}

facts() {
  [ ! -e "$note" ] || sed -n 's/ \.$//p' "$note"
}

# Begins the note, if that wasn't done; an empty or cut off note is none.
begin_note() {
  install -d -m 0755 "$kept"
  facts | grep -qx begun || add_facts <<<begun
  sync "$kept" "$(dirname "$kept")"
}

note_is_broken() {
  ! facts | grep -qx begun || grep -qv ' \.$' "$note"
}

# What this step brought or was about to bring: "installed NAME purge", a line each.
ours() {
  facts | awk '$1 ~ /^(installing|installed|removing|gone)$/ { last[$2] = $0 }
    END { for (name in last) if (last[name] !~ /^gone/) print last[name] }' | LC_ALL=C sort
}

package_state() {
  dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true
}

# Apt with folders of its own: the host's lists and cache stay as they are, and nobody else's work on them is in the
# way. What apt is about to do to packages is noted first, and it removes none that it isn't told to. Programs that call
# apt find this by APT_CONFIG, which names it as the main configuration file: that one is read last, after the host's
# others, which would override APT_CONFIG itself. Source: apt.conf(5).
# To remove packages it needs no sources (`no-sources`), which may be broken.
own_apt() {
  at_end+=(drop_own_apt)
  safely make_own_apt "${1:-}"
  export APT_CONFIG=$apt/apt.conf
}

drop_own_apt() {
  rm -rf "$apt" "$archives"
  rmdir --ignore-fail-on-non-empty "$(dirname "$apt")" 2>/dev/null || true
}

make_own_apt() {
  local main=
  rm -rf "$apt"
  install -d -m 0755 "$apt" "$apt/lists" "$archives"
  eval "$(apt-config shell main Dir::Etc::main/f)"
  # Source: apt.conf(5); of the lines that the program gets, apt's README, "DPkg::Tools::Options", version 3.
  cat >"$apt/note" <<'NOTE'
set -eu
note=$1
native=$(dpkg --print-architecture)
[ -z "$(tail -c 1 "$note" 2>/dev/null)" ] || echo >>"$note"
while read -r name old _ _ _ new architecture multi file; do
  [[ $file == /* && $old != "$new" ]] || continue
  [[ $multi != same && ($architecture == all || $architecture == "$native") ]] || name+=:$architecture
  if [ "$old" != - ]; then
    echo "replacing $name $old ."
  elif [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = config-files ]; then
    echo "installing $name remove ."
  else
    echo "installing $name purge ."
  fi
done >>"$note"
sync "$note"
NOTE
  {
    [ ! -r "$main" ] || { cat "$main" && echo; }
    cat <<CONFIG
Dir::Cache::archives "$archives";
Dir::Cache::pkgcache "$apt/pkgcache.bin";
Dir::Cache::srcpkgcache "$apt/srcpkgcache.bin";
Dir::State::lists "$apt/lists";
APT::Get::AutomaticRemove "false";
APT::Get::Purge "false";
DPkg::Lock::Timeout "$lock_wait";
Dpkg::Use-Pty "false";
DPkg::Options { "--force-confdef"; "--force-confold"; };
DPkg::Pre-Install-Pkgs { "/usr/bin/env bash $apt/note $note"; };
DPkg::Tools::Options::/usr/bin/env::Version "3";
CONFIG
    [ -z "$1" ] || printf 'Dir::Etc::%s "/dev/null";\n' sourcelist sourceparts
  } >"$apt/main.conf"
  {
    [ -z "${APT_CONFIG:-}" ] || { cat "$APT_CONFIG" && echo; }
    echo "Dir::Etc::main \"$apt/main.conf\";"
  } >"$apt/apt.conf"
}

# Begins with the host's lists, so that only news has to be downloaded.
take_over_lists() {
  find /var/lib/apt/lists -maxdepth 1 -type f ! -name lock -exec \
    cp --preserve=timestamps --reflink=auto -t "$apt/lists" {} + 2>/dev/null || rm -f "$apt"/lists/*
}

# Prints apt's first complaint in $said, to follow a sentence: ": ...". dpkg's says more than apt's.
complaint() {
  local found
  if [[ $said == *'remove is disabled'* ]]; then
    found=$(sed -n '/^The following packages will be REMOVED:/,/^[^ ]/s/^  //p' <<<"$said" | tr -d '*' | paste -sd ' ')
    echo ": ${found% } would have to go. Remove it there if nobody needs it"
    return
  fi
  found=$(sed -n '/^dpkg: error processing/{N;s/\n */ /p;q}' <<<"$said")
  [ -n "$found" ] ||
    found=$(sed -n -E 's/^E: //p' <<<"$said" | grep -vE '^(Sub-process|Some index files)' | sed -E 's#(://)[^/@ ]*@#\1#g; 1q')
  [[ $found != *'not valid yet'* && $found != *' expired '* ]] || found+=" Is its clock right? It says $(date -u '+%F %R UTC')"
  echo "${found:+: ${found:0:400}}"
}

# Runs what keeps something on the host, without which the step may not go on.
safely() {
  said=$("$@" 2>&1) || give_up "the earlier state of $(hostname) can't be saved: $said" /var/lib/watchpost /var/cache
}

# Repairs what an apt that was cut off has left, behind another one's lock.
repair_packages() {
  local name architecture file broken=0 cut=()
  # This waits for another apt, and fails where packages are half configured or half removed.
  apt-get -q -o "DPkg::Lock::Timeout=$lock_wait" check || broken=1
  # Of what dpkg was just unpacking nothing but the package itself tells the files; apt has left it in its folder.
  while read -r name architecture; do
    for file in "$archives/$name"_*_"$architecture".deb; do [ ! -e "$file" ] || cut+=("$file"); done
  done < <(dpkg-query -W -f '${db:Status-Status} ${Package} ${Architecture}\n' | sed -n 's/^half-installed //p')
  if [ ${#cut[@]} -gt 0 ]; then
    broken=1
    heard dpkg --force-depends --unpack "${cut[@]}" || echo "dpkg on $(hostname) can't unpack again what it was cut off in$(complaint)"
  fi
  [ "$broken" = 0 ] || heard dpkg --configure -a ||
    give_up "dpkg on $(hostname) can't configure what is half installed$(complaint)" "$@"
}

# Notes what became of what apt was about to install. With `unmark`, apt's marks for what it is asked for by name are
# taken off first: a mark that is found later is somebody's.
settle() {
  local state name how brought=() gone=()
  while read -r state name how; do
    case $(package_state "$name"),$state in
    installed,installing | installed,removing) brought+=("$name $how") ;;
    ,* | not-installed,* | config-files,installing) gone+=("$name") ;;
    esac
  done < <(ours)
  if [ ${#brought[@]} -gt 0 ]; then
    if [ "${1:-}" = unmark ]; then
      apt-mark auto "${brought[@]% *}" >/dev/null
      sync /var/lib/apt/extended_states
    fi
    printf 'installed %s\n' "${brought[@]}" | add_facts
  fi
  [ ${#gone[@]} = 0 ] || printf 'gone %s\n' "${gone[@]}" | add_facts
}

# What of these packages can go without any other having to go or to come.
needed_by_nobody() {
  local name states native free=()
  native=$(dpkg --print-architecture)
  if goes_alone "$*" "$@" >/dev/null; then
    printf '%s\n' "$@"
    return
  fi
  # Apt's own answer to what it would clean up if these, and no others, had been installed for others' sake.
  states=$(mktemp -p "$apt")
  for name in "$@"; do
    printf 'Package: %s\nArchitecture: %s\nAuto-Installed: 1\n\n' "${name%%:*}" "$([[ $name != *:* ]] && echo "$native" || echo "${name#*:}")"
  done >"$states"
  mapfile -t free < <(apt-get -s -o "Dir::State::extended_states=$states" -o APT::AutoRemove::RecommendsImportant=false \
    -o APT::AutoRemove::SuggestsImportant=false autoremove | sed -n -E 's/^(Remv|Purg) ([^ ]+) .*/\2/p')
  # It keeps all packages that provide what somebody needs, even where one is enough.
  for name in "$@"; do
    [[ " ${free[*]} " != *" ${name%":$native"} "* ]] || continue
    ! goes_alone "$*" "${free[@]}" "$name" >"$states" || mapfile -t free <"$states"
  done
  for name in "$@"; do
    [[ " ${free[*]} " != *" ${name%":$native"} "* ]] || echo "$name"
  done
}

# What goes with these packages, a line each, if that is only some of those given first, in one word, and none comes.
goes_alone() {
  local mine=" $1 " native name out going=()
  native=$(dpkg --print-architecture)
  mine=${mine//":$native "/ }
  shift
  out=$(apt-get -s --allow-change-held-packages purge "$@") || return
  ! grep -q '^Inst ' <<<"$out" || return
  while read -r name; do
    [[ $mine == *" $name "* ]] || return
    going+=("$name")
  done < <(sed -n -E 's/^(Remv|Purg) ([^ ]+) .*/\2/p' <<<"$out")
  printf '%s\n' "${going[@]}"
}

# Takes away what this step brought; prints what stays, and why. With `marks`, what somebody has marked as manually
# installed since (apt does it for whatever is asked for by name) is theirs.
remove_ours() {
  local state name how found native manual='' free names=() purge=() remove=() broken=()
  native=$(dpkg --print-architecture)
  [ "$1" != marks ] || manual=$(apt-mark showmanual)
  shift
  while read -r state name how; do
    found=$(package_state "$name")
    case $found in
    '' | not-installed) ;;
    config-files) [ "$how" != purge ] || purge+=("$name") ;;
    half-installed) broken+=("$name") ;;
    *)
      if [ "$state" = installed ] && grep -qxF "${name%":$native"}" <<<"$manual"; then
        echo "keeping $name, which somebody has marked as installed by hand since"
      else
        names+=("$name")
      fi
      ;;
    esac
  done < <(ours)
  # Apt refuses to touch these.
  [ ${#broken[@]} = 0 ] || heard dpkg --force-remove-reinstreq --force-depends --purge "${broken[@]}" ||
    give_up "dpkg on $(hostname) can't remove ${broken[*]}$(complaint)" "$@"
  if [ ${#names[@]} -gt 0 ]; then
    free=$(needed_by_nobody "${names[@]}") || give_up "apt on $(hostname) can't tell what may be removed: $free" "$@"
    while read -r state name how; do
      [[ " ${names[*]} " == *" $name "* ]] || continue
      if ! grep -qxF "$name" <<<"$free"; then
        echo "keeping $name, which $(needed_by "$name" "${names[@]}") needs"
      elif [ "$how" = purge ]; then
        purge+=("$name")
      else
        remove+=("$name")
      fi
    done < <(ours)
  fi
  {
    [ ${#remove[@]} = 0 ] || printf 'removing %s remove\n' "${remove[@]}"
    [ ${#purge[@]} = 0 ] || printf 'removing %s purge\n' "${purge[@]}"
  } | add_facts
  [ ${#remove[@]} = 0 ] || heard apt-get -q -y --allow-change-held-packages remove "${remove[@]}" ||
    none_is_left config-files "${remove[@]}" || give_up "apt on $(hostname) can't remove ${remove[*]}$(complaint)" "$@"
  [ ${#purge[@]} = 0 ] || heard apt-get -q -y --allow-change-held-packages purge "${purge[@]}" ||
    none_is_left not-installed "${purge[@]}" || give_up "apt on $(hostname) can't remove ${purge[*]}$(complaint)" "$@"
}

# Whether apt has removed these, down to the state given first or further, and failed only on others' packages, which it
# tries to configure each time.
none_is_left() {
  local name left="|not-installed|$1|"
  shift
  for name in "$@"; do [[ $left == *"|$(package_state "$name")|"* ]] || [ -z "$(package_state "$name")" ] || return 1; done
  echo "apt on $(hostname) has removed everything it was asked to, but failed on other packages$(complaint)"
}

# Whose packages would have to go with the first of these names; the others are ours.
needed_by() {
  local name=$1 others
  others=$(apt-get -s remove "$name" | sed -n -E 's/^Remv ([^ ]+) .*/\1/p' | grep -vxF -f <(printf '%s\n' "$@" | sed -E 'p; s/:.*//') | paste -sd , | sed 's/,/, /g')
  echo "${others:-another package}"
}

# What older versions of this program installed, by apt's own log: packages of runs whose command line holds a text.
installed_by() {
  zcat -f /var/log/apt/history.log* 2>/dev/null | awk -v text="$1" '
    /^Commandline:/ { mine = index($0, text) > 0 }
    /^Install:/ && mine { gsub(/\([^)]*\)/, ""); sub(/^Install: */, ""); gsub(/ *, */, "\n"); print }' |
    sed -E 's/ +$//' | LC_ALL=C sort -u
}
