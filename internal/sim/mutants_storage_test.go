package sim_test

import "slices"

// Who hunts what the simulation does not: the crash explorer of package log, and tests by name.
var (
	explorer       = hunter{dir: "log", run: "^TestExplore", args: "-explore.hunt"}
	ofLog          = func(tests string) hunter { return hunter{dir: "log", run: tests} }
	storageMutants = slices.Concat(diskMutants, damageMutants, derivedMutants, givingUpMutants, producerMutants, groupMutants, embeddingMutants)
)

// Mistakes about what is durable when: S2 acknowledge what is synced, everywhere; S3 a restart is clean, or lost nothing, only by proof; S6 a failed sync is final; S7 errors of the disk count; S8 names are synced;
// S11 space is looked for before; S13 what is mapped keeps its length; R10 votes are durable.
var diskMutants = []mutant{
	{"ack-before-sync", "S2", "replication/machine/leader.go", "	if m.settings.Synced {\n		return m.syncedEnd\n	}\n", "", "power-all,torn-all,slow-disk", hunter{}},
	{"leader-ack-before-sync", "P5", "replication/machine/leader.go", "	case acks == AcksLeader && end <= m.confirmed():\n", "	case acks == AcksLeader:\n", "", hunter{dir: "internal/sim", run: "^TestAcknowledgedByTheLeaderAlone$", args: "-sim.each=60 -sim.shrink=0"}},
	{
		"synced-before-sync", "S2", "log/sync.go", "	indexed, err := l.syncSegments(work, names)\n",
		"	l.offsets.raiseSynced(end)\n	indexed, err := l.syncSegments(work, names)\n", "", explorer,
	},
	{"vote-not-synced", "R10", "internal/controller/storage.go", "return q.write(s.fs, s.dir, !s.alone)", "return q.write(s.fs, s.dir, false)", "", hunter{}},
	{
		"clean-marker-before-checkpoints", "S3", "log/home.go", "	err := h.store()\n	if err == nil {\n		b, _ := json.Marshal(cleanMarker{BrokerEpoch: brokerEpoch}) // two numbers do marshal\n		err = replaceSmallFile(h.fs, h.path+\"/\"+cleanFile, b)\n	}\n",
		"	b, _ := json.Marshal(cleanMarker{BrokerEpoch: brokerEpoch})\n	err := replaceSmallFile(h.fs, h.path+\"/\"+cleanFile, b)\n	if err == nil {\n		err = h.store()\n	}\n", "", explorer,
	},
	{"clean-marker-stays", "S3", "log/home.go", "		if err := h.fs.Remove(name); err != nil {\n			return storage(\"remove\", name, err)\n		}\n		if err := syncDir(h.fs, h.path); err != nil {\n			return err\n		}\n", "", "", explorer},
	{"clean-marker-removal-not-synced", "S3", "log/home.go", "			return storage(\"remove\", name, err)\n		}\n		if err := syncDir(h.fs, h.path); err != nil {\n			return err\n		}\n", "			return storage(\"remove\", name, err)\n		}\n", "", explorer},
	{"crash-taken-for-clean", "S3", "log/recover.go", "	if l.clean {\n		err = l.loadClean", "	if l.clean || l.home.restart == Crashed {\n		err = l.loadClean", "", explorer},
	{"state-of-another-directory", "S3", "log/brokerstate.go", "	case s.DirectoryID != now.DirectoryID || s.BrokerEpoch < 0:", "	case s.BrokerEpoch < 0:", "", ofLog("^(TestRestart|TestFault_F1[78]|TestBrokerState)")},
	{"unsynced-acks-forgotten", "S3", "log/brokerstate.go", "	case !s.Relaxed || s.Boot == h.boot && h.boot != \"\":", "	default:", "", explorer},
	{"failed-sync-repeated", "S6", "log/sync.go", "		err := l.refuseSync(l.syncNow())\n		l.flush.release()\n", "		err := l.syncNow()\n		if err != nil {\n			err = l.failSync(l.syncNow())\n		}\n		l.flush.release()\n", "", explorer},
	{"failed-sync-trusted-after-restart", "S6", "log/log.go", "	if err = l.fail(err); err != nil {\n		l.home.distrust()\n	}\n	return err\n", "	return l.fail(err)\n", "", explorer},
	{"recovered-tail-not-written-again", "S6", "segment/recover.go", "	grown, err := s.rewrite(from, size)\n", "	grown, err := size, error(nil)\n	_ = from\n", "", ofLog("^TestWhatAFailedSync")},
	{"write-error-forgotten", "S7", "segment/writer.go", "	if err != nil {\n		return s.undo(f, err)\n	}\n	return s.account(at[", "	_ = err\n	return s.account(at[", "", explorer},
	{"replica-goes-on-after-write-error", "S7", "replication/append.go", "		if isStorageError(err) {\n			r.failLocked(err, fx)\n		}\n		res.Err = err\n", "		res.Err = err\n", "", hunter{dir: "replication", run: "^TestDisk"}},
	{"renamed-before-sync", "S8", "log/smallfile.go", "	if err == nil {\n		err = f.Sync()\n	}\n", "", "", explorer},
	{"rename-not-synced", "S8", "log/smallfile.go", "		return err\n	}\n	return syncDir(fsys, path.Dir(name))\n", "		return err\n	}\n	_ = path.Dir(name)\n	return nil\n", "", explorer},
	{"segment-name-not-synced", "S8", "log/append.go", "	l.mu.changed = true\n	l.namesMadeLocked()\n", "	l.mu.changed = true\n	l.more.Store(true)\n", "", explorer},
	{"roll-not-seen-by-sync", "S2", "log/sync.go", "	if l.more.Load() {\n", "	if l.more.Load() && l.offsets.synced.Load() == a.BaseOffset() {\n", "", explorer},
	{"one-file-synced-before-sync", "S2", "log/sync.go", "	err := a.Sync(false)\n	a.Release()\n	if err == nil {\n		l.offsets.raiseSynced(end)\n	}\n", "	l.offsets.raiseSynced(end)\n	err := a.Sync(false)\n	a.Release()\n", "", ofLog("^TestSyncBeside")},
	{"reserve-ignored", "S11", "internal/broker/space.go", "min(room, free-keep)", "min(room, free)", "", hunter{dir: "cluster", run: "^(TestFault_F11|TestRetentionMakesRoom|TestReserve)"}},
	{
		"space-looked-for-after-append", "S11", "internal/broker/api_00_produce.go", "	default:\n		err = op.b.space.admit(op.now, int64(len(batch)))\n	}\n	if err != nil {\n		s.fail(err)\n		return\n	}\n	op.b.noteChange()\n",
		"	}\n	if err != nil {\n		s.fail(err)\n		return\n	}\n	op.b.noteChange()\n	defer func() { _ = op.b.space.admit(op.now, int64(len(batch))) }()\n", "",
		hunter{dir: "cluster", run: "^(TestFault_F11|TestRetentionMakesRoom|TestReserve)"},
	},
	{
		"index-cut-while-mapped", "S13", "segment/indexfile.go", "	if err := x.unmapLocked(); err != nil {\n		return err\n	}\n	f, err := x.fs.Open(x.path, vfs.ReadWrite)\n	if err != nil {\n		return storage(\"open\", x.path, err)\n	}\n	defer f.Close()\n	return",
		"	defer func() { _ = x.unmapLocked() }()\n	f, err := x.fs.Open(x.path, vfs.ReadWrite)\n	if err != nil {\n		return storage(\"open\", x.path, err)\n	}\n	defer f.Close()\n	return", "", explorer,
	},
	{"index-with-holes-mapped", "S13", "segment/indexfile.go", "	if err := f.Preallocate(0, int64(size)); err != nil {", "	if err := f.Truncate(int64(size)); err != nil {", "", explorer},
}

