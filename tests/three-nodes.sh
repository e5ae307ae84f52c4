#!/usr/bin/env bash
# Three nodes on this machine: three-nodes.sh start | failover | stop. They are controllers and brokers in one, listen on
# localhost:9092, 9094 and 9096, and keep data, logs and settings in ./millrace-cluster.
# `failover` writes numbered records with kcat, kills the node that leads the most partitions with kill -9 in the middle,
# and counts what can be read afterwards.
set -euo pipefail
BIN=${BIN:-target/release}
DIR=${DIR:-millrace-cluster}
PORT=${PORT:-9092}
RECORDS=${RECORDS:-100000}

port() { echo $((PORT + 2 * ($1 - 1))); }
brokers() { echo "localhost:$(port 1),localhost:$(port 2),localhost:$(port 3)"; }
running() { [ -e "$DIR/$1.pid" ] && kill -0 "$(cat "$DIR/$1.pid")" 2> /dev/null; }
ask() { "$BIN/millrace" --bootstrap-server "$(brokers)" "$@"; }

settings() {
  cat << END
node.id=$1
process.roles=broker,controller
listeners=PLAINTEXT://localhost:$(port "$1"),CONTROLLER://localhost:$(($(port "$1") + 1))
controller.listener.names=CONTROLLER
controller.quorum.voters=1@localhost:$(($(port 1) + 1)),2@localhost:$(($(port 2) + 1)),3@localhost:$(($(port 3) + 1))
log.dirs=$DIR/data-$1
default.replication.factor=3
min.insync.replicas=2
num.partitions=6
END
}

start_node() {
  running "$1" && return
  settings "$1" > "$DIR/$1.properties"
  nohup "$BIN/millrace-broker" "$DIR/$1.properties" > "$DIR/$1.ready" 2>> "$DIR/$1.log" < /dev/null &
  echo $! > "$DIR/$1.pid"
}

wait_ready() {
  for _ in $(seq 300); do
    grep -q ready "$DIR/$1.ready" && return
    running "$1" || { tail -n 5 "$DIR/$1.log" >&2; exit 1; }
    sleep 0.1
  done
  echo "node $1 is not ready after 30 s, see $DIR/$1.log" >&2
  exit 1
}

start() {
  mkdir -p "$DIR"
  for n in 1 2 3; do start_node "$n"; done
  for n in 1 2 3; do wait_ready "$n"; cat "$DIR/$n.ready"; done
}

# The number of the node that leads the most partitions of a topic.
leader() { kcat -b "$(brokers)" -L -t "$1" | sed -n 's/.* leader \([0-9]*\),.*/\1/p' | sort | uniq -c | sort -rn | awk 'NR == 1 { print $2 }'; }

failover() {
  command -v kcat > /dev/null || { echo "kcat is needed: make deps" >&2; exit 1; }
  local topic victim written read different
  topic=failover-$(date +%s)
  ask topics create "$topic" --partitions 6 > /dev/null
  ask topics describe "$topic"
  victim=$(leader "$topic")
  echo "writing $RECORDS records, acks=all"
  # Every line is a record; kcat ends with an error if one of them was not acknowledged.
  seq "$RECORDS" | awk '{ print } NR % 100 == 0 { fflush(); system("sleep 0.005") }' |
    kcat -b "$(brokers)" -t "$topic" -P -X acks=all -X enable.idempotence=true -X linger.ms=5 2> "$DIR/kcat.log" &
  local writer=$!
  sleep 3
  echo "kill -9 of node $victim, which leads the most partitions"
  kill -9 "$(cat "$DIR/$victim.pid")"
  wait "$writer" || { tail -n 5 "$DIR/kcat.log" >&2; echo "kcat could not write everything" >&2; exit 1; }
  ask topics describe "$topic"
  start_node "$victim"
  wait_ready "$victim"
  echo "node $victim is back"
  kcat -b "$(brokers)" -t "$topic" -C -o beginning -e -q > "$DIR/read"
  read=$(wc -l < "$DIR/read") different=$(sort -u "$DIR/read" | wc -l)
  written=$RECORDS
  echo "acknowledged $written, read $read, of which $different different: lost $((written - different)), twice $((read - different))"
  [ "$written" = "$different" ] && [ "$read" = "$different" ]
}

stop() {
  for n in 1 2 3; do if running "$n"; then kill "$(cat "$DIR/$n.pid")"; fi; done
  for n in 1 2 3; do while running "$n"; do sleep 0.05; done; rm -f "$DIR/$n.pid"; done
  echo "stopped; the data is in $DIR"
}

case ${1:-} in
  start | failover | stop) "$1" ;;
  *) echo "three-nodes.sh start | failover | stop" >&2; exit 2 ;;
esac
