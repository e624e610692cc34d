package sim_test

// Mistakes against the rules of replication: R1 drop what is of an older epoch; R2 truncate by epochs; R4 the high watermark is the minimum over all who may be elected, and stands still
// below the minimum in sync; R5 join the ISR only with everything; R7 who lost something leaves; R8 an unclean election is the last resort, and a choice; R9 only what is committed acts.
var replicationMutants = []mutant{
	{"confirm-before-sync", "S2", "replication/follow.go", "		wait.until = o.LogEndOffset\n", "		wait.until = 0\n", "", hunter{}},
	{"fetch-of-any-epoch", "R1", "replication/machine/machine.go", "	case epoch >= 0 && epoch < m.state.LeaderEpoch:\n		return EpochFenced\n	case epoch >= 0 && epoch > m.state.LeaderEpoch:\n		return EpochUnknown\n", "", "cut-to,stall,power,kill", hunter{}},
	{"truncate-to-high-watermark", "R2", "replication/follow.go", "	to := machine.TruncateTo(machine.EpochEnd{Epoch: epoch, End: end, Known: true}, own, o.LogEndOffset)\n", "	to := o.HighWatermark\n", "kill,kill-all,isolate", hunter{}},
	{"no-truncation", "R2", "replication/machine/follower.go", "		case own.Epoch < lastFetchedEpoch, own.End < fetchOffset:\n			return FetchDiverging\n", "", "", hunter{}},
	{"high-watermark-of-committed-isr", "R4", "replication/machine/leader.go", "f.Offset < hw && (f.InMaximal || m.mayJoin(f, now))", "f.Offset < hw && f.InISR", "cut-to,isolate,kill,latency", hunter{}},
	{"high-watermark-below-minimum", "R4", "replication/machine/leader.go", "	if len(m.state.ISR) < m.minISR() {\n		return\n	}\n", "", "", hunter{}},
	{"join-without-high-watermark", "R5", "replication/machine/isr.go", "p.InISR || p.Offset < m.hw || p.Offset < m.epochStart || now", "p.InISR || now", "", hunter{}},
	{"lossy-stays-eligible", "R7", "internal/controller/machine/election.go", " && c.left[id] < lossy && !slices", " && !slices", "wipe,kill,isolate", hunter{}},
	{"unclean-election", "R8", "internal/controller/machine/election.go", "	if c.election == unclean {\n		var living", "	{\n		var living", "", hunter{}},
}
