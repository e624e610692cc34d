#!/usr/bin/env bash
# Starts and ends the nodes of the cluster under test: ctl.sh start|kill|stop NODE. Who runs it sets CLUSTER (a directory with the node binary and
# its arguments, one file a node). kill is kill -9; stop is SIGTERM and waits for the end; start returns when the node says that it is ready.
set -euo pipefail
what=$1 n=$2
cd "$CLUSTER"
pid() { cat "$n.pid" 2>/dev/null || true; }
gone() { # waits until the process is no more; it is nobody's child here
	for _ in $(seq 600); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.05; done
	echo "node $n, process $1: still there after 30 s" >&2
	return 1
}
case $what in
start)
	if [ -n "$(pid)" ] && kill -0 "$(pid)" 2>/dev/null; then
		echo "node $n runs" >&2
		exit 1
	fi
	mapfile -t args <"$n.args"
	: >"$n.out"
	setsid "$NODE" "${args[@]}" >"$n.out" 2>>"$n.log" </dev/null &
	echo $! >"$n.pid"
	disown
	for _ in $(seq 600); do
		grep -q ready "$n.out" && exit 0
		kill -0 "$(pid)" 2>/dev/null || { echo "node $n ended: $(tail -n 3 "$n.log")" >&2; exit 1; }
		sleep 0.1
	done
	echo "node $n is not ready after 60 s" >&2
	exit 1
	;;
kill) p=$(pid); [ -z "$p" ] || ! kill -9 "$p" || gone "$p" ;;
stop) p=$(pid); [ -z "$p" ] || ! kill -TERM "$p" 2>/dev/null || gone "$p" ;;
*) echo "ctl.sh: $what?" >&2; exit 2 ;;
esac
