package insync_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
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

// The table of APIs in docs/kafka-compat.md says what the broker serves.
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
	table.WriteString("| key | API | versions |\n|---:|---|---|\n")
	versions := b.Versions()
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
		fmt.Fprintf(&table, "| %d | %s | %d–%d |\n", key, name, v.Min, v.Max)
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