// Mistakes about damage: S4 a torn tail is cut, and nothing below what was synced; S5 all that is read is checked.
var damageMutants = []mutant{
	{"torn-tail-stays", "S4", "segment/recover.go", "		err = f.Truncate(end.pos)\n		s.wrote()\n", "		s.wrote()\n", "", explorer},
	{"damage-cut-away", "S4", "segment/recover.go", "			if s.w.end < synced {\n				return from, nil, s.corrupt(pos, expect, err)\n			}\n			if pos == from", "			if pos == from", "", ofLog("^(TestFault_F1[346]|TestDamage)")},
	{"end-below-synced-taken", "S4", "segment/recover.go", "			if s.w.end < synced {\n				return from, nil, s.corrupt(pos, expect, errMissing)\n			}\n", "", "", ofLog("^(TestFault_F1[346]|TestDamage)")},
	{"hole-passed-over", "S4", "log/recover.go", "		if s.EndOffset() != f.bases[i+1] {", "		if s.EndOffset() > f.bases[i+1] {", "", explorer},
	{"recovery-checks-no-crc", "S5", "segment/scan.go", "		if err := record.Batch(b).CheckCRC(); err != nil {\n			return nil, &badBatch{err.Error()}\n		}\n", "", "", explorer},
	{"follower-takes-bad-crc", "S5", "log/append.go", "	if err := b.CheckCRC(); err != nil {\n		return err\n	}\n	switch {\n	case b.BaseOffset() < r.end:", "	switch {\n	case b.BaseOffset() < r.end:", "", ofLog("^(TestReplicatedRules|TestFault)")},
	{"follower-takes-any-offset", "S5", "log/append.go", "	case b.BaseOffset() < r.end:\n		return &AppendOffsetError{BaseOffset: b.BaseOffset(), LogEndOffset: r.end}\n", "", "", ofLog("^TestReplicatedRules")},
	{"follower-takes-falling-epochs", "S5", "log/append.go", "	case b.LeaderEpoch() < r.epoch:\n		return &AppendEpochError{BaseOffset: b.BaseOffset(), Epoch: b.LeaderEpoch(), Known: r.epoch}\n", "", "", ofLog("^TestReplicatedRules")},
	{"follower-takes-later-epochs", "S5", "log/append.go", "		if err == nil && b.LeaderEpoch() > maxEpoch {\n			break\n		}\n", "", "", ofLog("^TestReplicatedRules")},
	{"consumer-takes-bad-crc", "S5", "consumer/records.go", "	if err == nil {\n		err = b.CheckCRC()\n	}\n	if err != nil {\n		return false, c.damaged(d, position, err)", "	if err != nil {\n		return false, c.damaged(d, position, err)", "", hunter{dir: "consumer", run: "^TestDamage"}},
	{"leader-takes-bad-crc", "S5", "log/record/validate.go", "	if err := b.CheckCRC(); err != nil {\n", "	if err := b.CheckCRC(); false {\n		_ = err\n", "", hunter{dir: "internal/broker", run: "^TestProduceChecks"}},
}

