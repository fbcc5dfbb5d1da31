#!/usr/bin/env bash
# Creates the Agent's database user, and checks that it can read what the integration reads; reports the server's
# version. On removal, or if the first run fails, restores the user and the server's unit as they were before.
# Variables: sql (what the user may do, in the order of SHOW GRANTS).
# Standard input: the user's password, of letters, digits, - and _ only.
# shellcheck disable=SC2154 # undo_folder is cause.sh's
set -eu
: "${sql:?}"
umask 077
kept=/var/lib/watchpost/mysql-user.sql
# The unit only, until the user's earlier state is known; nothing has been changed by then.
kept_unit=/var/lib/watchpost/mysql-unit
kept_formerly=/var/lib/watchpost/mysql-user
complete='-- complete'
use files/host/cause.sh
user="'datadog'@'127.0.0.1'"
host=$(hostname)
# root's own .my.cnf counts, even if sudo keeps another HOME.
export HOME=~root
client=$(command -v mariadb || command -v mysql || true)

# An option that names the server's socket, unless root's client finds it by itself.
socket=()
# What else keeps the session's changes from a cluster's other servers.
apart=

# As root, by the socket, independent of the server's sql_mode. Each host has its own user, so it isn't replicated, and no
# log of the server gets the password. Waits for others' locks for a minute, not a year; MariaDB 10.5 has no such limit
# for some of them, and ends the statement. Option files give the login, but neither another server nor another form of
# the output.
as_root() {
  timeout 300 "$client" "${socket[@]}" --host=localhost --protocol=socket --connect-timeout=60 --batch --skip-column-names \
    --skip-table --skip-vertical --skip-auto-vertical-output --skip-show-warnings --skip-force \
    --init-command="SET SESSION sql_mode = '', sql_quote_show_create = 1, sql_log_bin = 0, sql_log_off = 1,
    long_query_time = 31536000, lock_wait_timeout = 60, innodb_lock_wait_timeout = 60$apart
    /*M!100100 , max_statement_time = 65, old_passwords = 0 */" "$@"
}

# Reads as root; hides errors, since they may contain a line of root's option file.
asked() {
  as_root --raw --execute "$1" 2>/dev/null
}

value() {
  asked "SHOW GLOBAL VARIABLES LIKE '$1'" | cut -f 2
}

# Runs a client and keeps its first error in $error: "1045 (28000): Access denied for ...", without the statement that
# it may quote. It keeps no other words: MariaDB's client repeats the statement, and both repeat an option file's lines.
tried() {
  local words status=0 form='^ERROR ([0-9]+ \([0-9A-Z]{5}\))( at line [0-9]+)?: '
  words=$("$@" 2>&1 >/dev/null) || status=$?
  error=$(printf '%s\n' "$words" | sed -n -E "s/$form/\1: /p" | sed 1q)
  error=${error%% near *}
  error=${error:-"its client ended with exit code $status"}
  return "$status"
}

# Connects like the integration: by TCP, without TLS, and with only these options, which come through a pipe.
# Source: mysql/datadog_checks/mysql/mysql.py of DataDog/integrations-core
as_the_agent() {
  local without_tls=(--ssl-mode=DISABLED --get-server-public-key)
  [[ $("$client" --version) != *MariaDB* ]] || without_tls=(--skip-ssl)
  env -i PATH="$PATH" HOME=/nonexistent "$client" --defaults-file=/dev/fd/3 --batch --skip-column-names \
    "${without_tls[@]}" --execute "$1" \
    3< <(printf '%s\n' '[client]' user=datadog "password=$password" host=127.0.0.1 port=3306)
}

