package sim_test

// Who hunts mistakes of clients and coordinators beside the simulation.
var (
	ofProducers = hunter{dir: "producer", run: "^Test"}
	ofConsumers = func(tests string) hunter { return hunter{dir: "consumer", run: tests} }
	ofGroups    = hunter{dir: "internal/groups/machine", run: "^Test.*(Model|Invariants)$"}
)

// Mistakes about producers: T1 what is there already is known; T2 epochs fence, and begin numbers anew; T5 nothing of an open or aborted transaction is committed. And of the producer: order, numbers, outcomes.
var producerMutants = []mutant{
	{"duplicates-appended", "T1", "log/append.go", "	if isDup {\n		if appendTime", "	if isDup && dup.lastOffset < 0 {\n		if appendTime", "reset,cut-to,stall", hunter{}},
	{"duplicate-told-as-out-of-order", "T1", "log/producerstate.go", "if old, ok := e.duplicate(b); ok {", "if old, ok := e.duplicate(b); ok && false {", "reset,cut-to,stall", hunter{}},
	{"window-of-one-batch", "T1", "log/producerstate.go", "	for _, old := range e.batches[:e.n] {\n		if old.lastSequence", "	for _, old := range e.batches[max(0, e.n-1):e.n] {\n		if old.lastSequence", "reset,cut-to,stall", hunter{}},
	{"producers-forgotten-by-recovery", "T1", "log/recover.go", "	l.mu.producers.restore(st, l.forgottenLocked(st))\n	return l.replayProducers(segs, from, point, func", "	l.mu.producers.restore(snapshotState{}, l.forgottenLocked(st))\n	_ = st\n	return l.replayProducers(segs, from, point, func", "", explorer},
	{"producers-forgotten-by-clean-start", "T1", "log/recover.go", "	l.mu.producers.restore(st, l.forgottenLocked(st))\n	return l.replayProducers(segs, from, end, nil)", "	_ = st\n	return l.replayProducers(segs, from, end, nil)", "", explorer},
	{"snapshot-of-last-batches-only", "T1", "log/producersnapshot.go", "		if e.n < 2 {", "		if e.n < 4 {", "", explorer},
	{"producer-expires-in-transaction", "T1", "log/producerstate.go", "		if e.txnFirst < 0 && e.lastTimestamp < before {\n			delete", "		if e.lastTimestamp < before {\n			delete", "", ofLog("^TestKIP98")},
	{"marker-keeps-no-producer", "T1", "log/producerstate.go", "	e.lastTimestamp = b.MaxTimestamp()\n	if e.txnFirst < 0 {", "	if e.txnFirst < 0 {", "", ofLog("^TestKIP98")},
	{"old-producer-epoch-taken", "T2", "log/producerstate.go", "	if epoch < e.epoch {", "	if epoch < e.epoch-1 {", "", ofLog("^TestKIP98")},
	{"numbers-go-on-in-new-epoch", "T2", "log/producerstate.go", "		e.epoch, e.n = epoch, 0\n", "		e.epoch = epoch\n", "", ofLog("^TestKIP98")},
	{"old-coordinator-epoch-taken", "T3", "log/producerstate.go", "ok && m.coordinatorEpoch < e.coordinatorEpoch {", "ok && m.coordinatorEpoch < 0 {", "", ofLog("^TestLastStableOffset")},
	{"stable-before-replicated", "T5", "log/producerstate.go", "	if len(p.unreplicated) > 0 {\n		offset = min(offset, p.unreplicated[0].first)\n	}\n", "", "", ofLog("^TestLastStableOffset")},
	{"aborted-list-ends-early", "T5", "log/abortedtxn.go", "			if a.LastStableOffset >= end {", "			if a.LastOffset >= from {", "", explorer},
	{"retry-reorders", "P9", "producer/window.go", "	case waits || w.bump != bumpNone:\n		return sendNothing\n", "	case w.bump != bumpNone:\n		return sendNothing\n", "", ofProducers},
	{"first-batch-not-awaited", "P9", "producer/window.go", "	case len(w.sent) >= w.limit, w.idempotent && !w.established && len(w.sent) > 0:", "	case len(w.sent) >= w.limit:", "reset,cut-to,stall,kill", hunter{}},
	{"numbers-anew-for-what-may-be-there", "P9", "producer/window.go", "			certain = certain && !b.maybe\n", "", "reset,cut-to,stall,kill", hunter{}},
	{"timeout-told-as-refused", "P6", "producer/failure.go", "		b.maybe = b.maybe || b.state == flying\n		pt.window.fail(b, cause(b))\n	}\n	pt.settleLocked()\n	for", "		pt.window.fail(b, cause(b))\n	}\n	pt.settleLocked()\n	for", "stall,cut-to", hunter{}},
	{"lost-leader-told-as-refused", "P6", "producer/result.go", "kerr.NetworkException, kerr.ReplicaNotAvailable:\n		r.kind, r.maybe, r.refresh = resultRetry, true, true", "kerr.NetworkException, kerr.ReplicaNotAvailable:\n		r.kind, r.maybe, r.refresh = resultRetry, false, true", "isolate,cut-to,stop", hunter{}},
	{"batch-dropped-at-leader-change", "P9", "producer/result.go", "	case kerr.UnknownTopicID, kerr.LeaderNotAvailable,", "	case kerr.NotLeaderForPartition:\n		return result{kind: resultSuccess, baseOffset: -1, logAppendTime: -1}\n	case kerr.UnknownTopicID, kerr.LeaderNotAvailable,", "isolate,cut-to,stop", ofProducers},
}

