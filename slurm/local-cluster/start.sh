#!/usr/bin/env bash
# A real SLURM on this machine, without systemd: nodes with fake GPUs, partitions, accounting.
#
#   start.sh                  start what is not running, resume the nodes, wait until all are usable
#   . "$(start.sh --env)"     SLURM_CONF, which every SLURM command needs
#   stop.sh [--purge]         stop what start.sh started; --purge: and remove the state folder
#
# Exit codes: 0 ready; 3 cannot be had on this machine (one line on stderr); 1 anything else.
#
#   MTP_SLURM_STATE           folder for everything: ${TMPDIR:-/tmp}/mtp-bench-slurm-<uid>
# Used when nothing of the cluster runs yet (else it keeps what it was started with):
#   MTP_SLURM_NODES=4         nodes n1 to nN
#   MTP_SLURM_CPUS=8          CPUs of a node; it may claim more than the machine has
#   MTP_SLURM_MEMORY=6000     megabytes of a node, likewise
#   MTP_SLURM_GPUS=4          fake GPUs of a node (links to /dev/null)
#   MTP_SLURM_PORT=21800      controller; slurmdbd is one up, node k is 10 + k up; loopback only
#   MTP_SLURM_ACCOUNTING=dbd  dbd: MariaDB and slurmdbd; none: no sacct
#   MTP_SLURM_CGROUP=auto     auto: memory limits by cgroup v1 where it can be used; no: never
#   MTP_SLURM_MIN_JOB_AGE=300 seconds that the controller remembers a job that ended
#   MTP_SLURM_MAX_ARRAY=1001  MaxArraySize
#   MTP_SLURM_EXTRA=          lines for slurm.conf that win over those below
set -Eeuo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"

die() { say "$*" >&2; exit 1; }
cannot() { say "$*" >&2; exit 3; }
trap 'die "line $LINENO of start.sh failed; logs in $STATE/log"' ERR

NODES=${MTP_SLURM_NODES:-4}
CPUS=${MTP_SLURM_CPUS:-8}
MEMORY=${MTP_SLURM_MEMORY:-6000}
GPUS=${MTP_SLURM_GPUS:-4}
PORT=${MTP_SLURM_PORT:-21800}
ACCOUNTING=${MTP_SLURM_ACCOUNTING:-dbd}
CGROUP=${MTP_SLURM_CGROUP:-auto}
MIN_JOB_AGE=${MTP_SLURM_MIN_JOB_AGE:-300}
MAX_ARRAY=${MTP_SLURM_MAX_ARRAY:-1001}
EXTRA=${MTP_SLURM_EXTRA:-}

missing_packages() {
  local pair wanted=(munged:munge slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client)
  [ "$ACCOUNTING" = none ] || wanted+=(slurmdbd:slurmdbd mariadbd:mariadb-server)
  for pair in "${wanted[@]}"; do
    command -v "${pair%:*}" >/dev/null || echo "${pair#*:}"
  done
}

install_packages() {
  local missing policy=/usr/sbin/policy-rc.d
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null ||
    cannot "no apt-get here to install ${missing[*]}: install SLURM and munge by hand, then again"
  say "installing ${missing[*]} with apt-get"
  # The packages would start their daemons; this file tells them not to.
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt install --no-install-recommends "${missing[@]}" ||
    { apt update && apt install --no-install-recommends "${missing[@]}"; } ||
    cannot "apt-get install ${missing[*]} failed (log: $STATE/log/apt.log): install them by hand"
  say "installed after $SECONDS s"
}

apt() { # apt ARGUMENT...: apt-get without questions, into a log
  DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" >>"$STATE/log/apt.log" 2>&1 </dev/null 9>&-
}

