#!/usr/bin/env bash
# A SLURM of two nodes on this machine, below FOLDER, for root:  slurm.sh start FOLDER | stop FOLDER
# Needs Debian's slurm-wlm slurmdbd munge mariadb-server-core. Afterwards: export SLURM_CONF=FOLDER/slurm.conf
# Each node has two cores, 4 GB and two cards, which are plain files. A requeued job waits 30 s, not 2 minutes.
set -euo pipefail
verb=$1 folder=$2

stop() {
    for pid in "$folder"/*.pid; do
        [ -f "$pid" ] && kill "$(cat "$pid")" 2>/dev/null || true
    done
}

wait_for() {  # at most 30 s
    for _ in $(seq 150); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    echo "slurm.sh: this never came true: $*" >&2
    return 1
}

start() {
    mkdir -p "$folder"/{state,database,spool-one,spool-two}
    folder=$(cd "$folder" && pwd)
    touch "$folder"/card{0,1}
    dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 status=none
    chmod 600 "$folder/munge.key"
    chmod 755 "$folder"
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"

    # What mariadb-install-db does, which needs a program of mariadb-client.
    { printf "CREATE DATABASE mysql;\nUSE mysql;\n" && cat /usr/share/mysql/mysql_system_tables.sql; } |
        mariadbd --user=root --datadir="$folder/database" --bootstrap >"$folder/mariadb.log" 2>&1
    setsid mariadbd --user=root --datadir="$folder/database" --socket="$folder/mariadb.socket" --skip-networking \
        --pid-file="$folder/mariadb.pid" --skip-grant-tables >>"$folder/mariadb.log" 2>&1 &
    wait_for test -S "$folder/mariadb.socket"

    cat >"$folder/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
DbdHost=localhost
DbdPort=16819
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
LogFile=$folder/slurmdbd.log
PidFile=$folder/slurmdbd.pid
CONF
    chmod 600 "$folder/slurmdbd.conf"
    cat >"$folder/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=localhost
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=30
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmctldPidFile=$folder/slurmctld.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdPidFile=$folder/%n.pid
SlurmdLogFile=$folder/%n.log
SlurmdSpoolDir=$folder/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=16819
AccountingStoragePass=$folder/munge.socket
GresTypes=gpu
NodeName=one NodeHostname=$(hostname) NodeAddr=localhost Port=17001 CPUs=2 RealMemory=4000 Gres=gpu:2
NodeName=two NodeHostname=$(hostname) NodeAddr=localhost Port=17002 CPUs=2 RealMemory=4000 Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    echo "Name=gpu File=$folder/card[0-1]" >"$folder/gres.conf"
    export SLURM_CONF=$folder/slurm.conf
    export MYSQL_UNIX_PORT=$folder/mariadb.socket
    (cd "$folder" && slurmdbd)
    wait_for sacctmgr -i list cluster
    slurmctld -c
    slurmd -N one
    slurmd -N two
    wait_for bash -c 'test "$(sinfo --noheader --Node --states=idle --format=%N | sort -u | wc -l)" = 2'
}

"$verb"
