package log

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
)

// spaceOutcome is what becomes of a call that needs a disk that is full.
type spaceOutcome int

const (
	refused   spaceOutcome = iota // *FullError, nothing was changed, the same call succeeds when there is space
	postponed                     // the call succeeds, what could not be written comes later
	given                         // *StorageError: the log is read-only until the next start
)

// noSpace is a place that can meet a full disk. The log has 30 synced batches in segments of a few each when it does.
type noSpace struct {
	at      string // part of the names of the files that there is no space for
	kinds   []vfs.OpKind
	prepare func(t *testing.T, l *Log)
	do      func(t *testing.T, d *Directory, l *Log) error
	outcome spaceOutcome
}

var (
	making  = []vfs.OpKind{vfs.OpCreate, vfs.OpPreallocate} // a mapped file: what is put into it is no operation
	writing = append([]vfs.OpKind{vfs.OpWrite}, making...)
	// smallFile are the ways in which a small file can find no space: not even its sync says anything of the next attempt, which writes it anew.
	smallFile = []vfs.OpKind{vfs.OpCreate, vfs.OpTruncate, vfs.OpWrite, vfs.OpSync, vfs.OpRename}
)

var noSpacePlaces = map[string]noSpace{
	"batch":                           {at: ".log", kinds: []vfs.OpKind{vfs.OpWrite}, do: appendSome(1), outcome: refused},
	"offset index":                    {at: ".index", kinds: making, do: appendSome(3), outcome: refused},
	"time index":                      {at: ".timeindex", kinds: making, do: appendSome(3), outcome: refused},
	"new segment":                     {at: ".log", kinds: []vfs.OpKind{vfs.OpCreate}, do: appendSome(9), outcome: refused},
	"transaction index":               {at: ".txnindex", kinds: []vfs.OpKind{vfs.OpCreate, vfs.OpWrite}, do: abortSome, outcome: postponed},
	"its sync":                        {at: ".index", kinds: []vfs.OpKind{vfs.OpOpen}, prepare: appendAll(9), do: syncLog, outcome: postponed},
	"producer snapshot":               {at: ".snapshot.tmp", kinds: smallFile, prepare: appendAll(9), do: syncLog, outcome: postponed},
	"its side file":                   {at: ".producers.tmp", kinds: smallFile, prepare: appendAll(9), do: syncLog, outcome: postponed},
	"leader epochs":                   {at: epochsFile, kinds: smallFile, prepare: appendAll(9), do: checkpointAll, outcome: refused},
	"leader epochs, below a snapshot": {at: epochsFile, kinds: smallFile, prepare: appendAll(9), do: syncLog, outcome: postponed},
	"recovery points":                 {at: recoveryPointFile, kinds: smallFile, prepare: appendAll(9), do: checkpointAll, outcome: refused},
	"high watermarks":                 {at: highWatermarkFile, kinds: smallFile, prepare: func(_ *testing.T, l *Log) { l.SetHighWatermark(20) }, do: checkpointAll, outcome: refused},
	"log start": {at: logStartFile, kinds: smallFile, prepare: raiseStart, do: func(_ *testing.T, _ *Directory, l *Log) error {
		_, err := l.SyncLogStart()
		return err
	}, outcome: refused},
	"retention": {at: "-checkpoint.tmp", kinds: smallFile, prepare: raiseStart, do: func(t *testing.T, _ *Directory, l *Log) error {
		n, err := l.DeleteOldSegments()
		if err == nil {
			require.NotZero(t, n)
		}
		return err
	}, outcome: refused},
	"truncation":    {at: recoveryPointFile, kinds: smallFile, do: func(_ *testing.T, _ *Directory, l *Log) error { return l.TruncateTo(29) }, outcome: refused},
	"starting anew": {at: recoveryPointFile, kinds: smallFile, do: func(_ *testing.T, _ *Directory, l *Log) error { return l.TruncateFullyAndStartAt(30) }, outcome: refused},
	"compaction":    {at: cleanedSuffix, kinds: writing, prepare: func(_ *testing.T, l *Log) { l.SetHighWatermark(30) }, do: compactAll, outcome: refused},
	"broker epoch":  {at: stateFile, kinds: smallFile, do: func(_ *testing.T, d *Directory, _ *Log) error { return d.SetBrokerEpoch(7) }, outcome: refused},

	// What the system dropped when a sync failed is in no file, and no second sync would tell.
	"sync of the batches": {at: ".log", kinds: []vfs.OpKind{vfs.OpSync}, prepare: appendAll(1), do: syncLog, outcome: given},
	"sync of an index":    {at: ".index", kinds: []vfs.OpKind{vfs.OpSync}, prepare: appendAll(9), do: syncLog, outcome: given},
	"sync of the names":   {at: "/t-0", kinds: []vfs.OpKind{vfs.OpSyncDir}, prepare: appendAll(9), do: syncLog, outcome: given},
}

