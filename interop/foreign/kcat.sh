#!/usr/bin/env bash
# Checks kcat against the cluster in BOOTSTRAP; run.sh calls it.
set -uo pipefail
source "$HERE/lib.sh"
run=kcat-$RANDOM
auth() { # USER PASSWORD MECHANISM
	[ "$MODE" = secure ] && printf '%s\n' -X security.protocol=sasl_ssl -X "ssl.ca.location=$CA" -X "sasl.mechanisms=$3" -X "sasl.username=$1" -X "sasl.password=$2"
}
mapfile -t with < <(auth "$SASL_USER" "$SASL_PASSWORD" SCRAM-SHA-512)
k() { timeout 60 kcat -b "$BOOTSTRAP" "${with[@]}" "$@"; }
create() { "$WORK/confluent-go" create "$1" "$2" >/dev/null || fail "topic $1 cannot be made"; } # kcat itself makes none
consume() { k -C -e -q -o beginning "$@"; }
secure_only() { [ "$MODE" = secure ] || skip "logins are off"; }

codec() {
	create $run-$1 1
	seq 1000 | k -P -t $run-$1 -z $1 -X acks=all || fail "not produced"
	same "$(consume -t $run-$1)" "$(seq 1000)"
	echo "1000 records"
}
headers() {
	create $run-headers 1
	echo v | k -P -t $run-headers -H a=1 -H a=2 -H b=3
	same "$(consume -t $run-headers -f '%h %s')" "a=1,a=2,b=3 v"
}
tombstones() {
	create $run-null 1
	printf 'k:\n' | k -P -t $run-null -K : -Z
	same "$(consume -t $run-null -f '%k %S')" "k -1"
}
timestamps() {
	local t=$run-time at
	create $t 1
	seq 10 | k -P -t $t
	sleep 0.2
	at=$(date +%s%3N)
	sleep 0.2
	seq 11 20 | k -P -t $t
	same "$(k -Q -t $t:0:$at)" "$t [0] offset 10"
	same "$(k -C -e -q -t $t -p 0 -o s@$at)" "$(seq 11 20)"
	[ "$(consume -t $t -c 1 -f %T)" -le "$at" ] || fail "the first record's timestamp is late"
}
idempotent() {
	create $run-idempotent 1
	seq 20000 | k -P -t $run-idempotent -X enable.idempotence=true -X batch.num.messages=50 || fail "not produced"
	same "$(consume -t $run-idempotent)" "$(seq 20000)"
	echo "20000 records in order"
}
group() {
	local t=$run-group a b
	create $t 4
	for p in 0 1 2 3; do seq $p 4 399 | k -P -t $t -p $p; done
	kcat -b "$BOOTSTRAP" "${with[@]}" -u -G $t -X auto.offset.reset=earliest -X auto.commit.interval.ms=200 $t >"$WORK/$t.1" 2>"$WORK/$t.err1" &
	a=$!
	kcat -b "$BOOTSTRAP" "${with[@]}" -u -G $t -X auto.offset.reset=earliest -X auto.commit.interval.ms=200 $t >"$WORK/$t.2" 2>"$WORK/$t.err2" &
	b=$!
	two() { for n in 1 2; do tail -n 1 "$WORK/$t.err$n" | grep -q "assigned: $t \[[0-9]\], $t \[[0-9]\]$" || return 1; done; }
	until_ok 40 two
	all() { [ "$(sort -nu "$WORK/$t".[12] | wc -l)" = $1 ]; }
	until_ok 20 all 400
	kill -TERM $b
	wait $b
	four() { tail -n 1 "$WORK/$t.err1" | grep -qE "assigned: .*, .*, .*, "; }
	until_ok 40 four
	seq 400 499 | k -P -t $t
	until_ok 20 all 500
	kill -TERM $a
	wait $a
	echo "500 records, two members"
}
committed() { # of the group before
	seq 500 509 | k -P -t $run-group
	same "$(k -G $run-group -q -e $run-group 2>/dev/null | sort -n)" "$(seq 500 509)"
}
metadata_all() {
	create $run-all 1
	has "$(k -L)" "topic \"$run-all\""
	has "$(k -L)" '3 brokers'
}
login_right() {
	secure_only
	local m
	for m in SCRAM-SHA-256 SCRAM-SHA-512 PLAIN; do
		mapfile -t with < <(auth "$SASL_USER" "$SASL_PASSWORD" $m)
		has "$(k -L)" '3 brokers'
	done
	echo "SCRAM-SHA-256, SCRAM-SHA-512, PLAIN"
}
login_wrong() {
	secure_only
	local m
	for m in SCRAM-SHA-256 SCRAM-SHA-512 PLAIN; do
		mapfile -t with < <(auth "$SASL_USER" wrong $m)
		has "$(k -L -m 3 2>&1)" 'Authentication failed|authentication failed'
	done
}
leader_crash() {
	local t=$run-crash leader p
	create $t 1
	leader=$(k -L -t $t | grep -oE 'leader [0-9]' | cut -d' ' -f2)
	(seq 5000; until [ -e "$WORK/$t.killed" ]; do sleep 0.05; done; seq 5001 10000) | k -P -t $t -X enable.idempotence=true -X batch.num.messages=50 -X linger.ms=0 -X topic.metadata.refresh.interval.ms=1000 2>"$WORK/$t.err" &
	p=$!
	some() { [ "$(k -Q -t $t:0:-1 | grep -oE '[0-9]+$')" -gt 1000 ]; }
	until_ok 20 some
	"$CTL" kill $leader || fail "not killed"
	touch "$WORK/$t.killed"
	wait $p || fail "kcat: $(tail -n 1 "$WORK/$t.err")"
	same "$(consume -t $t)" "$(seq 10000)"
	"$CTL" start $leader || fail "not started again"
	synced() { k -L -t $t | grep -qE 'isrs: [123],[123],[123]'; }
	until_ok 30 synced
	echo "10000 acknowledged, none missing, none twice, in order"
}

printf 'VERSION\t%s\n' "$(kcat -V | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | paste -sd/)"
for c in none gzip snappy lz4 zstd; do check codec-$c codec $c; done
check headers headers
check tombstones tombstones
check timestamps timestamps
check idempotent idempotent
check group-classic group
check group-kip848 skip "this librdkafka is older than the protocol"
check committed committed
check metadata-all metadata_all
check login-right login_right
check login-wrong login_wrong
check leader-crash leader_crash