# Whether root can log in; if its client finds no socket, by the one that the server listens on.
root_can_log_in() {
  local path
  if ! tried as_root --execute "SELECT 1"; then
    [ ${#socket[@]} = 0 ] && [[ $error == 2002*socket* ]] || return 1
    path=$(ss -H -l -x -p 2>/dev/null | awk '/"(mysqld|mariadbd)"/ && $5 !~ /mysqlx/ { print $5; exit }')
    [ -S "$path" ] || return 1
    socket=("--socket=$path")
    tried as_root --execute "SELECT 1" || return 1
  fi
  # Galera replicates statements about users whatever sql_log_bin is; MySQL has this variable only in Percona's cluster.
  # Source: https://mariadb.com/docs/galera-cluster/reference/galera-cluster-system-variables#wsrep_on
  [ "$(value wsrep_on)" != ON ] || apart=", wsrep_on = OFF"
}

can_read() {
  tried as_the_agent \
    "SHOW GLOBAL STATUS LIKE 'Uptime'; SHOW ENGINE INNODB STATUS; SELECT 1 FROM performance_schema.threads LIMIT 1"
}

# Whether the user has exactly the privileges and the limit of $sql.
has_its_privileges() {
  local limit mandatory=
  # shellcheck disable=SC2016 # no command, but quotes of SQL
  [ -z "$(value mandatory_roles)" ] || mandatory='/^GRANT `[^`]*`@/d'
  limit=$(sed -n 's/.*MAX_USER_CONNECTIONS \([0-9]*\);/\1/p' <<<"$sql")
  [ "$limit" = "$(asked \
    "SELECT max_user_connections FROM mysql.user WHERE User = 'datadog' AND Host = '127.0.0.1'")" ] || return 1
  # MariaDB also shows the hash and the limit, and since 10.5 another name for REPLICATION CLIENT; MySQL the roles that
  # it gives to everybody.
  cmp --quiet <(sed -n 's/^\(GRANT .*\) TO .*;/\1/p' <<<"$sql") <(asked "SHOW GRANTS FOR $user" |
    sed -E "s/ TO \`datadog\`@\`127.0.0.1\`( IDENTIFIED (BY PASSWORD|VIA \w+ USING) '[^']*')?//
      s/ WITH MAX_USER_CONNECTIONS $limit$//; s/BINLOG MONITOR/REPLICATION CLIENT/
      $mandatory")
}

# The statements that would recreate the user; none if there is none. Fails if the server doesn't tell.
statements() {
  local found
  found=$(asked "SELECT COUNT(*) FROM mysql.user WHERE User = 'datadog' AND Host = '127.0.0.1'") || return 1
  [ "$found" != 0 ] || return 0
  # MySQL's password hashes are binary unless told otherwise; MariaDB takes this for a comment.
  found=$(asked "/*!80017 SET print_identified_with_as_hex = ON */; SHOW CREATE USER $user; SHOW GRANTS FOR $user") ||
    return 1
  printf '%s\n' "$found" | sed 's/$/;/'
}

# Recreates the user from the statements on standard input; without any, drops it.
put_back() {
  local statements strict status=0
  statements=$(cat)
  # While MariaDB checks passwords, it accepts no hashes.
  strict=$(value strict_password_validation)
  [ "$strict" != ON ] || asked 'SET GLOBAL strict_password_validation = OFF'
  tried as_root < <(printf 'DROP USER IF EXISTS %s;\n%s\n' "$user" "$statements") || status=$?
  [ "$strict" != ON ] || asked 'SET GLOBAL strict_password_validation = ON'
  return "$status"
}

# The server's unit: one that runs, else an enabled one, else any; aliases don't count.
find_service() {
  local units unit state
  units=$(systemctl list-unit-files --no-legend mysql.service mysqld.service mariadb.service |
    awk '$2 != "alias" { print $1 }')
  for state in is-active is-enabled; do
    for unit in $units; do
      ! systemctl --quiet "$state" "$unit" || { echo "$unit" && return; }
    done
  done
  head -n 1 <<<"$units"
}

fail() {
  local holder
  journalctl --unit "$service" --lines 20 --no-pager >&2
  # MySQL's own words are there only.
  tail -n 10 /var/log/mysql/error.log >&2 2>/dev/null || true
  holder=$(port_holder 3306)
  case $holder in
  '' | mysqld* | mariadbd*) give_up "$*" ;;
  *) give_up "$*: port 3306 is taken by $holder; if that is a database, such as one in a container, Watchpost can't watch it" ;;
  esac
}

# Starts the server, and waits until it accepts root's login; a refusal is final.
start() {
  local deadline=$((SECONDS + 60))
  systemctl start "$service" || fail "$service does not start on $host"
  until root_can_log_in; do
    case $error in
    2002* | 2003* | 2006* | 2013* | 1040* | 1053*)
      [ $SECONDS -lt $deadline ] || fail "$service does not answer on $host after a minute: $error"
      sleep 0.5
      ;;
    1045* | 1698*)
      give_up "the database on $host refused root's login, $error: write root's password into /root/.my.cnf there, as a line password=... below a line [client], and run \`pulumi up\` again"
      ;;
    1227*) give_up "the database on $host lets /root/.my.cnf log in, but not as an administrator: $error" ;;
    *) give_up "root can't log in to the database on $host with the options of /etc/mysql and /root/.my.cnf: $error" ;;
    esac
  done
}