any_alive() {
  local file
  for file in "$STATE"/run/*.pid; do
    if alive "$(basename "$file" .pid)"; then return 0; fi
  done
  return 1
}

check_ports() {
  local port
  for port in "$PORT" $((PORT + 1)) $(seq $((PORT + 11)) $((PORT + 10 + NODES))); do
    if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      die "port $port is taken: name another start with MTP_SLURM_PORT"
    fi
  done
}

add_host_names() { # a worker's MASTER_ADDR is the name of a node
  local line=$STATE/etc/hosts
  echo "127.0.0.1 ${NODE_NAMES[*]} # $STATE" >"$line"
  grep -qxF -f "$line" /etc/hosts || cat "$line" >>/etc/hosts
}

cgroup_v1_works() {
  local kind
  for kind in memory freezer; do
    mkdir "/sys/fs/cgroup/$kind/mtp-bench-$$" 2>/dev/null || return 1
    rmdir "/sys/fs/cgroup/$kind/mtp-bench-$$"
  done
}

write_slurm_conf() {
  local host gpus="" node number=0 memory_limits accounting
  host=$(hostname -s)
  [ "$GPUS" = 0 ] || gpus=" Gres=gpu:$GPUS"
  memory_limits="ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherParams=OverMemoryKill"
  if [ "$CGROUP" = auto ] && cgroup_v1_works; then
    memory_limits="ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup"
  fi
  accounting="AccountingStorageType=accounting_storage/none"
  # AccountingStoragePass is not a password here, it is the munge socket for slurmdbd.
  [ "$ACCOUNTING" = none ] || accounting="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$STATE/run/munge.sock
AccountingStorageTRES=gres/gpu"
  # cred_expire: a requeued job may start again after this long (SLURM: 120 s).
  # FirstJobId: from the clock, so that a fresh cluster does not give old ids out again.
  # config_overrides: a node may claim more than the machine has.
  # ReturnToService=1: a node that fell silent comes back by itself, one set down does not.
  cat <<CONF
ClusterName=mtpbench
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$PORT
AuthType=auth/munge
AuthInfo=socket=$STATE/run/munge.sock,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$STATE/spool/controller
SlurmdSpoolDir=$STATE/spool/%n
SlurmctldPidFile=$STATE/run/slurmctld.pid
SlurmdPidFile=$STATE/run/slurmd-%n.pid
SlurmctldLogFile=$STATE/log/slurmctld.log
SlurmdLogFile=$STATE/log/slurmd-%n.log
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MpiDefault=none
SwitchType=switch/none
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
ReturnToService=1
SlurmctldTimeout=30
SlurmdTimeout=20
KillWait=10
OverTimeLimit=0
InactiveLimit=0
MinJobAge=$MIN_JOB_AGE
JobRequeue=1
FirstJobId=$(($(date +%s) / 10 % 600000 * 100 + 1))
MaxJobCount=20000
MaxArraySize=$MAX_ARRAY
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2,default_queue_depth=1000,max_array_tasks=1000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=256
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
GresTypes=gpu
$memory_limits
$accounting
CONF
  for node in "${NODE_NAMES[@]}"; do
    number=$((number + 1))
    echo "NodeName=$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((PORT + 10 + number))" \
      "CPUs=$CPUS RealMemory=$MEMORY$gpus State=UNKNOWN"
  done
  cat <<CONF
PartitionName=DEFAULT Nodes=ALL DefaultTime=10 MaxTime=INFINITE State=UP
PartitionName=main Default=YES PriorityTier=5 PreemptMode=OFF
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high PriorityTier=9 PreemptMode=OFF
$EXTRA
CONF
}

write_configuration() {
  local gpu node
  mkdir -p "$STATE"/{etc,dev,spool/controller}
  for node in "${NODE_NAMES[@]}"; do mkdir -p "$STATE/spool/$node"; done
  # munged wants a key that only root reads; slurmdbd wants the same of its configuration.
  [ -s "$STATE/etc/munge.key" ] || (umask 077 && head -c 1024 /dev/urandom >"$STATE/etc/munge.key")
  write_slurm_conf >"$SLURM_CONF"
  # A plain file as a GPU would leave CUDA_VISIBLE_DEVICES empty: it must be a character device.
  : >"$STATE/etc/gres.conf"
  for ((gpu = 0; gpu < GPUS; gpu++)); do
    ln -sfn /dev/null "$STATE/dev/nvidia$gpu"
    echo "Name=gpu File=$STATE/dev/nvidia$gpu" >>"$STATE/etc/gres.conf"
  done
  printf '%s\n' CgroupPlugin=cgroup/v1 CgroupAutomount=no ConstrainRAMSpace=yes \
    >"$STATE/etc/cgroup.conf"
  (umask 077 && cat >"$STATE/etc/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$STATE/run/munge.sock
DbdHost=$(hostname -s)
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
CommunicationParameters=NoInAddrAny
SlurmUser=root
LogFile=$STATE/log/slurmdbd.log
PidFile=$STATE/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
CONF
  )
  echo "export SLURM_CONF='$SLURM_CONF' MTP_SLURM_STATE='$STATE'" >"$STATE/env.sh"
  declare -p NODES ACCOUNTING >"$STATE/etc/started-with"
}

daemon() { # daemon LOG COMMAND...; 9 is the lock, which a daemon would hold for ever
  local log=$STATE/log/$1.out
  shift
  env "$MARK" "$@" >>"$log" 2>&1 </dev/null 9>&- || die "${1##*/} does not start; log: $log"
}