func appendNext(t *testing.T, l *Log) error {
	_, err := l.Append(producerBatchOf(t, 3, 0, nextSequence(l, 3), 1, false), AppendOptions{Now: testTime, LeaderEpoch: int32(l.Offsets().LogEndOffset / 10)})
	return err
}

func nextSequence(l *Log, producer int64) int32 {
	if e := l.mu.producers.entries[producer]; e != nil {
		return e.batches[e.n-1].lastSequence + 1
	}
	return 0
}

func appendSome(n int) func(*testing.T, *Directory, *Log) error {
	return func(t *testing.T, _ *Directory, l *Log) error {
		for range n {
			if err := appendNext(t, l); err != nil {
				return err
			}
		}
		return nil
	}
}

func appendAll(n int) func(*testing.T, *Log) {
	return func(t *testing.T, l *Log) { require.NoError(t, appendSome(n)(t, nil, l)) }
}

func raiseStart(t *testing.T, l *Log) {
	l.SetHighWatermark(20)
	require.NoError(t, l.AdvanceLogStart(20))
}

func syncLog(_ *testing.T, _ *Directory, l *Log) error {
	_, err := l.Sync()
	return err
}

func checkpointAll(_ *testing.T, d *Directory, _ *Log) error {
	return d.Checkpoint(context.Background())
}

func compactAll(_ *testing.T, _ *Directory, l *Log) error {
	_, err := l.Compact(&Compactor{}, CompactionPolicy{}, testTime)
	return err
}

// abortSome appends a transaction, and the marker that says that it does not count.
func abortSome(t *testing.T, _ *Directory, l *Log) error {
	_, err := l.Append(producerBatchOf(t, 4, 0, nextSequence(l, 4), 1, true), AppendOptions{Now: testTime, LeaderEpoch: 3})
	if err == nil {
		_, err = l.Append(markerOf(t, 4, 0, 0, true), AppendOptions{Now: testTime, LeaderEpoch: 3, Origin: FromCoordinator})
	}
	return err
}

// Whatever meets the full disk: nothing of what was refused can be seen, the log goes on without a restart when there is space, and a crash meanwhile loses nothing. Only a sync that failed ends a log.
func TestFault_F11_WhereverThereIsNoSpace(t *testing.T) {
	for name, p := range noSpacePlaces {
		for _, kind := range p.kinds {
			t.Run(name+"/"+kind.String(), func(t *testing.T) { p.try(t, kind) })
		}
	}
}

