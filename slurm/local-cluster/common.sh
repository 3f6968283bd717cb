# What start.sh and stop.sh share: where the state is, and which processes are ours.
# shellcheck shell=bash
PATH=$PATH:/usr/sbin:/sbin
STATE=${MTP_SLURM_STATE:-${TMPDIR:-/tmp}/mtp-bench-slurm-$(id -u)}
case $STATE in /*) ;; *) STATE=$PWD/$STATE ;; esac
export SLURM_CONF=$STATE/etc/slurm.conf
# Every daemon carries this in its environment, so that a pid used again by another is never ours.
MARK=MTP_SLURM_DAEMON=$STATE

say() { echo "local-cluster: $*"; }

has_environment() { # has_environment PID LINE: exactly LINE is a variable of that process
  { tr '\0' '\n' <"/proc/$1/environ" | grep -qxF -- "$2"; } 2>/dev/null
}

pid_of() { # pid_of NAME: the pid of our running daemon (a zombie has no environment)
  local pid=
  read -r pid 2>/dev/null <"$STATE/run/$1.pid" || [ -n "$pid" ] || return 1
  has_environment "$pid" "$MARK" && echo "$pid"
}

alive() { pid_of "$1" >/dev/null; }
