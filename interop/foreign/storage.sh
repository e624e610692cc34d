#!/usr/bin/env bash
# Kafka's DumpLogSegments reads what a node wrote, and directories of partitions are handed from insync to Apache Kafka and back; run.sh calls it with a
# plain cluster. What an operator must do for that is in the functions insync_to_kafka and kafka_to_insync.
set -uo pipefail
source "$HERE/lib.sh"
topic=storage-$RANDOM
W=$WORK/storage
mkdir -p "$W"
: >"$WORK/tools-$MODE.properties"
consume() { # TOPIC N
	kafka consumer.ConsoleConsumer --timeout-ms 20000 --topic "$1" --from-beginning --max-messages "$2" 2>/dev/null
}
produce() { kafka ConsoleProducer --topic "$1" --compression-codec "$2" --producer-property enable.idempotence=true --request-required-acks all >/dev/null; }
dump() { tool org.apache.kafka.tools.DumpLogSegments "$@" 2>&1; }
files() { ls "$1"/*."$2" | paste -sd,; }
# Of each segment that does not begin at 0 the tool of 4.4.0 says that offset -1 is followed by its first one.
complaint='isvalid: false|[Mm]ismatch|[Cc]orrupt|Exception|[Ee]rror|^ *[0-9]+ is followed by|not found|out of order'

# Four segments, with each codec, in a topic whose segments end at 1 MiB.
kafka TopicCommand --create --topic $topic --partitions 1 --replication-factor 3 --config segment.bytes=1048576 --config retention.ms=-1 >/dev/null || exit 1
n=0
for c in none gzip snappy lz4 zstd none; do
	seq $((n + 1)) $((n + 50000)) | awk '{print $1, "and some text that makes it longer"}' | tee -a "$W/sent" | produce $topic $c
	n=$((n + 50000))
done
kafka consumer.ConsoleConsumer --topic $topic --group $topic --from-beginning --max-messages 100 >/dev/null 2>&1
"$CTL" stop 1 || exit 1
cp -a "$CLUSTER/data1" "$W/insync"
p=$W/insync/$topic-0

dump_log() {
	local out
	out=$(dump --deep-iteration --print-data-log --files "$(files "$p" log)") || fail "exit $?: $(tail -n 1 <<<"$out")"
	! grep -E "$complaint" <<<"$out" >&3 || exit 1
	same "$(sed -nE 's/.* payload: //p' <<<"$out" | cmp - "$W/sent" 2>&1)" ""
	for c in NONE GZIP SNAPPY LZ4 ZSTD; do has "$out" "compresscodec: ${c,,}|compresscodec: $c"; done
	echo "$(ls "$p"/*.log | wc -l) segments, $n records"
}
dump_index() { # EXTENSION
	local out
	out=$(dump --files "$(files "$p" "$1")") || fail "exit $?: $(tail -n 1 <<<"$out")"
	! grep -E "$complaint" <<<"$out" >&3 || exit 1
	has "$out" '^(offset|timestamp): [0-9]+ '
	echo "$(grep -cE '^(offset|timestamp): ' <<<"$out") entries"
	out=$(dump --index-sanity-check --files "$(files "$p" "$1")") || fail "sanity check: exit $?"
	[ "$1" = timeindex ] || has "$out" 'passed sanity check'
	! grep -E "$complaint" <<<"$out" >&3 || exit 1
}
dump_snapshot() {
	local out
	out=$(dump --files "$(files "$p" snapshot)") || fail "exit $?: $(tail -n 1 <<<"$out")"
	! grep -E "$complaint" <<<"$out" >&3 || exit 1
	has "$out" 'producerId: [0-9]+ producerEpoch: 0'
	echo "$(grep -c producerId: <<<"$out") producers in $(ls "$p"/*.snapshot | wc -l) snapshots"
}
dump_offsets() {
	local out=
	for f in "$W"/insync/__consumer_offsets-*/*.log; do
		[ ! -s "$f" ] || out+=$(dump --offsets-decoder --files "$f")
	done
	has "$out" "\"group\":\"$topic\""
	! grep -E "$complaint" <<<"$out" >&3 || exit 1
}

kafka_start() {
	java -Xmx512m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=info -cp "$CACHE/java/lib/*" kafka.Kafka "$W/server.properties" >>"$W/kafka.log" 2>&1 &
	broker=$!
	for _ in $(seq 100); do
		grep -q "Kafka Server started" "$W/kafka.log" && return 0
		kill -0 $broker 2>/dev/null || fail "Kafka ended: $(grep -E 'ERROR|Exception' "$W/kafka.log" | head -n 1)"
		sleep 0.3
	done
	fail "Kafka has not started"
}
kafka_stop() {
	kill -TERM $broker
	wait $broker
	mv "$W/kafka.log" "$W/kafka-$RANDOM.log"
}
port() { # one on which nothing listens
	local p=$((32100 + RANDOM % 600))
	while (: </dev/tcp/127.0.0.1/$p) 2>/dev/null; do p=$((p + 1)); done
	echo $p
}

