package controller

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// versions has each node of a quorum know another format.
func versions(of map[int32]*Levels) func(*Config) {
	return func(c *Config) { c.Levels, c.SnapshotBytes = of[c.NodeID], 2000 }
}

// A node of an older version finds a checkpoint, or a log, of a level that it does not know. It does not take that for damage, and deletes nothing: the newer version goes on with it.
func TestOlderVersionOpensANewerDirectory(t *testing.T) {
	next := &Levels{Known: Newest + 1}
	for name, topics := range map[string]int{"log": 0, "checkpoint": 40} {
		for _, old := range []*Levels{nil, {Known: LevelBase}} {
			t.Run(fmt.Sprintf("%s, up to level %d", name, old.Highest()), func(t *testing.T) {
				of := map[int32]*Levels{1: next}
				inBubble(t, 1, versions(of), func(t *testing.T, q *quorum) {
					q.start(1)
					n := q.nodes[1]
					q.join(n, 1)
					for i := range topics {
						q.create(n, fmt.Sprint("t", i), 1, 1)
					}
					require.Equal(t, next.Known, n.Image().Level)
					names, err := listCheckpoints(q.disks[1], "/data/__cluster_metadata-0")
					require.NoError(t, err)
					require.Equal(t, topics > 0, len(names) > 0)
					q.crash(1, vfs.DropAll)

					of[1] = old
					err = q.tryStart(1)
					require.ErrorIs(t, err, ErrUnknownRecord)
					tooOld, ok := errors.AsType[*LevelError](err)
					require.Equal(t, old == nil, ok, "%v: who knows of levels says which", err)
					if ok {
						assert.Equal(t, LevelError{Level: next.Known, Known: Newest}, *tooOld)
					}
					_, damaged := errors.AsType[*log.CorruptError](err)
					require.False(t, damaged, "%v", err)

					of[1] = next
					q.start(1)
					require.Len(t, q.nodes[1].Image().Topics, topics)
				})
			})
		}
	}
}

// A node of an older version has lagged, and the leader has nothing for it but a snapshot of a level that it does not know: it stops with the reason, instead of waiting for another.
func TestOlderVersionGetsANewerSnapshot(t *testing.T) {
	next := &Levels{Known: Newest + 1}
	of := map[int32]*Levels{1: next, 2: next, 3: next}
	inBubble(t, 3, versions(of), func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		n := q.leader()
		q.join(n, 1, 2, 3)
		q.converge(n)
		lag := n.c.NodeID%3 + 1
		q.crash(lag, vfs.DropAll)
		disk := vfs.NewMem() // it has not even what it had
		require.NoError(t, disk.MkdirAll("/data"))
		q.disks[lag] = disk
		for i := range 40 {
			q.create(n, fmt.Sprint("t", i), 2, 2)
			q.heartbeats(n)
		}
		first, _ := n.d.store.FirstIndex()
		require.Greater(t, int64(first), int64(5), "the leader has let the log go")
		of[lag] = nil
		q.start(lag)
		old := q.nodes[lag]
		select {
		case <-old.Done():
		case <-time.After(time.Minute):
			t.Fatal("it waits")
		}
		tooOld, ok := errors.AsType[*LevelError](old.Err())
		require.True(t, ok, "%v", old.Err())
		assert.Equal(t, LevelError{Level: next.Known, Known: Newest}, *tooOld)
		q.create(n, "last", 1, 2)
		synctest.Wait()
		assert.Nil(t, n.Err())
	})
}