func (p noSpace) try(t *testing.T, kind vfs.OpKind) {
	disk := vfs.NewMem()
	d := openDir(t, disk, "/d")
	require.NoError(t, d.SetBrokerEpoch(5))
	l := openSmall(t, d)
	appendAll(30)(t, l)
	require.NoError(t, syncLog(t, d, l))
	require.NoError(t, d.Checkpoint(t.Context()))
	if p.prepare != nil {
		p.prepare(t, l)
	}
	hits, end := 0, l.Offsets().LogEndOffset
	disk.SetFault(func(op vfs.Op) error {
		if op.Kind == kind && strings.Contains(op.Name+op.To, p.at) {
			hits++
			return vfs.ErrNoSpace
		}
		return nil
	})
	for range 3 { // it does not become worse
		err := p.do(t, d, l)
		require.NotZero(t, hits, "nothing there does that: the row is wrong")
		switch p.outcome {
		case refused:
			require.True(t, isFull(err), "%v", err)
			require.NoError(t, l.Err(), "the log is not given up")
		case postponed:
			require.NoError(t, err)
		case given:
			require.True(t, vfs.IsNoSpace(err), "%v", err)
			refuses(t, l, end)
			d.Abandon()
			return
		}
	}
	checkSnapshots(t, l)
	start, synced := l.Offsets().LogStartOffset, l.Offsets().SyncedEndOffset
	all := values(t, l, start)
	require.GreaterOrEqual(t, len(all), 10)
	crashed := openDir(t, disk.Clone().Crash(vfs.DropAll, nil), "/d")
	kind2, _ := crashed.Restart()
	assert.NotEqual(t, Lossy, kind2)
	after := openSmall(t, crashed)
	require.GreaterOrEqual(t, after.Offsets().LogEndOffset, synced, "what was synced")
	require.Equal(t, all[:after.Offsets().LogEndOffset-start], values(t, after, start), "nothing else can be seen")
	crashed.Abandon()

	disk.SetFault(nil)
	require.NoError(t, p.do(t, d, l), "the same once more")
	require.NoError(t, appendNext(t, l))
	require.NoError(t, syncLog(t, d, l))
	checkSnapshots(t, l)
	require.Empty(t, l.mu.pending, "snapshots")
	require.Empty(t, l.mu.unsynced, "indexes")
	require.NoError(t, d.Checkpoint(t.Context()))
	start = l.Offsets().LogStartOffset
	all = values(t, l, start)
	aborted, err := l.AbortedTxns(nil, start, l.Offsets().LogEndOffset)
	require.NoError(t, err)
	for _, clean := range []bool{false, true} {
		left := disk.Clone()
		if clean {
			require.NoError(t, d.Close(6))
			left = disk
		}
		d := openDir(t, left.Crash(vfs.DropAll, nil), "/d")
		isClean, _ := d.Clean()
		require.Equal(t, clean, isClean)
		l := openSmall(t, d)
		require.Equal(t, all, values(t, l, start))
		again, err := l.AbortedTxns(nil, start, l.Offsets().LogEndOffset)
		require.NoError(t, err)
		require.Equal(t, aborted, again)
		r, err := l.Scrub(Scrubber{})
		require.NoError(t, err)
		require.Empty(t, r.Rebuilt, "every file says what the batches say")
		require.Empty(t, l.Damage())
		d.Abandon()
	}
}

// checkSnapshots tells that each segment has its snapshot, on disk or still to be written, and that none is on disk while an index below it is not.
func checkSnapshots(t *testing.T, l *Log) {
	have := slices.Clone(l.mu.snapshots)
	for _, f := range l.mu.pending {
		have = append(have, f.offset)
	}
	for _, s := range (*l.segments.Load())[1:] {
		require.Contains(t, have, s.BaseOffset())
	}
	if len(l.mu.unsynced) > 0 {
		require.LessOrEqual(t, l.mu.snapshots[len(l.mu.snapshots)-1], l.mu.unsynced[0].BaseOffset())
	}
}

func openSmall(t *testing.T, d *Directory) *Log {
	l, err := d.OpenLog("t", 0, TopicID{1}, Config{WriteAhead: -1, SegmentBytes: 600, IndexIntervalBytes: 100, TimestampAfterMax: 1 << 62, ProducerIDExpiration: 1 << 62})
	require.NoError(t, err)
	return l
}