# The operator makes the topic in Kafka, stops the broker, puts the files of the partition in the place of the new empty ones except partition.metadata,
# which names the topic's id and stays Kafka's, and removes the checkpoint of recovery points with the mark of a clean stop, so that Kafka reads the files.
insync_to_kafka() {
	local a b k=$W/kafka/$topic-0
	a=$(port)
	b=$((a + 700))
	printf '%s\n' process.roles=broker,controller node.id=1 "controller.quorum.voters=1@127.0.0.1:$b" "listeners=PLAINTEXT://127.0.0.1:$a,CONTROLLER://127.0.0.1:$b" \
		controller.listener.names=CONTROLLER "log.dirs=$W/kafka" offsets.topic.replication.factor=1 offsets.topic.num.partitions=1 >"$W/server.properties"
	export BOOTSTRAP=127.0.0.1:$a
	tool kafka.tools.StorageTool format --config "$W/server.properties" --cluster-id "$(head -c 16 /dev/zero | tr '\0' 'x' | base64 | tr -d =)" >"$W/format.log" 2>&1 ||
		tool org.apache.kafka.tools.StorageTool format --config "$W/server.properties" --cluster-id "$(head -c 16 /dev/zero | tr '\0' 'x' | base64 | tr -d =)" >>"$W/format.log" 2>&1 || fail "format: $(tail -n 1 "$W/format.log")"
	kafka_start
	kafka TopicCommand --create --topic $topic --partitions 1 --replication-factor 1 --config retention.ms=-1 >/dev/null || fail "no topic"
	kafka_stop
	cp "$k/partition.metadata" "$W/partition.metadata"
	rm -r "$k"
	cp -a "$p" "$k"
	cp "$W/partition.metadata" "$k/"
	rm -f "$W/kafka/recovery-point-offset-checkpoint" "$W/kafka/.kafka_cleanshutdown"
	kafka_start
	trap 'kill -9 $broker 2>/dev/null' EXIT
	consume $topic $n | cmp -s - "$W/sent" || fail "Kafka reads other records: $(consume $topic $n | wc -l) of $n"
	for i in 1 2 3; do echo "from Kafka $i" | tee -a "$W/sent"; done | produce $topic zstd || fail "Kafka takes no records"
	consume $topic $((n + 3)) | cmp -s - "$W/sent" || fail "Kafka reads other records after it wrote"
	# Kafka gives out producer ids that the log has seen from insync: the first batch is refused with OUT_OF_ORDER_SEQUENCE_NUMBER, and the producer goes on
	# with another epoch.
	! grep -hE "ERROR|WARN.*($topic-0|orrupt|index)" "$W"/kafka*.log | grep -v 'Error processing append' >&3 || exit 1
	kafka_stop
	trap - EXIT
	echo "$n records read, 3 appended"
}
# The same the other way: the topic is made in insync, the node is stopped, files are put in place of the new ones except partition.metadata.
kafka_to_insync() {
	local k=$W/kafka/$topic-0 i=$W/back/1/$topic-0
	[ "$(wc -l <"$W/sent")" = $((n + 3)) ] || skip "Kafka has not written"
	mkdir -p "$W/cluster"
	export CLUSTER=$W/cluster BOOTSTRAP=127.0.0.1:$(port)
	printf '%s\n' -id 1 -dir "$W/back/1" -listen "$BOOTSTRAP" -v >"$CLUSTER/1.args"
	"$CTL" start 1 || fail "node does not start"
	trap '"$CTL" kill 1 2>/dev/null' EXIT
	kafka TopicCommand --create --topic $topic --partitions 1 --replication-factor 1 --config retention.ms=-1 >/dev/null || fail "no topic"
	"$CTL" stop 1 || fail "node does not stop"
	cp "$i/partition.metadata" "$W/partition.metadata"
	rm -r "$i"
	cp -a "$k" "$i"
	cp "$W/partition.metadata" "$i/"
	rm -f "$W/back/1/recovery-point-offset-checkpoint" "$W/back/1/.kafka_cleanshutdown"
	"$CTL" start 1 2>"$W/back.err" || fail "$(cat "$W/back.err")"
	consume $topic $((n + 3)) | cmp -s - "$W/sent" || fail "insync reads other records: $(consume $topic $((n + 3)) | wc -l) of $((n + 3)); $(grep -v INFO "$CLUSTER/1.log" | tail -n 1)"
	echo "from insync" | tee -a "$W/sent" | produce $topic lz4 || fail "insync takes no records"
	consume $topic $((n + 4)) | cmp -s - "$W/sent" || fail "insync reads other records after it wrote"
	echo "$((n + 3)) records read, 1 appended"
}

printf 'VERSION\t%s\n' "$(tool org.apache.kafka.tools.TopicCommand --version 2>/dev/null)"
check dump-log dump_log
check dump-index dump_index index
check dump-timeindex dump_index timeindex
check dump-snapshot dump_snapshot
check dump-offsets dump_offsets
check insync-to-kafka insync_to_kafka
check kafka-to-insync kafka_to_insync
"$CTL" start 1 >/dev/null
