# What each client needs: install_CLIENT brings it into $CACHE by its registry's own client, or says in the last line of its standard error why it
# cannot; run_CLIENT checks it. Sourced by run.sh.

need() {
	command -v "$1" >/dev/null || { echo "$1 is not installed here" >&2; return 1; }
}

# once NAME FILE COMMAND… runs a command whose result depends on FILE, unless it has succeeded with the same FILE before.
once() {
	local stamp=$CACHE/$1.stamp sum
	sum=$(sha256sum <"$2")
	[ "$(cat "$stamp" 2>/dev/null)" != "$sum" ] || return 0
	"${@:3}" || return 1
	echo "$sum" >"$stamp"
}

goclients() { # one program for the clients that are Go
	need go && (cd "$HERE/.." && CGO_ENABLED=0 go build -o "$WORK/goclients" ./foreign/goclients)
}
install_franz-go() { goclients; }
install_sarama() { goclients; }
install_kafka-go() { goclients; }
run_franz-go() { check franz-go "$WORK/goclients" franz-go; }
run_sarama() { check sarama "$WORK/goclients" sarama; }
run_kafka-go() { check kafka-go "$WORK/goclients" kafka-go; }

java_jars() {
	mkdir -p "$CACHE/java" && cp "$HERE/java/pom.xml" "$CACHE/java/" && rm -rf "$CACHE/java/lib" || return 1
	(cd "$CACHE/java" && mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib) >"$CACHE/java/mvn.log" 2>&1 || { echo "mvn could not fetch Kafka's jars: $(grep -m 1 ERROR "$CACHE/java/mvn.log")" >&2; return 1; }
}
install_tools() {
	need java && need mvn && once jars "$HERE/java/pom.xml" java_jars
}
install_java() {
	install_tools && need javac && javac -d "$WORK/classes" -cp "$CACHE/java/lib/*" "$HERE"/java/*.java
}
install_storage() { install_tools; }
run_java() {
	check java java -Xshare:auto -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$WORK/classes:$CACHE/java/lib/*" Foreign
}
run_tools() { LIMIT=${LIMIT:-420} check tools "$HERE/tools.sh"; } # a JVM for each call
run_storage() { LIMIT=180 check storage "$HERE/storage.sh"; }

install_confluent-go() {
	need go && need gcc && (cd "$HERE/confluent-go" && CGO_ENABLED=1 go build -o "$WORK/confluent-go" .)
}
run_confluent-go() { check confluent-go "$WORK/confluent-go"; }

node_modules() {
	mkdir -p "$CACHE/js" && cp "$HERE"/js/package*.json "$CACHE/js/" && (cd "$CACHE/js" && npm ci --ignore-scripts --no-audit --no-fund) >"$CACHE/js/npm.log" 2>&1 || { echo "npm: $(grep -m 1 'npm error' "$CACHE/js/npm.log")" >&2; return 1; }
}
install_kafkajs() {
	need node && need npm && once node_modules "$HERE/js/package-lock.json" node_modules
}
# The binding is compiled from the librdkafka in its package, against the system's OpenSSL, zlib, zstd and curl: its prebuilt one is in no registry.
binding() {
	local nodedir=()
	[ ! -f /usr/include/node/node.h ] || nodedir=(env npm_config_nodedir=/usr)
	(cd "$CACHE/js" && CKJS_LINKING=dynamic "${nodedir[@]}" npm rebuild --foreground-scripts @confluentinc/kafka-javascript) >"$CACHE/js/rebuild.log" 2>&1 || { echo "the binding does not compile (needs g++, make, and the headers of openssl, zlib, zstd, curl): $(grep -m 1 -iE 'error' "$CACHE/js/rebuild.log")" >&2; return 1; }
}
install_confluent-js() {
	install_kafkajs && once binding "$HERE/js/package-lock.json" binding
}
run_kafkajs() { NODE_PATH=$CACHE/js/node_modules check kafkajs node "$HERE/js/kafkajs.cjs"; }
run_confluent-js() { NODE_PATH=$CACHE/js/node_modules check confluent-js node "$HERE/js/confluent.cjs"; }

install_kcat() {
	need kcat || { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get update && apt-get install -y --no-install-recommends kcat; } >"$CACHE/apt.log" 2>&1; } || { echo "kcat is not installed here, and apt-get brings none" >&2; return 1; }
	install_confluent-go # makes its topics
}
run_kcat() { check kcat "$HERE/kcat.sh"; }
