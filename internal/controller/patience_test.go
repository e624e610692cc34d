package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// needsSpace tells whether an operation can find the disk full, and can be repeated then.
func needsSpace(op vfs.Op) bool {
	switch op.Kind {
	case vfs.OpCreate, vfs.OpWrite, vfs.OpPreallocate, vfs.OpRename:
		return true
	}
	return false
}

// F11: from any operation of a node's life on the disk has no space for a second. The node waits, everything is done, and nothing is lost.
func TestFault_F11_NoSpaceForAWhile(t *testing.T) {
	n := countOps(t)
	waited := 0
	for i := range n {
		synctest.Test(t, func(t *testing.T) {
			disk := newDisk(t)
			at := disk.Ops() + i + 1
			var full time.Time
			disk.SetFault(func(op vfs.Op) error {
				if full.IsZero() && op.Seq >= at {
					full = time.Now()
				}
				if needsSpace(op) && !full.IsZero() && time.Since(full) < time.Second {
					return vfs.ErrNoSpace
				}
				return nil
			})
			began := time.Now()
			a, err := life(disk)
			what := fmt.Sprintf("operation %d of %d", i, n)
			if err != nil { // of a start or a stop, which do not wait
				require.True(t, vfs.IsNoSpace(err), "%s: %v", what, err)
			} else if time.Since(began) >= time.Second {
				waited++
			}
			disk.SetFault(nil)
			a.check(t, disk.Crash(vfs.KeepAll, nil), what)
		})
	}
	require.Greater(t, waited, int(n/3))
}

// The only voter waits for space: what was decided is done when there is some, and what comes meanwhile is refused at once, with an error that may be tried again. It can be closed meanwhile.
func TestOnlyVoterWaitsForSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t)
		full := func(op vfs.Op) error {
			if needsSpace(op) {
				return vfs.ErrNoSpace
			}
			return nil
		}
		low := false
		c, err := Start(Config{NodeID: 1, Voters: []int32{1}, FS: disk, Dir: "/data/__cluster_metadata-0", Low: func() bool { return low }})
		require.NoError(t, err)
		joinAlone(t, c)
		code := func(ctx context.Context, name string) (int16, error) {
			resp, err := c.Handle(ctx, createTopic(name, 1, 1))
			if err != nil {
				return 0, err
			}
			return resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode, nil
		}
		disk.SetFault(full)
		first := make(chan int16, 1)
		go func() {
			e, _ := code(context.Background(), "decided")
			first <- e
		}()
		synctest.Wait()
		for i := range 3 {
			began := time.Now()
			e, err := code(t.Context(), fmt.Sprint("refused", i))
			require.NoError(t, err)
			require.Equal(t, kerr.KafkaStorageError.Code, e)
			require.Zero(t, time.Since(began))
			time.Sleep(200 * time.Millisecond)
			require.NoError(t, c.Err())
		}
		disk.SetFault(nil)
		require.Zero(t, <-first)
		e, err := code(t.Context(), "another")
		require.NoError(t, err)
		require.Zero(t, e)
		require.Equal(t, []string{"another", "decided"}, c.Image().TopicNames())

		low = true
		e, err = code(t.Context(), "little-is-left")
		require.NoError(t, err)
		require.Equal(t, kerr.KafkaStorageError.Code, e)
		del := kmsg.NewPtrDeleteTopicsRequest()
		del.TopicNames = []string{"another"}
		resp, err := c.Handle(t.Context(), del)
		require.NoError(t, err)
		require.Zero(t, resp.(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, "what makes space goes on")
		low = false

		disk.SetFault(full)
		go code(context.Background(), "in-flight")
		synctest.Wait()
		require.NoError(t, c.Close(true))
		disk.SetFault(nil)
		c, err = Start(Config{NodeID: 1, Voters: []int32{1}, FS: disk, Dir: "/data/__cluster_metadata-0"})
		require.NoError(t, err)
		require.Equal(t, []string{"decided"}, c.Image().TopicNames())
		require.NoError(t, c.Close(false))
	})
}

// A leader whose disk is full makes room for another, and follows it when there is space, whatever it was about to write.
func TestLeaderOnAFullDisk(t *testing.T) {
	inBubble(t, 3, func(c *Config) { c.SnapshotBytes = 1500 }, func(t *testing.T, q *quorum) {
		q.start(1, 2, 3)
		n := q.leader()
		q.join(n, 1, 2, 3)
		for i := range 6 {
			old := n
			skip := int64(i)
			q.disks[old.c.NodeID].SetFault(func(op vfs.Op) error {
				if needsSpace(op) {
					if skip--; skip < 0 {
						return vfs.ErrNoSpace
					}
				}
				return nil
			})
			began := time.Now()
			for j := 0; n == old; j++ {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := old.Handle(ctx, createTopic(fmt.Sprint("on-", i, "-", j), 1, 3))
				require.True(t, err == nil || errors.Is(err, context.DeadlineExceeded), "%v", err)
				cancel()
				for id, o := range q.nodes {
					if node, _, ok := o.Leader(); ok && node == id && id != old.c.NodeID {
						n = o
					}
				}
				require.Less(t, time.Since(began), 20*time.Second)
				time.Sleep(10 * time.Millisecond)
			}
			q.heartbeats(n)
			q.create(n, fmt.Sprint("others-", i), 2, 3)
			_, _, ok := old.Leader()
			require.False(t, ok)
			require.NoError(t, old.Err())
			q.disks[old.c.NodeID].SetFault(nil)
			q.converge(n)
			require.Contains(t, old.Image().TopicNames(), fmt.Sprint("others-", i))
		}
	})
}

// A checkpoint that finds no space is made later; what it would let go of the log stays until then.
func TestCheckpointWaitsForSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t)
		c, err := Start(Config{NodeID: 1, Voters: []int32{1}, FS: disk, Dir: "/data/__cluster_metadata-0", SnapshotBytes: 700, SessionTimeout: time.Hour})
		require.NoError(t, err)
		joinAlone(t, c)
		tries := 0
		disk.SetFault(func(op vfs.Op) error {
			if op.Kind == vfs.OpCreate && strings.HasSuffix(op.Name, checkpointSuffix+tmpSuffix) {
				tries++
				return vfs.ErrNoSpace
			}
			return nil
		})
		create := func(i int) {
			resp, err := c.Handle(t.Context(), createTopic(fmt.Sprint("topic-", i), 1, 1))
			require.NoError(t, err)
			require.Zero(t, resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
		}
		for i := range 30 {
			create(i)
		}
		require.Equal(t, 1, tries)
		time.Sleep(checkpointRetry)
		create(30)
		require.Equal(t, 2, tries)
		disk.SetFault(nil)
		time.Sleep(checkpointRetry)
		create(31)
		names, err := listCheckpoints(disk, "/data/__cluster_metadata-0")
		require.NoError(t, err)
		require.Len(t, names, 1)
		require.NoError(t, c.Close(false))
	})
}
