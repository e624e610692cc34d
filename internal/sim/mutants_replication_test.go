package sim_test

// Mistakes against the rules of replication: R1 drop what is of an older epoch; R2 truncate by epochs; R3 a leader writes down where its epoch starts; R4 the high watermark is the minimum over all who
// may be elected, and stands still below the minimum in sync; R5 join the ISR only with everything, and in this life; R6 an answer that needs the true high watermark waits for it; R7 who lost something
// leaves; R8 who left while too few were in sync may lead, and an unclean election is the last resort, and a choice; R9 only what is committed acts; R10 a vote is its voter's; R11 followers take what leaders
// wrote; R12 who does not reach the controller does not serve.
var (
	controllerModel = hunter{dir: "internal/controller/machine", run: "^TestNoCommittedRecordIsLost$|^TestReassignmentsLoseNothing$"}
	replicaModel    = hunter{dir: "replication/machine", run: "^TestModel$", args: "-model.seeds=20000"}
)

var replicationMutants = []mutant{
	{"confirm-before-sync", "S2", "replication/follow.go", "		wait.until = o.LogEndOffset\n", "		wait.until = 0\n", "", hunter{}},

	{"fetch-of-any-epoch", "R1", "replication/machine/machine.go", "	case epoch >= 0 && epoch < m.state.LeaderEpoch:\n		return EpochFenced\n	case epoch >= 0 && epoch > m.state.LeaderEpoch:\n		return EpochUnknown\n", "", "cut-to,stall,power,kill", replicaModel},
	{"old-proposal-applied", "R1", "internal/controller/machine/partitions.go", "	case rp.PartitionEpoch < p.PartitionEpoch:\n		return kerr.InvalidUpdateVersion\n", "", "", controllerModel},
	{"old-state-applied", "R1", "replication/machine/machine.go", "if s.PartitionEpoch < m.state.PartitionEpoch || s.LeaderEpoch < m.state.LeaderEpoch {", "if s.LeaderEpoch < m.state.LeaderEpoch {", "", hunter{}},
	{"answer-of-any-epoch", "R1", "replication/machine/follower.go", "m.role == Follower && m.state.LeaderEpoch == leaderEpoch && asked == now", "m.role == Follower && asked == now", "", hunter{dir: "replication/machine", run: "^TestTranscripts$"}},
	{"answer-to-any-question", "R1", "replication/machine/follower.go", "m.state.LeaderEpoch == leaderEpoch && asked == now", "m.state.LeaderEpoch == leaderEpoch", "", replicaModel},

	{"truncate-to-high-watermark", "R2", "replication/follow.go", "	to := machine.TruncateTo(machine.EpochEnd{Epoch: epoch, End: end, Known: true}, own, o.LogEndOffset)\n", "	to := o.HighWatermark\n", "kill,kill-all,isolate", hunter{}},
	{"no-truncation", "R2", "replication/machine/follower.go", "		case own.Epoch < lastFetchedEpoch, own.End < fetchOffset:\n			return FetchDiverging\n", "", "", hunter{}},
	{"truncate-by-offset-only", "R2", "replication/machine/follower.go", "		case own.Epoch < lastFetchedEpoch, own.End < fetchOffset:\n", "		case logEnd < fetchOffset:\n", "", hunter{}},
	{"epoch-led-in-vain", "R2", "replication/follow.go", "	if epoch, ok := r.log.EpochAt(r.log.Offsets().LogEndOffset - 1); ok {", "	if epoch, ok := r.log.LatestEpoch(); ok {", "", hunter{dir: "replication", run: "^TestLeaderWithoutRecords$"}},

	{"epoch-starts-at-high-watermark", "R3", "log/epochlookup.go", "	l.epochs.assign(epoch, l.offsets.end.Load())\n", "	l.epochs.assign(epoch, l.offsets.load().HighWatermark)\n", "", hunter{}},
	{"epoch-start-not-noted", "R3", "replication/replica.go", "r.log.StartEpoch(s.LeaderEpoch)", "nil", "", hunter{dir: "replication", run: "^TestLeaderWithoutRecords$"}},

	{"high-watermark-of-committed-isr", "R4", "replication/machine/leader.go", "f.Offset < hw && (f.InMaximal || m.mayJoin(f, now))", "f.Offset < hw && f.InISR", "cut-to,isolate,kill,latency", hunter{}},
	{"high-watermark-below-minimum", "R4", "replication/machine/leader.go", "	if len(m.state.ISR) < m.minISR() {\n		return\n	}\n", "", "", hunter{}},
	{"high-watermark-of-those-heard", "R4", "replication/machine/leader.go", "		if f.Offset < hw && (f", "		if f.Offset >= 0 && f.Offset < hw && (f", "", hunter{}},
	{"progress-of-an-earlier-epoch", "R4", "replication/machine/leader.go", "	m.assignFollowers(now, true)\n", "	m.assignFollowers(now, false)\n", "", hunter{dir: "replication/machine", run: "^TestTranscripts$"}},
	{"refusal-believed", "R4", "replication/machine/isr.go", "	if m.isr.pending != PendingExpand || m.isr.doubt.IsZero() || ", "	if true || m.isr.pending != PendingExpand || m.isr.doubt.IsZero() || ", "", replicaModel},
	{"shrunk-before-committed", "R4", "replication/machine/isr.go", "		p.InMaximal = p.InISR || (m.isr.pending == PendingExpand && p.ID == m.isr.newcomer)\n", "		p.InMaximal = p.InISR && (m.isr.pending != PendingShrink || slices.ContainsFunc(m.isr.members, func(o Member) bool { return o.ID == p.ID })) || (m.isr.pending == PendingExpand && p.ID == m.isr.newcomer)\n", "", hunter{}},

	{"follower-commits-by-itself", "R4", "replication/machine/follower.go", "newHW = max(hw, min(leaderHW, logEnd))", "newHW = max(hw, logEnd)", "", hunter{}},

	{"join-without-high-watermark", "R5", "replication/machine/isr.go", "p.InISR || p.Offset < m.hw || p.Offset < m.epochStart || now", "p.InISR || now", "", hunter{}},
	{"join-before-epoch-start", "R5", "replication/machine/isr.go", "p.Offset < m.hw || p.Offset < m.epochStart || now", "p.Offset < m.hw || now", "", hunter{}},
	{"join-of-an-earlier-life", "R5", "internal/controller/machine/partitions.go", "if !br.Active() || known && epoch != -1 && epoch != br.Epoch {", "if _ = known && epoch != -1; !br.Active() {", "", hunter{dir: "internal/controller/machine", run: "^TestScripts$"}},
	{"fetch-of-an-earlier-life", "R5", "replication/read.go", "	if f.BrokerEpoch >= 0 && r.config.BrokerEpoch(f.Follower) > f.BrokerEpoch {", "	if false {", "", hunter{dir: "replication", run: "^TestFollowerFetch$"}},
	{"fenced-joins", "R5", "internal/controller/machine/partitions.go", "if !br.Active() || known", "if known", "", controllerModel},

	{"end-listed-too-early", "R6", "replication/machine/leader.go", "	return m.role != Leader || m.hw >= m.epochStart && !m.HandsOver()\n", "	return true\n", "", hunter{}},

	{"lossy-stays-eligible", "R7", "internal/controller/machine/election.go", " && c.left[id] < lossy && !slices", " && !slices", "", controllerModel},
	{"loss-seen-late-not-told", "R7", "internal/broker/broker.go", "kind != log.Lossy && b.c.Directory.Lost() {", "kind != log.Lossy && b.c.Directory.Lost() && kind > 99 {", "", hunter{dir: "cluster/clustertest", run: "^TestRestartWithDamagedLog$"}},
	{"earlier-life-leads-on", "R7", "internal/controller/machine/brokers.go", "		if b.restart(br.ID, how) {\n", "		if how > gone && b.restart(br.ID, how) {\n", "", hunter{}},

	{"unclean-election", "R8", "internal/controller/machine/election.go", "	if c.election == unclean {\n		var living", "	{\n		var living", "", hunter{}},
	{"nobody-becomes-eligible", "R8", "internal/controller/machine/election.go", "range slices.Concat(c.p.ELR, c.p.ISR) {", "range c.p.ELR {", "", hunter{}},
	{"eligible-for-ever", "R8", "internal/controller/machine/election.go", "	if len(c.isr) >= c.minISR {\n		c.elr = nil\n		return\n	}\n	var elr", "	var elr", "", hunter{}},
	{"eligible-above-minimum", "R8", "internal/controller/machine/election.go", "	c.minISR = c.minOf(&Partition{Replicas: c.replicas, Adding: c.adding})\n", "	c.minISR = len(c.replicas)\n", "", hunter{}},

	{"answered-before-committed", "R9", "internal/controller/driver.go", "	d.lastIndex++\n	d.flight = f\n", "	d.lastIndex++\n	d.land(f)\n	d.flight = &flight{index: f.index, term: f.term, members: f.members}\n", "", hunter{}},
	{"controller-answers-alone", "R12", "internal/controller/unsure.go", "	return ok && r.ErrorCode == 0 &&", "	return ok && r.ErrorCode > 0 &&", "isolate,split,bridge,cut", hunter{}},
	{"minimum-not-waited-for", "R9", "internal/controller/machine/partitions.go", "if p.Leader != req.BrokerID || c.minOf(p) != minISR {", "if _ = minISR; p.Leader != req.BrokerID {", "", hunter{dir: "internal/controller/machine", run: "^TestScripts$"}},

	{"wiped-voter-votes", "R10", "internal/controller/members.go", "		return slices.Contains(d.store.founders, d.c.c.NodeID)\n	}\n	return false\n", "	}\n	return true\n", "", hunter{dir: "internal/controller", run: "^TestWhoseVote$"}},
	{"message-of-another-disk", "R10", "internal/controller/driver.go", "in.directory == log.TopicID{} || in.directory == m.DirectoryID\n", "in.directory == log.TopicID{} || m.ID >= 0\n", "", hunter{dir: "internal/controller", run: "^TestMessagesOfAnotherDisk$"}},

	{"follower-stamps-its-epoch", "R11", "log/append.go", "		if err == nil {\n			err = run.check(b)\n		}\n", "		if err == nil {\n			b.PutLeaderEpoch(maxEpoch)\n			err = run.check(b)\n		}\n", "", hunter{}},
	{"follower-judges-again", "R11", "log/append.go", "		if err == nil {\n			err = run.check(b)\n		}\n", "		if err == nil {\n			err = run.check(b)\n		}\n		if err == nil {\n			_, _, err = l.mu.producers.check(b, FromClient)\n		}\n", "", hunter{}},

	{"moved-without-a-word", "R12", "internal/controller/machine/stepdown.go", "	return s == nil || !s.heard || s.stepsDown\n", "	return s == nil && b.now.IsZero()\n", "", controllerModel},
	{"slow-leader-moved-without-a-word", "R12", "internal/controller/machine/slowdisk.go", "if leads && b.takesWord(id) {", "if leads && b.now.IsZero() {", "", hunter{dir: "cluster/clustertest", run: "^TestPlannedMoveWaitsForTheWord$"}},
	{"leads-on-after-stepping-down", "R12", "replication/machine/machine.go", "	case s.Leader == m.id && s.LeaderEpoch > m.steppedDown:", "	case s.Leader == m.id:", "", hunter{dir: "replication/machine", run: "^TestModel$"}},
	{"no-self-fencing", "R12", "internal/broker/lifecycle.go", "	return !b.soleVoter.Load() && int64(now.Sub(b.began)) > b.life.servedUntil.Load() || b.ctx.Err() != nil\n", "	return now.Before(b.began) || b.ctx.Err() != nil\n", "", hunter{}},
	{"fenced-is-served", "R12", "internal/broker/lifecycle.go", "	if !r.IsFenced {\n		l.extend(sent)\n	}\n", "	l.extend(sent)\n", "", hunter{}},
}
