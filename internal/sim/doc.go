// Package sim runs whole clusters through faults in virtual time, from a seed.
//
//	seed ─▶ plan: nodes, timeouts, schedule of faults            (draw)
//	          │
//	          ▼            a testing/synctest bubble
//	   ┌─ World ───────────────────────────────────────────────┐
//	   │ nodes (package cluster) on vfs.Mem and transport.Mem   │
//	   │ story: what clients do      faults: what befalls nodes │──▶ Result: problems, log, digest
//	   │ god: looks at everything every few milliseconds        │        │
//	   └────────────────────────────────────────────────────────┘        ▼
//	                                                              Shrink: the fewest faults
//
// A run is real: real nodes with their goroutines, real elections and syncs. What makes it fast is that time jumps when everything waits; what makes it repeatable is that hardly anything happens at the
// same instant. Every delivery of the network and every sync of a disk takes a time of its own, which depends on the seed and on the event's name (who, to whom, the how manieth) and on nothing else; the
// clock of the bubble moves only when everything is blocked, so that events come one at a time and in the same order each time. All randomness comes from crypto/rand, which the run replaces
// (testing/cryptotest), or is handed in.
//
// Result.Digest is a sum over all events with their times; two runs of a seed are the same run if it is equal. What is left to chance is the order of goroutines that become runnable at one instant, and
// of the cases of a select that are ready at once: with GOMAXPROCS=1, 24 of 30 seeds repeat exactly where faults begin for 2 s,
// and 9 of 20 at full length: see TestReplay. One goroutine that is early by an instant has a heartbeat or a dial begin elsewhere, and all that follows.
//
// A story is what an application does: it runs beside the faults, with clients on hosts of their own, and judges what came of it. Load is the one that is built in: producers, consumers,
// a group whose members come, leave and die, an operator who moves replicas and leaders, a topic that is made and deleted again and again; a seed decides who of them is there (Cast). They write down what they do and
// see, and package history judges it; a run that fails leaves the history in a file. God's rules hold whatever the story does:
// one leader for an epoch, in sync; its high watermark does not fall; nodes that applied the same metadata know the same; offsets in order; a leader has what was acknowledged; logs are equal byte for byte in the end.
//
// Some seeds have the load's topic synced at intervals, or never (Sync). There acknowledged records may be lost with the power of all who were in sync, if a node tells of it, with an offset that nothing before was lost from; of
// a topic that is synced at intervals only those of the last one.
//
// TestFault_Fxx run seeds with the faults of one row of docs/guarantees.md alone. TestMutants asks whether all this would notice: it builds the module with one known mistake after the other, by an overlay, and
// hunts each; TestMutantsFit keeps the catalogue in step with the code.
package sim