# Writes the note of the earlier state: a first line, standard input, and the end mark. It counts once it is complete and
# on the disk, since it decides whether a removal drops the user.
write_note() {
  { echo "$1" && cat && echo "$complete"; } | write_whole "$kept"
}

# Restores the unit's state from the note's first line.
restore_unit() {
  local unit enabled active
  read -r _ _ unit enabled active <"$1"
  [ "$enabled" != disabled ] || systemctl disable --quiet "$unit"
  [ "$active" != inactive ] || systemctl stop "$unit"
}

# A failed first run isn't in the stack's state, so no destroy would undo it.
undo_first_run() {
  # shellcheck disable=SC2154 # cause.sh's
  [ "$ended" != 0 ] && [ -z "${made:-}" ] || return 0
  if [ ! -e "$kept" ] || put_back <"$kept"; then
    restore_unit "$([ -e "$kept" ] && echo "$kept" || echo "$kept_unit")"
    rm -f "$kept" "$kept_unit"
    undone mysql-user
  fi
}

# Whether the stack's packages brought the server, so that it is removed with them.
goes_with_the_packages() {
  local package
  package=$(dpkg-query --search "*/systemd/system/$service" 2>/dev/null | sed -n '1s/[:,].*//p')
  [ -n "$package" ] && grep -qsE "^install(ing|ed) $package purge \.$" /var/lib/watchpost/packages/ours
}

# Checks what the server has to fulfil before a user is created.
look_at_the_server() {
  local port
  [ "$(asked 'SELECT 1')" = 1 ] ||
    give_up "root's client on $host prints more than answers: take options such as tee and verbose out of the section [mysql] of /etc/mysql and /root/.my.cnf, and run \`pulumi up\` again"
  tried as_root --execute "SHOW GRANTS" || [[ $error != *--skip-grant-tables* ]] ||
    give_up "the database on $host runs with skip-grant-tables, so it lets in everybody and has no users: take that out of its configuration, restart $service, and run \`pulumi up\` again"
  port=$(value port)
  [ "$(value skip_networking)" != ON ] ||
    give_up "the database on $host takes no TCP connections, and the Agent needs 127.0.0.1: take skip-networking out of its configuration, restart $service, and run \`pulumi up\` again"
  [ "$port" = 3306 ] || give_up "the database on $host listens on port $port, and the Agent's integration needs 3306"
  [ "$(value require_secure_transport)" != ON ] ||
    give_up "the database on $host takes connections over TLS only, and the Agent's to 127.0.0.1 has none: set require_secure_transport to OFF and run \`pulumi up\` again"
}

# Why the server refused a statement, by the number of its error.
refusal() {
  case $error in
  1819* | 3638*)
    echo "its rules for passwords refuse the one that was made (error ${error%%:*}). Make another by" \
      "\`pulumi up --replace '**-mysql-password'\`; if that is refused too, see SHOW VARIABLES LIKE '%password%' there"
    ;;
  1290* | 1836*) echo "it is read-only (error ${error%%:*}): turn that off there and try again" ;;
  3501*) echo "its own tables can't be written (error ${error%%:*}): see innodb_read_only and innodb_force_recovery there" ;;
  1044* | 1045* | 1142* | 1227* | 1410*)
    echo "its administrator $(asked 'SELECT CURRENT_USER()') lacks a privilege (error ${error%%:*})"
    ;;
  1205* | 1969*)
    echo "another session there holds a lock for longer than a minute (error ${error%%:*}); there are:" \
      "$(asked "SELECT GROUP_CONCAT(CONCAT(id, ' ', user, '@', host, ' ', command) SEPARATOR ', ')
        FROM information_schema.processlist WHERE id != CONNECTION_ID() AND command NOT IN ('Daemon', 'Binlog Dump')")"
    ;;
  *) echo "error $error" ;;
  esac
}

# Through standard input, since everybody on the machine can read command lines. One statement holds the password; of its
# failure only the error's number is shown.
make() {
  tried as_root < <(
    printf "DROP USER IF EXISTS %s;\nCREATE USER %s IDENTIFIED BY '%s';\n" "$user" "$user" "$password"
  ) || { error=${error%%:*} && return 1; }
}

allow() {
  tried as_root < <(printf '%s\n' "$sql")
}