wait_for() { # wait_for SECONDS DAEMON COMMAND...
  local deadline=$((SECONDS + $1)) name=$2
  shift 2
  until timeout 10 "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || die "$name does not answer; logs in $STATE/log"
    sleep 0.1
  done
}

start_munge() {
  alive munged && return
  daemon munged munged --force --key-file="$STATE/etc/munge.key" --socket="$STATE/run/munge.sock" \
    --pid-file="$STATE/run/munged.pid" --log-file="$STATE/log/munged.log" \
    --seed-file="$STATE/run/munge.seed"
  wait_for 10 munged munge -n -S "$STATE/run/munge.sock"
}

start_accounting() {
  local socket=$STATE/run/mysql.sock
  if ! alive mariadbd; then
    if [ ! -e "$STATE/mysql/complete" ]; then
      rm -rf "$STATE/mysql"
      daemon mariadb-install mariadb-install-db --no-defaults --user=root --skip-test-db \
        --datadir="$STATE/mysql" --auth-root-authentication-method=normal \
        --innodb-log-file-size=16M
      touch "$STATE/mysql/complete"
    fi
    daemon mariadbd setsid --fork mariadbd --no-defaults --user=root --datadir="$STATE/mysql" \
      --socket="$socket" --pid-file="$STATE/run/mariadbd.pid" --skip-networking \
      --innodb-buffer-pool-size=64M --innodb-log-file-size=16M \
      --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900
    wait_for 60 mariadbd mariadb --no-defaults -u root -S "$socket" -e 'select 1'
  fi
  alive slurmdbd && return
  daemon slurmdbd env MYSQL_UNIX_PORT="$socket" slurmdbd
  wait_for 60 slurmdbd sacctmgr -n list cluster
}

usable_nodes() { # how many are neither down, drained, unknown nor silent (a star)
  sinfo -h -N -p main -o %T 2>/dev/null | grep -cxE 'idle|mixed|allocated|completing' || true
}

start_nodes() {
  local node deadline=$((SECONDS + 60)) resume_at=$((SECONDS + 1))
  alive slurmctld || daemon slurmctld slurmctld -f "$SLURM_CONF"
  for node in "${NODE_NAMES[@]}"; do
    alive "slurmd-$node" || daemon "slurmd-$node" slurmd -N "$node" -f "$SLURM_CONF"
  done
  wait_for 30 slurmctld scontrol ping
  until [ "$(usable_nodes)" = "$NODES" ]; do
    if [ $SECONDS -ge $resume_at ]; then
      resume_at=$((SECONDS + 2))
      for node in $(sinfo -h -N -p main -t down,drain,fail -o %N); do
        scontrol update nodename="$node" state=resume 2>/dev/null || true
      done
    fi
    [ $SECONDS -lt $deadline ] ||
      die "nodes are $(sinfo -h -p main -o '%N=%T' | xargs) after 60 s; logs in $STATE/log"
    sleep 0.1
  done
}

if [ "${1:-}" = --env ]; then
  echo "$STATE/env.sh"
  exit 0
fi
[ "$(id -u)" = 0 ] || cannot "needs root, since slurmd starts jobs as other users: run it as root"
case $ACCOUNTING in dbd | none) ;; *) die "MTP_SLURM_ACCOUNTING is $ACCOUNTING: use dbd or none" ;; esac
case $CGROUP in auto | no) ;; *) die "MTP_SLURM_CGROUP is $CGROUP: use auto or no" ;; esac

umask 022
mkdir -p "$STATE/log" "$STATE/run"
[ -O "$STATE" ] || die "$STATE belongs to another: name another folder with MTP_SLURM_STATE"
exec 9>"$STATE/lock"
flock -w 120 9 || die "another start.sh holds $STATE/lock"
RUNNING=
if any_alive; then
  RUNNING=yes
  # shellcheck source=/dev/null
  . "$STATE/etc/started-with"
fi
read -ra NODE_NAMES <<<"$(seq -f n%g -s ' ' 1 "$NODES")"
install_packages
if [ -z "$RUNNING" ]; then
  check_ports
  write_configuration
fi
add_host_names
start_munge
[ "$ACCOUNTING" = none ] || start_accounting
start_nodes
say "$NODES nodes ready after $SECONDS s, accounting $ACCOUNTING; now: . $STATE/env.sh"
