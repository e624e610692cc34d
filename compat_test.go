package insync_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/insynclog/insync/internal/broker"
	"github.com/insynclog/insync/internal/commit"
	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var update = flag.Bool("update", false, "write the tables of the documentation anew")

// nodesOnly are Kafka's APIs that clients are not told of, as those from firstPrivate on are not: every cluster of the tests proves them.
var nodesOnly = []int16{56, 62, 63, 67}

const firstPrivate = 32000

// ours names the tests of APIs that no client of others has proved: package and name.
var ours = map[int16]string{
	45: "cluster/clustertest.TestReassignUnderLoad",
	49: "cluster.TestAdminClientQuotas",
	57: "internal/broker.TestUpdateFeatures",
	64: "internal/broker.TestUnregisterBroker",
	65: "internal/broker.TestDescribeTransactions",
	71: "internal/broker.TestGetTelemetrySubscriptions",
	80: "internal/broker.TestAddAndRemoveRaftVoter",
	81: "internal/broker.TestAddAndRemoveRaftVoter",
}

// proofFile has a line for each API and client of others that has used it in a run without failures: key, client, versions. interop's tests and interop/foreign/run.sh write it.
const proofFile = "interop/proof.tsv"

// proofs reads proofFile: what is shown of each key.
func proofs(t *testing.T, served map[int16]transport.VersionRange) map[int16][]string {
	t.Helper()
	b, err := os.ReadFile(proofFile)
	require.NoError(t, err)
	shown := map[int16][]string{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		require.Len(t, fields, 3, line)
		key, err := strconv.ParseInt(fields[0], 10, 16)
		require.NoError(t, err, line)
		v, ok := served[int16(key)]
		require.True(t, ok, "not served any more, run the clients again: %s", line)
		var versions []int16
		for s := range strings.SplitSeq(fields[2], ",") {
			version, err := strconv.ParseInt(s, 10, 16)
			require.NoError(t, err, line)
			require.True(t, v.Min <= int16(version) && int16(version) <= v.Max, "not served any more, run the clients again: %s", line)
			versions = append(versions, int16(version))
		}
		shown[int16(key)] = append(shown[int16(key)], fields[1]+" "+runs(versions))
	}
	return shown
}

// runs writes numbers in order as 1, 3–5.
func runs(numbers []int16) string {
	var parts []string
	for i := 0; i < len(numbers); i++ {
		from := i
		for i+1 < len(numbers) && numbers[i+1] == numbers[i]+1 {
			i++
		}
		part := strconv.Itoa(int(numbers[from]))
		if i > from {
			part += "–" + strconv.Itoa(int(numbers[i]))
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "+")
}

// requireTest checks that there is a test, given as package and name.
func requireTest(t *testing.T, test string) {
	t.Helper()
	pkg, name, ok := strings.Cut(test, ".")
	require.True(t, ok, test)
	files, err := filepath.Glob(filepath.Join(pkg, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if bytes.Contains(text, []byte("func "+name+"(t *testing.T)")) {
			return
		}
	}
	t.Errorf("there is no test %s", test)
}

// The table of APIs in docs/kafka-compat.md says what the broker serves, and who has proved it.
func TestCompatTable(t *testing.T) {
	dir, err := log.OpenDirectory("d", log.DirectoryConfig{FS: vfs.NewMem(), NodeID: 1})
	require.NoError(t, err)
	defer dir.Abandon()
	engine := commit.New(commit.Config{})
	defer engine.Close()
	b, err := broker.New(broker.Config{NodeID: 1, Voters: map[int32]string{1: ""}, Directory: dir, Commit: engine, Network: transport.NewMem().Host("h")})
	require.NoError(t, err)
	defer b.Close()

	var table bytes.Buffer
	table.WriteString("| key | API | versions | proved by |\n|---:|---|---|---|\n")
	versions := b.Versions()
	shown := proofs(t, versions)
	for _, key := range slices.Sorted(maps.Keys(versions)) {
		name, v := kmsg.NameForKey(key), versions[key]
		switch key {
		case 32100:
			name = "raft messages (private)"
		case 32101:
			name = "joining a cluster (private)"
		case 32102:
			name = "who votes in the metadata quorum (private)"
		case 32103:
			name = "batches for a damaged replica (private)"
		}
		var by string
		switch {
		case key >= firstPrivate || slices.Contains(nodesOnly, key):
			by = "nodes"
			require.Empty(t, shown[key], "%s is shown to clients", name)
		case shown[key] != nil:
			by = strings.Join(shown[key], ", ")
		default:
			require.NotEmpty(t, ours[key], "nothing proves %s (%d): a client, or a test in the map", name, key)
			requireTest(t, ours[key])
			by = "`" + ours[key] + "`"
		}
		require.True(t, shown[key] == nil || ours[key] == "", "clients prove %s (%d): out of the map", name, key)
		fmt.Fprintf(&table, "| %d | %s | %d–%d | %s |\n", key, name, v.Min, v.Max, by)
	}
	const file, begin, end = "docs/kafka-compat.md", "<!-- table -->\n", "<!-- /table -->"
	page, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(page), begin)
	require.True(t, ok)
	got, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+begin+table.String()+end+after), 0o644))
		return
	}
	require.Equal(t, table.String(), got)
}
