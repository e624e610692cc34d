#!/usr/bin/env bash
# Runs clients that others wrote, and Kafka's own tools and broker, against three processes of examples/node: real sockets, real files. Once plain, once with
# TLS and SCRAM. One line a check; the last line counts. Exits non-zero if a check failed, 0 if what could be checked passed; what could not be
# installed is said loudly.
#
#	interop/foreign/run.sh [-k] [CLIENT…]
#
# Clients: franz-go sarama kafka-go java tools confluent-go kafkajs confluent-js kcat storage; all if none is named. -k keeps the work directory (logs, data, output).
# MODES (plain secure) narrows the runs, NODE is a binary of examples/node to use instead of a fresh one. RESULTS is a file that gets a line for each
# check; PROOF one (interop/proof.tsv) where the lines of clients that failed no check are made anew: which APIs they used, in which versions. Downloads and builds are kept in ${XDG_CACHE_HOME:-~/.cache}/insync-interop. Needs Go, and openssl for secure; what a client needs beyond that is told when it is missing.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
export CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/insync-interop
mkdir -p "$CACHE"
WORK=$(mktemp -d "${TMPDIR:-/tmp}/insync-foreign.XXXXXX")
export WORK HERE=$here
keep=
if [ "${1-}" = -k ]; then keep=1; shift; fi
clients=("$@")
[ ${#clients[@]} -gt 0 ] || clients=(franz-go sarama kafka-go java tools confluent-go kafkajs confluent-js kcat storage)

passed=0 failed=0 skipped=0
results=$WORK/results.tsv
# line CLIENT VERSION MODE CHECK RESULT REASON
line() {
	case $5 in pass) passed=$((passed + 1)) ;; skipped) skipped=$((skipped + 1)) ;; *) failed=$((failed + 1)) ;; esac
	printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$@" >>"$results"
	local shown=$5
	[ "$5" = pass ] || shown=${5^^}
	printf '%-13s %-9s %-6s %-17s %-7s %s\n' "$1" "$2" "$3" "$4" "$shown" "$6"
}

end() {
	for d in "$WORK"/cluster-*; do
		[ -d "$d" ] || continue
		for n in 1 2 3; do CLUSTER=$d "$here/ctl.sh" kill $n 2>/dev/null; done
	done
	if [ -n "$keep" ]; then echo "kept: $WORK"; else rm -rf "$WORK"; fi
}
trap end EXIT
trap 'exit 130' INT TERM

if [ -n "${NODE-}" ]; then cp "$NODE" "$WORK/node"; else (cd "$repo" && go build -o "$WORK/node" ./examples/node); fi || { echo "examples/node does not build" >&2; exit 1; }
export NODE=$WORK/node

# free_ports N prints N ports on which nothing listens.
free_ports() {
	local p n=0
	while [ $n -lt "$1" ]; do
		p=$((20000 + RANDOM % 12000))
		(: </dev/tcp/127.0.0.1/$p) 2>/dev/null && continue
		echo $p
		n=$((n + 1))
	done
}

certificates() {
	cd "$WORK" || exit 1
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node -keyout node.key -out node.csr
	printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n' >ext
	openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out node.pem
}

# start_cluster MODE starts three nodes and exports what clients need to know.
start_cluster() {
	export MODE=$1 CLUSTER=$WORK/cluster-$1 CTL=$here/ctl.sh
	mkdir "$CLUSTER"
	local p i voters=
	mapfile -t p < <(free_ports 3)
	for i in 0 1 2; do voters+=${voters:+,}$((i + 1))@127.0.0.1:${p[i]}; done
	BOOTSTRAP=127.0.0.1:${p[0]},127.0.0.1:${p[1]},127.0.0.1:${p[2]}
	export BOOTSTRAP CA=$WORK/ca.pem SASL_USER=admin SASL_PASSWORD=admin-secret
	for i in 0 1 2; do
		printf '%s\n' -id $((i + 1)) -dir "$CLUSTER/data$((i + 1))" -listen "127.0.0.1:${p[i]}" -voters "$voters" -debug >"$CLUSTER/$((i + 1)).args"
		if [ "$MODE" = secure ]; then
			printf '%s\n' -users "$WORK/users" -peer-secret "$WORK/secret" -super admin -tls-cert "$WORK/node.pem" -tls-key "$WORK/node.key" -tls-roots "$WORK/ca.pem" >>"$CLUSTER/$((i + 1)).args"
		fi
	done
	for i in 1 2 3; do "$CTL" start $i & done
	wait
	for i in 1 2 3; do grep -q ready "$CLUSTER/$i.out" || { echo "node $i did not start: $(tail -n 5 "$CLUSTER/$i.log")" >&2; exit 1; }; done
}

# stop_cluster ends nodes in order, except the last one, which alone could hand nothing over and would wait 30 s for it.
stop_cluster() {
	"$CTL" stop 1
	"$CTL" stop 2
	"$CTL" kill 3
}

