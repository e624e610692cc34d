# What tools.sh, kcat.sh and storage.sh share. A check is a function: its standard output is the note of a success; it fails by fail, skips by skip.

fail() { printf '%s\n' "$*" >&3; exit 1; }
skip() { printf '%s\n' "$*" >&3; exit 77; }

# check NAME FUNCTION ARGUMENTS…
check() {
	local name=$1 rc note
	shift
	echo "--- $name" >&2
	note=$( ("$@") 3>"$WORK/why")
	rc=$?
	case $rc in
	0) printf 'CHECK\t%s\tpass\t%s\n' "$name" "${note##*$'\n'}" ;;
	77) printf 'CHECK\t%s\tskipped\t%s\n' "$name" "$(tail -n 1 "$WORK/why")" ;;
	*) printf 'CHECK\t%s\tfail\t%s\n' "$name" "$(tail -n 1 "$WORK/why" | tr '\t' ' ' | grep . || echo "exit $rc")" ;;
	esac
}

# has TEXT PATTERN fails without a line that matches.
has() { grep -qE -- "$2" <<<"$1" || fail "want $2, got: $(tail -n 3 <<<"$1" | tr '\n' ' ')"; }
# same GOT WANT
same() { [ "$1" = "$2" ] || fail "want $(head -c 100 <<<"$2" | tr '\n' ' '), got $(head -c 200 <<<"$1" | tr '\n' ' ')"; }

# until SECONDS COMMAND…
until_ok() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "not within the time: $*"
		sleep 0.3
	done
}

# tool CLASS ARGUMENTS… runs a class of Kafka's.
tool() {
	java -Xshare:auto -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$CACHE/java/lib/*" "$@"
}
kafka() {
	local class=$1
	shift
	tool "org.apache.kafka.tools.$class" --bootstrap-server "$BOOTSTRAP" --command-config "${CONFIG-$WORK/tools-$MODE.properties}" "$@"
}
