#!/usr/bin/env bash
# Makes the database user of the Agent and shows that it can read what the integration reads; prints the server's version.
# Variables: sql (the statements, with :password where the password belongs).
# Standard input: the user's password, letters and digits only.
set -eu
: "${sql:?}"
kept=/var/lib/watchpost/mysql-user
# shellcheck source=/dev/null
. files/host/cause.sh
user="'datadog'@'127.0.0.1'"
client=$(command -v mariadb || command -v mysql)

fail() {
  [ -z "$service" ] || journalctl --unit "$service" --lines 20 --no-pager >&2
  give_up "$*"
}

as_root() {
  "$client" --batch --skip-column-names "$@"
}

# What the integration asks for, as the user itself and by TCP, like the Agent.
read_as_the_agent() {
  "$client" --defaults-extra-file=/dev/fd/3 --batch --skip-column-names --execute \
    "SHOW GLOBAL STATUS LIKE 'Uptime'; SHOW ENGINE INNODB STATUS; SELECT 1 FROM performance_schema.threads LIMIT 1" \
    3<<<"[client]
user=datadog
password=$password
host=127.0.0.1
port=3306" >/dev/null
}

# The statements that make the user as it is; none where there is none.
remember() {
  [ "$(as_root -e "SELECT COUNT(*) FROM mysql.user WHERE User = 'datadog' AND Host = '127.0.0.1'")" != 0 ] || return 0
  # MySQL's password hashes are binary unless told otherwise; MariaDB takes this for a comment.
  as_root --raw -e "/*!80017 SET print_identified_with_as_hex = ON */; SHOW CREATE USER $user; SHOW GRANTS FOR $user" |
    sed 's/$/;/'
}

case $1 in
check)
  read -r password
  read_as_the_agent || { echo "the database user datadog can't read what the integration reads" >&2 && exit 1; }
  ;;
apply)
  read -r password
  [[ $password =~ ^[A-Za-z0-9]{16,}$ ]] || give_up "the database password must be letters and digits"
  service=$(systemctl list-unit-files --no-legend mysql.service mariadb.service | awk '$2 != "alias" { print $1; exit }')
  [ -n "$service" ] || fail "no MySQL or MariaDB service is installed on $(hostname)"
  systemctl enable --quiet "$service"
  systemctl start "$service" || fail "$service does not start on $(hostname)"
  deadline=$((SECONDS + 60))
  until as_root -e "SELECT 1" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || fail "$service does not answer on $(hostname) after a minute"
    sleep 0.5
  done
  if [ ! -e "$kept" ]; then
    install -d -m 0755 /var/lib/watchpost
    install -m 0600 /dev/null "$kept.new"
    remember >"$kept.new"
    mv "$kept.new" "$kept"
  fi
  # By standard input: a command line can be read by everybody on the machine.
  as_root <<<"${sql//:password/$password}"
  read_as_the_agent
  as_root -e 'SELECT VERSION()'
  ;;
remove)
  [ -e "$kept" ] || exit 0
  { echo "DROP USER IF EXISTS $user;" && cat "$kept"; } | as_root
  rm "$kept"
  rmdir --ignore-fail-on-non-empty /var/lib/watchpost
  ;;
esac