# Why the user can't read, once it is there.
obstacle() {
  case $error in
  1045*)
    # A login from 127.0.0.1 is also one from localhost, and MariaDB prefers that user.
    if [ -n "$(asked "SELECT 1 FROM mysql.user WHERE User = 'datadog' AND Host = 'localhost'")" ]; then
      echo "the database takes its login for 'datadog'@'localhost', which was there before: drop that user or set" \
        "skip_name_resolve"
      return
    fi
    ;;
  2002* | 2003*) error="$error (bind_address is $(value bind_address))" ;;
  1184* | 2013*) [ -z "$(value init_connect)" ] || error="$error (see the server's init_connect)" ;;
  esac
  echo "$error"
}

case $1 in
check)
  read -r password
  root_can_log_in || true
  can_read || { echo "the database user datadog can't read what the integration reads: $error" >&2 && exit 1; }
  has_its_privileges || { echo "the database user datadog has other privileges than it needs" >&2 && exit 1; }
  ;;
apply)
  read -r password
  [[ $password =~ ^[A-Za-z0-9_-]{16,}$ ]] || give_up "the database password must be letters, digits, - and _"
  [ -n "$client" ] || give_up "there is neither a mariadb nor a mysql client on $host"
  service=$(find_service)
  [ -n "$service" ] || give_up "no MySQL or MariaDB service is installed on $host"
  install -d -m 0755 /var/lib/watchpost
  alone mysql-user
  keep_undo mysql-user sql
  # The note of an older version of this script.
  [ ! -e "$kept_formerly" ] || write_note "-- unit $service enabled active" <"$kept_formerly"
  rm -f "$kept_formerly"
  if [ ! -e "$kept" ]; then
    unit=$(grep -m 1 '^-- unit ' "$kept_unit" 2>/dev/null) ||
      unit="-- unit $service $(systemctl is-enabled "$service" || true) $(systemctl is-active "$service" || true)"
    write_whole "$kept_unit" <<<"$unit"
    at_end+=(undo_first_run)
  fi
  systemctl --quiet is-enabled "$service" || enable_service "$service"
  start
  look_at_the_server
  before=$(statements) ||
    give_up "the database on $host can't show how its user $user was created: run \`pulumi up\` again"
  [ -e "$kept" ] || write_note "$unit" < <(printf '%s\n' "$before")
  rm -f "$kept_unit"
  # Only if needed: a server with a password history refuses the one that the user has.
  if ! can_read || ! has_its_privileges; then
    why=
    make && allow || why="the database on $host can't be given the user datadog: $(refusal)"
    [ -n "$why" ] || can_read ||
      why="the database user datadog can't read what the integration reads on $host: $(obstacle)"
    [ -z "$why" ] || { printf '%s\n' "$before" | put_back || true; give_up "$why"; }
  fi
  made=yes
  version=$(asked 'SELECT VERSION()')
  [ "$(value performance_schema)" = ON ] || version="$version, performance_schema is off"
  report "$(json_text "$version")"
  ;;
remove)
  alone mysql-user
  rm -f "$kept.new"
  service=$(find_service)
  if [ ! -e "$kept" ]; then
    if grep -qs '^-- unit ' "$kept_unit"; then
      [ -z "$service" ] || restore_unit "$kept_unit"
    elif [ -e "$undo_folder/mysql-user" ]; then
      echo "keeping the database user $user on $host: what was there before isn't known ($kept is gone)"
    fi
  elif [ -z "$client" ] || [ -z "$service" ]; then
    echo "the database is gone from $host, and its user datadog with it"
  elif [ "$(sed -n '1s/^-- unit .*/-- unit/p; $p' "$kept")" != "-- unit"$'\n'"$complete" ]; then
    echo "watchpost: $kept on $host is damaged, so nobody knows whether the database user $user was there before:" \
      "it is left; drop it if nothing else needs it" >&2
  elif goes_with_the_packages && ! (start) >/dev/null 2>&1; then
    echo "$service does not start on $host any more: its user datadog goes with it"
  else
    active=$(systemctl is-active "$service" || true)
    start
    put_back <"$kept" || give_up "the database user datadog can't be restored on $host: $(refusal) (see $kept)"
    restore_unit "$kept"
    # Somebody may have stopped it since.
    [ "$active" = active ] || systemctl stop "$service"
  fi
  rm -f "$kept" "$kept_unit"
  undone mysql-user
  ;;
esac
