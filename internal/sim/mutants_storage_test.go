package sim_test

// Mistakes against the rules of storage, producer state and embedding: S2 acknowledge what is synced, everywhere; R10 votes are durable; T1 duplicates are known.
var storageMutants = []mutant{
	{"ack-before-sync", "S2", "replication/machine/leader.go", "	if m.settings.Synced {\n		return m.syncedEnd\n	}\n", "", "power-all,torn-all,slow-disk", hunter{}},
	{"vote-not-synced", "R10", "internal/controller/storage.go", "return q.write(s.fs, s.dir, !s.alone)", "return q.write(s.fs, s.dir, false)", "", hunter{}},
	{"duplicates-appended", "T1", "log/producerstate.go", "if old, ok := e.duplicate(b); ok {", "if old, ok := e.duplicate(b); ok && false {", "reset,cut-to,stall", hunter{}},
}