// Mistakes about what follows from the log: S9 it is cut and made anew with the log, and never ahead of it.
var derivedMutants = []mutant{
	{"index-ahead-of-log", "S9", "segment/recover.go", "errors.Join(s.offsets.truncateTo(synced-s.base), s.times.truncateTo(synced-s.base))", "s.times.truncateTo(synced - s.base)", "", explorer},
	{"producers-not-cut", "S9", "log/truncate.go", "	if err := l.reloadProducersLocked(o); err != nil {\n		return err\n	}\n	l.publishAllLocked(o)", "	l.publishAllLocked(o)", "", explorer},
	{"epochs-not-cut", "S9", "log/truncate.go", "	l.epochs.truncateEnd(o.LogEndOffset)\n	if err := l.reload", "	if err := l.reload", "", explorer},
	{"high-watermark-beyond-end", "S9", "log/recover.go", "	high = min(max(high, start), end)\n", "	high = max(high, start)\n", "", explorer},
	{"recovery-point-beyond-cut", "S9", "log/home.go", "	if !stale {\n		return nil\n	}\n	return h.store()\n", "	_ = stale\n	return nil\n", "", explorer},
	{"snapshots-beyond-cut", "S9", "log/truncate.go", "	if len(gone) == 0 {\n		return nil\n	}\n	// The side", "	if len(gone) >= 0 {\n		return nil\n	}\n	// The side", "", explorer},
	{"aborts-not-recovered", "S9", "log/recover.go", "			l.epochs.assign(b.LeaderEpoch(), b.BaseOffset())\n			if ended, ok := l.mu.producers.update(b); ok && ended.abort {", "			l.epochs.assign(b.LeaderEpoch(), b.BaseOffset())\n			if ended, ok := l.mu.producers.update(b); ok && ended.abort && ended.last < 0 {", "", explorer},
}

