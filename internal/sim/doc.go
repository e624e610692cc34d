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
// Result.Digest is a sum over all events with their times; two runs of a seed are the same run if it is equal. What that takes is a runtime that leaves nothing to chance: package exact makes it of the Go in
// use, for go build's -overlay. With it a seed makes the same run in each process, whatever ran before and however busy the machine is; TestReplay holds the seeds to that, and what a failed seed prints uses it:
//
//	go test -overlay="$(go run ./internal/sim/exact)" ./internal/sim -run 'TestSim$' -sim.first=7 -sim.seeds=1
//
// Measured on two cores with ten times as much to do as they can: 20 of 20 seeds at full length made the same run in each of 5 processes, and 19 of 19, 16 of them with faults for 4 s, in each of 100; with the ordinary runtime 3 of 20 made the same run
// twice (TestReplay with -sim.seeds, -sim.again and -sim.exact=false counts). Whoever hunts does it with the overlay, for what is found without may not come back: Exact tells, and a failed seed says which it was. The
// overlay is for one version of Go, to the byte; with another it says so, and seeds run with the ordinary runtime. One goroutine
// that is early by an instant has a heartbeat or a dial begin elsewhere, and all that follows. What is chance in the ordinary runtime, with one processor and no garbage collection:
//
//   - A goroutine that has run for 10 ms of real time, or whose thread the machine has stopped meanwhile, goes behind all others. No code can prevent that: with all other chance gone, still half of the seeds differ on a
//     busy machine.
//   - Which of several ready cases a select takes. A select that has to wait is woken by the first that comes, which is no chance: so where two may be ready before, ask for one after the other.
//   - Which timer of an instant is first. Those who wait for the same time from the same instant on should not: the network, disks, nodes and clients of a run begin at times of their own (World.unique).
//   - Where a range over a map begins. What it does must not depend on it: sort the keys, if others see the order. That of keys that are pointers, or hold some, is chance with the overlay, too.
//   - When those who yield (runtime.Gosched) run again: each 61st turn of a count that goes on from run to run.
//   - Who gets a mutex that somebody waited for longer than 1 ms of real time. No lock is held across anything that blocks, so that nobody waits.
//   - System calls within the bubble, and what they answer. There are none: disks and network are memory, a trace as well.
//
// A story is what an application does: it runs beside the faults, with clients on hosts of their own, and judges what came of it. Load is the one that is built in: producers, consumers,
// a group whose members come, leave and die, an operator who moves replicas and leaders, a topic that is made and deleted again and again, one whose records are deleted, a compacted one, two that are written to with acks=1; a seed decides who of them is there (Cast). They write down what they do and
// see, and package history judges it; a run that fails leaves the history in a file. God's rules hold whatever the story does:
// one leader for an epoch, in sync; its high watermark does not fall; nodes that applied the same metadata know the same, and leaders act on nothing else; whoever the controller has fenced does not serve, once a controller before it must have noticed; offsets in order; a leader has what was acknowledged, and believes
// of no follower that it has more than it has; logs are equal byte for byte in the end, and compacted ones say the same of each key. Of topics that are to lose nothing, as Load's are unless the seed has them synced late: who is in sync, or eligible, has everything
// that is committed on its disk, and cuts nothing of it; the high watermark waits for all of them; what was acknowledged is on as many disks as must be in sync, or one less where a disk was lost; and who is eligible
// follows from who left the ISR. God looks every few milliseconds, when a node tells of a change, and at a partition when a producer is told of a record of it.
//
// Some seeds have short segments; some write checkpoints of the metadata again and again and give up its log; some read everything that is stored every few seconds, with few files open, and there bytes of a node rot.
//
// Some seeds have the load's topic synced at intervals, or never (Sync). There acknowledged records may be lost with the power of all who were in sync, if a node tells of it, with an offset that nothing before was lost from; of
// a topic that is synced at intervals only those of the last one.
//
// A fault that shall come more often than seeds draw it does by -sim.times, as -sim.times=disk-fail=10.
//
// TestFault_Fxx run seeds with the faults of one row of docs/guarantees.md alone. TestMutants asks whether all this would notice: it builds the module with one known mistake after the other, by an overlay, and
// hunts each; TestMutantsFit keeps the catalogue in step with the code. All are found. Of those about replication, by rule, with the seconds that finding them took on a processor (w: by the clock, on one that was busy with ten other things):
//
//	confirm-before-sync              S2   simulation        9 w
//	fetch-of-any-epoch               R1   replica's model   6
//	old-proposal-applied             R1   controller's model 2
//	old-state-applied                R1   simulation      144 w
//	answer-of-any-epoch              R1   TestTranscripts           0
//	answer-to-any-question           R1   replica's model   0
//	truncate-to-high-watermark       R2   simulation      116 w
//	no-truncation                    R2   simulation        2 w
//	truncate-by-offset-only          R2   simulation      104 w
//	epoch-led-in-vain                R2   TestLeaderWithoutRecords  0
//	epoch-starts-at-high-watermark   R3   simulation       20 w
//	epoch-start-not-noted            R3   TestLeaderWithoutRecords  0
//	high-watermark-of-committed-isr  R4   simulation        4
//	high-watermark-below-minimum     R4   simulation        1
//	high-watermark-of-those-heard    R4   simulation       51 w
//	progress-of-an-earlier-epoch     R4   TestTranscripts           0
//	refusal-believed                 R4   replica's model   1
//	shrunk-before-committed          R4   simulation        1
//	follower-commits-by-itself       R4   simulation        4
//	join-without-high-watermark      R5   simulation       35 w
//	join-before-epoch-start          R5   simulation        1
//	join-of-an-earlier-life          R5   TestScripts               0
//	fetch-of-an-earlier-life         R5   TestFollowerFetch         0
//	fenced-joins                     R5   controller's model 0
//	end-listed-too-early             R6   simulation        4
//	lossy-stays-eligible             R7   controller's model        0
//	loss-seen-late-not-told          R7   TestRestartWithDamagedLog 0
//	earlier-life-leads-on            R7   simulation        2
//	unclean-election                 R8   simulation        2
//	nobody-becomes-eligible          R8   simulation        1
//	eligible-for-ever                R8   simulation        2
//	eligible-above-minimum           R8   simulation        1
//	answered-before-committed        R9   simulation        2
//	controller-answers-alone         R12  simulation        2
//	minimum-not-waited-for           R9   TestScripts               0
//	wiped-voter-votes                R10  TestWhoseVote             0
//	message-of-another-disk          R10  TestMessagesOfAnotherDisk 0
//	follower-stamps-its-epoch        R11  simulation        1
//	follower-judges-again            R11  simulation        1
//	moved-without-a-word             R12  controller's model 0
//	slow-leader-moved-without-a-word R12  TestPlannedMoveWaitsForTheWord 3 w
//	leads-on-after-stepping-down     R12  replica's model   0
//	no-self-fencing                  R12  simulation        9
//	fenced-is-served                 R12  simulation        1
//
// And those about storage, clients and embedding, by the test that found them and seconds by the clock:
//
//	ack-before-sync                      S2   simulation                                       2
//	leader-ack-before-sync               P5   TestAcknowledgedByTheLeaderAlone                 7 w
//	synced-before-sync                   S2   crash explorer                                   0 w
//	vote-not-synced                      R10  simulation                                       1
//	clean-marker-before-checkpoints      S3   crash explorer                                   101 w
//	clean-marker-stays                   S3   crash explorer                                   60 w
//	clean-marker-removal-not-synced      S3   crash explorer                                   79 w
//	crash-taken-for-clean                S3   crash explorer                                   0 w
//	state-of-another-directory           S3   TestRestart                                      0 w
//	unsynced-acks-forgotten              S3   crash explorer                                   12 w
//	failed-sync-repeated                 S6   crash explorer                                   88 w
//	failed-sync-trusted-after-restart    S6   crash explorer                                   60 w
//	recovered-tail-not-written-again     S6   TestWhatAFailedSyncLeftIsSyncedAfterTheRestart   0 w
//	write-error-forgotten                S7   crash explorer                                   65 w
//	replica-goes-on-after-write-error    S7   TestDiskFailsAtEveryOperation                    1 w
//	renamed-before-sync                  S8   crash explorer                                   0 w
//	rename-not-synced                    S8   crash explorer                                   0 w
//	segment-name-not-synced              S8   crash explorer                                   0 w
//	roll-not-seen-by-sync                S2   crash explorer                                   0
//	one-file-synced-before-sync          S2   TestSyncBesideOthers                             0
//	reserve-ignored                      S11  TestReserveIsKept                                1
//	space-looked-for-after-append        S11  TestFault_F11_BudgetUsedUp                       0 w
//	index-cut-while-mapped               S13  crash explorer                                   0 w
//	index-with-holes-mapped              S13  crash explorer                                   0 w
//	torn-tail-stays                      S4   crash explorer                                   0 w
//	damage-cut-away                      S4   TestFault_F13_AnyByteIsFoundAndMended            6 w
//	end-below-synced-taken               S4   TestFault_F13_AnyByteIsFoundAndMended            9 w
//	hole-passed-over                     S4   crash explorer                                   3 w
//	recovery-checks-no-crc               S5   crash explorer                                   0 w
//	follower-takes-bad-crc               S5   TestReplicatedRules                              0 w
//	follower-takes-any-offset            S5   TestReplicatedRules                              0 w
//	follower-takes-falling-epochs        S5   TestReplicatedRules                              0 w
//	follower-takes-later-epochs          S5   TestReplicatedRules                              0 w
//	consumer-takes-bad-crc               S5   TestDamageEndsThePartitionAfterWhatIsGood        0 w
//	leader-takes-bad-crc                 S5   TestProduceChecks                                0 w
//	index-ahead-of-log                   S9   crash explorer                                   8 w
//	producers-not-cut                    S9   crash explorer                                   34 w
//	epochs-not-cut                       S9   crash explorer                                   59 w
//	high-watermark-beyond-end            S9   crash explorer                                   2 w
//	recovery-point-beyond-cut            S9   crash explorer                                   2 w
//	snapshots-beyond-cut                 S9   crash explorer                                   32 w
//	aborts-not-recovered                 S9   crash explorer                                   5 w
//	compacted-segment-not-synced         S10  crash explorer                                   4 w
//	compacted-name-not-synced            S10  crash explorer                                   2 w
//	compaction-forgets-a-crash           S10  crash explorer                                   3 w
//	last-value-compacted                 S10  crash explorer                                   3 w
//	tombstone-goes-at-once               S10  TestCompactTombstones                            0
//	uncommitted-compacted                S10  TestCompactModel                                 0 w
//	repeated-batches-compacted           S10  TestCompactModel                                 1 w
//	retention-above-high-watermark       S10  TestRetainBelowTheHighWatermark                  0 w
//	delete-records-above-high-watermark  S10  TestLogStartIsBoundedByTheHighWatermark          0 w
//	deleted-before-noted                 S10  TestDeleteOldSegmentsMayBeInterrupted            0 w
//	log-start-not-stored                 S10  crash explorer                                   0 w
//	ages-by-a-clock-that-jumps           S12  TestRetentionDoubtsAClockThatJumps               12 w
//	clock-steps-unseen                   S12  TestWallClock                                    0 w
//	duplicates-appended                  T1   simulation                                       6 w
//	duplicate-told-as-out-of-order       T1   simulation                                       20 w
//	window-of-one-batch                  T1   simulation                                       20 w
//	producers-forgotten-by-recovery      T1   crash explorer                                   1 w
//	producers-forgotten-by-clean-start   T1   crash explorer                                   2 w
//	snapshot-of-last-batches-only        T1   crash explorer                                   1 w
//	producer-expires-in-transaction      T1   TestKIP98_ProducersExpire                        0 w
//	marker-keeps-no-producer             T1   TestKIP98_ProducersExpire                        0 w
//	old-producer-epoch-taken             T2   TestKIP98_ProducerChecks                         0 w
//	numbers-go-on-in-new-epoch           T2   TestKIP98_ProducerChecks                         0 w
//	old-coordinator-epoch-taken          T3   TestLastStableOffset                             0 w
//	stable-before-replicated             T5   TestLastStableOffset                             0 w
//	aborted-list-ends-early              T5   crash explorer                                   8 w
//	retry-reorders                       P9   TestWindow                                       0 w
//	first-batch-not-awaited              P9   simulation                                       40 w
//	numbers-anew-for-what-may-be-there   P9   simulation                                       35 w
//	timeout-told-as-refused              P6   simulation                                       18 w
//	lost-leader-told-as-refused          P6   simulation                                       22 w
//	batch-dropped-at-leader-change       P9   TestFaults_ExactlyOnceInOrder                    0 w
//	commit-of-an-old-epoch               T6   TestTranscripts                                  0 w
//	commit-of-an-old-generation          T6   TestClassicGroupInvariants                       0 w
//	partition-given-before-it-is-free    T6   TestMigrationModel                               6 w
//	session-does-not-end-after-failover  T6   TestMigrationModel                               6 w
//	commit-acknowledged-before-replicated T6   simulation                                       24 w
//	commit-beyond-marks                  P11  simulation                                       5 w
//	begins-behind-committed              P11  simulation                                       8 w
//	late-marks-count                     T6   TestMarksReachNoFurtherThanWhatWasHandedOut      0 w
//	reads-above-high-watermark           P8   simulation                                       8 w
//	follower-read-believed-out-of-range  P8   TestNearestReplica                               0 w
//	truncation-is-silent                 P8   TestTruncationIsDetected                         0 w
//	answer-of-before-the-seek            P8   TestSeekDropsWhatIsAsked                         0 w
//	fetcher-not-awaited                  E2   TestRandomFaults                                 0 w
//	consumer-not-awaited                 E2   TestCloseWithoutCoordinator                      0 w
//	fetch-loop-panics-through            E2   a test of its own                                0 w
//	chunk-given-back-when-queued         E3   simulation                                       2 w
//	fetched-bytes-given-back-before-sent E3   simulation                                       1 w
package sim