# The checks that each client must report, so that a client which ends early does not look as if it had passed.
codecs="codec-none codec-gzip codec-snappy codec-lz4 codec-zstd"
records="headers tombstones timestamps idempotent"
groups="group-classic group-kip848 committed"
admin="metadata-all admin-topics admin-partitions admin-configs admin-groups admin-cluster"
logins="login-right login-wrong"
declare -A checks=(
	[franz-go]="$codecs $records $groups $admin admin-records admin-access $logins leader-crash transactions"
	[sarama]="$codecs $records $groups $admin admin-records admin-access $logins leader-crash transactions"
	[kafka-go]="$codecs $records $groups $admin admin-records admin-access $logins leader-crash transactions"
	[java]="$codecs $records $groups $admin admin-records admin-access $logins leader-crash transactions"
	[tools]="$codecs headers tombstones timestamps verifiable group-classic group-kip848 committed $admin admin-records admin-access admin-users $logins leader-crash"
	[confluent-go]="$codecs $records $groups $admin admin-records admin-access $logins leader-crash transactions"
	[kafkajs]="$codecs $records $groups $admin admin-records admin-access $logins leader-crash transactions"
	[confluent-js]="$codecs $records $groups $admin admin-records admin-access $logins leader-crash transactions"
	[kcat]="$codecs $records $groups metadata-all $logins leader-crash"
	[storage]="dump-log dump-index dump-timeindex dump-snapshot dump-offsets insync-to-kafka kafka-to-insync"
)

# check CLIENT runs its checks; its command prints lines "VERSION v" and "CHECK name result reason", separated by tabs.
check() {
	local client=$1 version=- out=$WORK/$1-$MODE.out err=$WORK/$1-$MODE.err kind a b c left=" ${checks[$1]} " i at=()
	shift
	for i in 1 2 3; do at[i]=$(($(stat -c %s "$CLUSTER/$i.log") + 1)); done
	while IFS=$'\t' read -r kind a b c; do
		case $kind in
		VERSION) version=$a ;;
		CHECK)
			line "$client" "$version" "$MODE" "$a" "$b" "$c"
			left=${left/ $a / }
			;;
		esac
	done < <(timeout -k 5 "${LIMIT:-240}" "$@" 2>"$err" | tee "$out")
	for a in $left; do line "$client" "$version" "$MODE" "$a" fail "not reported: $(tail -n 1 "$err" | tr '\t\n' '  ')"; done
	for i in 1 2 3; do tail -c "+${at[i]}" "$CLUSTER/$i.log" | used "$client" >>"$WORK/used.tsv"; done
}

# used CLIENT reads a node's log and prints which APIs a client used: client, key, version. What nodes ask each other is left out, and who only makes kcat's topics.
used() {
	sed -nE 's/.* msg="api used" .* software=([^ ]*) version=[^ ]* key=([0-9]+) name=[^ ]* api=([0-9]+)$/\1\t\2\t\3/p' |
		awk -F'\t' -v OFS='\t' -v client="$1" '$1 != "insync" && !(client == "kcat" && $1 == "confluent-kafka-go") { print client, $2, $3 }' | sort -u
}

# prove FILE writes there which APIs the clients used that passed, in the place of what it said of them: key, client, versions. Clients that the Go tests of interop run, too, have the lines of both.
prove() {
	local c good=' ' both=' franz-go sarama kafka-go '
	for c in "${clients[@]}"; do
		if grep -q "^$c	.*	pass	" "$results" && ! grep -q "^$c	.*	fail	" "$results"; then good+="$c "; fi
	done
	{
		[ ! -f "$1" ] || awk -F'\t' -v OFS='\t' -v good="$good" -v both="$both" '!index(good, " " $2 " ") || index(both, " " $2 " ") { n = split($3, v, ","); for (i = 1; i <= n; i++) print $2, $1, v[i] }' "$1"
		awk -F'\t' -v good="$good" 'index(good, " " $1 " ")' "$WORK/used.tsv"
	} | sort -u -t'	' -k2,2n -k1,1 -k3,3n |
		awk -F'\t' -v OFS='\t' '{ k = $2 OFS $1; if (k in v) v[k] = v[k] "," $3; else v[k] = $3 } END { for (k in v) print k, v[k] }' |
		LC_ALL=C sort -t'	' -k1,1n -k2,2 >"$WORK/proof.tsv" && cp "$WORK/proof.tsv" "$1"
}

# skip CLIENT REASON
skip() {
	printf '\n*** SKIPPED: %s: %s\n\n' "$1" "$2"
	local a
	for a in ${checks[$1]}; do line "$1" - "$MODE" "$a" skipped "$2"; done
}

for c in "${clients[@]}"; do
	[ -n "${checks[$c]-}" ] || { echo "run.sh: no client $c" >&2; exit 2; }
done
declare -A missing
source "$here/install.sh"
for c in "${clients[@]}"; do
	why=$("install_$c" 2>&1 >"$WORK/install-$c.log") || missing[$c]="${why##*$'\n'}"
done

printf 'admin admin-secret\nalice wonderland\n' >"$WORK/users"
printf 'nodes know each other by this' >"$WORK/secret"
chmod 600 "$WORK/users" "$WORK/secret"
for mode in ${MODES:-plain secure}; do
	if [ $mode = secure ]; then
		(certificates) >"$WORK/openssl.log" 2>&1 && chmod 600 "$WORK/node.key" || { echo "openssl: $(tail -n 1 "$WORK/openssl.log")" >&2; exit 1; }
	fi
	start_cluster $mode
	for c in "${clients[@]}"; do
		[ $c = storage ] && [ $mode = secure ] && continue # files are the same
		if [ -n "${missing[$c]-}" ]; then skip "$c" "${missing[$c]}"; continue; fi
		"run_$c"
	done
	stop_cluster
done
[ -z "${RESULTS-}" ] || cp "$results" "$RESULTS"
[ -z "${PROOF-}" ] || prove "$PROOF"
printf '\n%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed = 0 ]