// Mistakes about what is given up: S10 by compaction, retention and DeleteRecords, in steps, and nothing that is not committed; S12 not by a wall clock that jumps.
var givingUpMutants = []mutant{
	{"compacted-segment-not-synced", "S10", "log/swap.go", "		if err := errors.Join(f.Sync(), f.Close()); err != nil {\n			return storage(\"sync\", name, err)", "		if err := f.Close(); err != nil {\n			return storage(\"sync\", name, err)", "", explorer},
	{"compacted-name-not-synced", "S10", "log/swap.go", "segment.LogSuffix+swapSuffix); err != nil {\n		return err\n	}\n	return syncDir(l.fs, l.dir)\n", "segment.LogSuffix+swapSuffix); err != nil {\n		return err\n	}\n	return nil\n", "", explorer},
	{"compaction-forgets-a-crash", "S10", "log/recover.go", "	if err == nil && len(f.swaps) > 0 {", "	if err == nil && len(f.swaps) > 4 {", "", explorer},
	{"last-value-compacted", "S10", "log/cleangroup.go", "rec.Offset < r.c.keys.get(rec.Key)", "rec.Offset <= r.c.keys.get(rec.Key)", "", explorer},
	{"tombstone-goes-at-once", "S10", "log/cleangroup.go", "rec.Value == nil && expired", "rec.Value == nil && (expired || true)", "", ofLog("^TestCompactTombstones")},
	{"uncommitted-compacted", "S10", "log/cleanable.go", "	bound := min(o.LastStableOffset, o.SyncedEndOffset, l.snapshotBelow(o.HighWatermark))", "	bound := min(o.SyncedEndOffset, l.snapshotBelow(o.SyncedEndOffset))", "", ofLog("^TestCompact")},
	{"repeated-batches-compacted", "S10", "log/compact.go", "	for _, o := range a.offsets[:a.n] {", "	for _, o := range a.offsets[max(0, a.n-1):a.n] {", "", ofLog("^TestCompact(Model|Markers)$")},
	{"retention-above-high-watermark", "S10", "log/retention.go", "		if size == 0 || end > o.HighWatermark {", "		if size == 0 {", "", ofLog("^TestRetain")},
	{"delete-records-above-high-watermark", "S10", "replication/logstart.go", "	if offset < 0 || offset > o.HighWatermark {", "	if offset < 0 || offset > o.LogEndOffset {", "", hunter{dir: "replication", run: "^TestLogStart"}},
	{"deleted-before-noted", "S10", "log/deleteold.go", "	if err := l.home.store(); err != nil {\n		return 0, err\n	}\n	gone :=", "	gone :=", "", ofLog("^TestDeleteOldSegments")},
	{"log-start-not-stored", "S10", "log/logstart.go", "	if err := l.refuseSync(l.home.store()); err != nil {\n		return l.SyncedLogStart(), err\n	}\n", "", "", explorer},
	{"ages-by-a-clock-that-jumps", "S12", "internal/broker/retention.go", "		if !believeAges {\n			r.Age = -1\n		}\n", "", "", hunter{dir: "internal/broker", run: "^(TestRetention|TestWallClock)"}},
	{"clock-steps-unseen", "S12", "internal/broker/clock.go", "now.Sub(w.seen), wall.Round(0).Sub(w.shown)", "now.Sub(w.seen), now.Sub(w.seen)", "", hunter{dir: "internal/broker", run: "^(TestRetention|TestWallClock)"}},
}
