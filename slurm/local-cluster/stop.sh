#!/usr/bin/env bash
# Stop the SLURM that start.sh started, and nothing else; --purge: remove its state folder too.
# MTP_SLURM_STATE names the folder, as for start.sh.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"

gone() { # gone PID: ended, or waiting for a parent that does not care
  [ ! -d "/proc/$1" ] || grep -qs '^State:.Z' "/proc/$1/status"
}

end() { # end SECONDS PID...: TERM, and KILL for what is still there after that long
  local deadline=$((SECONDS + $1)) pid
  shift
  kill "$@" 2>/dev/null
  for pid; do
    until gone "$pid"; do
      [ $SECONDS -lt $deadline ] || kill -KILL "$pid" 2>/dev/null
      sleep 0.05
    done
  done
}

having() { # having LINE: the pids with exactly that variable
  local folder
  for folder in /proc/[0-9]*; do
    if has_environment "${folder#/proc/}" "$1"; then echo "${folder#/proc/}"; fi
  done
}

job_processes() { # SLURMD_NODENAME is what tells a job from a shell that sourced env.sh
  local pid
  for pid in $(having "SLURM_CONF=$SLURM_CONF"); do
    if { tr '\0' '\n' <"/proc/$pid/environ" | grep -q ^SLURMD_NODENAME=; } 2>/dev/null; then
      echo "$pid"
    fi
  done
}

end_jobs() { # the controller does it best; where it cannot, by force
  local deadline=$((SECONDS + 15)) jobs
  if alive slurmctld; then
    jobs=$(timeout 5 squeue -h -o %F 2>/dev/null | sort -u)
    # Cancelled first, so that none starts again; then killed, since TERM is ignored for KillWait.
    # shellcheck disable=SC2086  # a list of numbers, as below
    [ -z "$jobs" ] || timeout 20 scancel $jobs 2>/dev/null
    # shellcheck disable=SC2046
    kill -KILL $(job_processes) 2>/dev/null
    while [ $SECONDS -lt $deadline ] && [ -n "$(timeout 5 squeue -h 2>/dev/null)" ]; do sleep 0.1; done
  fi
  # shellcheck disable=SC2046
  kill -KILL $(job_processes) 2>/dev/null
}

[ -d "$STATE" ] || { say "nothing at $STATE"; exit 0; }
[ -e "$STATE/lock" ] || { say "$STATE is not start.sh's: left alone" >&2; exit 1; }
[ -O "$STATE" ] || { say "$STATE belongs to another: left alone" >&2; exit 1; }
exec 9>"$STATE/lock"
flock -w 120 9 || { say "a start.sh holds $STATE/lock" >&2; exit 1; }

end_jobs
for file in "$STATE"/run/slurmd-*.pid; do
  if pid=$(pid_of "$(basename "$file" .pid)"); then end 10 "$pid"; fi
done
# One after another: each needs the next to end well.
for name in slurmctld slurmdbd mariadbd munged; do
  if pid=$(pid_of "$name"); then end 20 "$pid"; fi
done
# What is left carries our mark: slurmstepd, or a daemon without a pid file.
read -ra left <<<"$(having "$MARK" | xargs)"
[ ${#left[@]} = 0 ] || end 5 "${left[@]}"

for folder in "$STATE"/spool/n*; do # empty cgroups of our nodes
  for group in /sys/fs/cgroup/*/"slurm_${folder##*/}"; do
    [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
  done
done
if [ -s "$STATE/etc/hosts" ] && grep -qxF -f "$STATE/etc/hosts" /etc/hosts; then
  others=$(grep -vxF -f "$STATE/etc/hosts" /etc/hosts)
  printf '%s\n' "$others" >/etc/hosts # in place: it may be a mount
fi
[ "${1:-}" != --purge ] || rm -rf "$STATE"
say "stopped"