// Mistakes about groups: T6 one owner at a time, commits of present members only, acknowledged when they are committed. And of the consumer: it reads everything once, from where it ended, and no further than it may.
var groupMutants = []mutant{
	{"commit-of-an-old-epoch", "T6", "internal/groups/machine/consumergroup.go", "	case r.Epoch != m.cur.Epoch:\n		return ErrStaleMemberEpoch\n	}\n	return nil\n}\n\n// checkFetch", "	}\n	return nil\n}\n\n// checkFetch", "", hunter{dir: "internal/groups/machine", run: "^TestTranscripts$"}},
	{"commit-of-an-old-generation", "T6", "internal/groups/machine/classic.go", "	m, err := k.inGeneration(r.MemberID, r.InstanceID, r.Epoch)\n	switch {\n	case err != nil:\n		return err\n	case k.state == completing", "	m, err := k.find(r.MemberID, r.InstanceID)\n	switch {\n	case err != nil:\n		return err\n	case k.state == completing", "", ofGroups},
	{"partition-given-before-it-is-free", "T6", "internal/groups/machine/consumerreconcile.go", "	held := k.held(missing, cur.MemberID)\n", "	held := partition.Set(nil)\n", "", ofGroups},
	{"session-does-not-end-after-failover", "T6", "internal/groups/machine/consumergroup.go", "		k.keepAlive(now, m)\n		k.watchRevocation(now, m)\n	}\n	k.stale", "		k.watchRevocation(now, m)\n	}\n	k.stale", "", ofGroups},
	{"commit-acknowledged-before-replicated", "T6", "internal/groups/write.go", "		Acks: replication.AcksAll, Now: rd.at", "		Acks: replication.AcksLeader, Now: rd.at", "kill,isolate,power,cut-to", hunter{}},
	{"commit-beyond-marks", "P11", "consumer/marks.go", "	if p.markedRun == p.run && p.handedEnd >= 0 && p.marked >= p.handedEnd {", "	if p.markedRun == p.run && p.handedEnd >= 0 {", "kill,stop", hunter{}},
	{"begins-behind-committed", "P11", "consumer/reconcile.go", "		p.place(o.offset)\n		if o.epoch", "		p.place(o.offset + 1)\n		if o.epoch", "kill,stop", hunter{}},
	{"late-marks-count", "T6", "consumer/marks.go", "	if p.floor < 0 || end <= p.floor || end > p.handing.Load() {\n		return nil\n	}\n", "", "", ofConsumers("^Test")},
	{"reads-above-high-watermark", "P8", "replication/watch.go", "	return o.HighWatermark\n}", "	return o.LogEndOffset\n}", "isolate,cut-to,kill", hunter{}},
	{"follower-read-believed-out-of-range", "P8", "consumer/fetcher.go", "	case errors.Is(err, kerr.OffsetOutOfRange) && p.replica >= 0:\n		p.replica = -1 // a follower may lag: ask the leader before believing it (KIP-392)\n		c.ensureFetcherLocked(p.leader)\n", "", "", ofConsumers("^TestNearestReplica$")},
	{"truncation-is-silent", "P8", "consumer/resolver.go", "	case st == validating && offset >= 0 && offset < at:\n		p.fail(&LogTruncatedError{Topic: p.topic, Partition: p.number, Position: at, DivergentOffset: offset})\n		signal(c.ready)\n", "", "", ofConsumers("^TestTruncation")},
	{"answer-of-before-the-seek", "P8", "consumer/fetcher.go", "ok && a.generation == a.p.generation && a.p.state == fetching", "ok && a.p.state == fetching", "", ofConsumers("^TestSeek")},
}

// Mistakes about living in somebody's process: E2 whoever starts a goroutine waits for it; E3 memory is given back when nobody reads it any more.
var embeddingMutants = []mutant{
	{"fetcher-not-awaited", "E2", "replication/fetcher.go", "	f.wg.Wait()\n", "", "", hunter{dir: "replication", run: "^TestR"}},
	{"consumer-not-awaited", "E2", "consumer/consumer.go", "	c.wg.Wait()\n", "", "", ofConsumers("^Test")},
	{"fetch-loop-panics-through", "E2", "replication/fetchloop.go", "		defer f.recover()\n", "", "", hunter{dir: "replication", run: "^TestFetchPanics"}},
	{"chunk-given-back-when-queued", "E3", "consumer/fetcher.go", "	ans.refs.Add(1)\n	p.buffered += ch.size\n", "	p.buffered += ch.size\n", "", hunter{dir: "internal/sim", run: "^TestSim$", args: "-sim.seeds=1000 -sim.hunt=60s", tags: "invariants"}},
	{"fetched-bytes-given-back-before-sent", "E3", "internal/broker/fetchanswer.go", "	reply := op.reply\n	op.reply = nil\n	reply(out)\n", "	reply := op.reply\n	op.reply = nil\n	if op.buf != nil {\n		op.b.buffers.put(op.buf)\n		op.buf = nil\n	}\n	reply(out)\n", "", hunter{dir: "internal/sim", run: "^TestSim$", args: "-sim.seeds=1000 -sim.hunt=60s", tags: "invariants"}},
}
