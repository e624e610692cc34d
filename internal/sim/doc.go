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
// Measured on two cores with ten times as much to do as they can: 20 of 20 seeds at full length made the same run in each of 5 processes, and 3 of 3 in each of 100; with the ordinary runtime 3 of 20 made the same run
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
// a group whose members come, leave and die, an operator who moves replicas and leaders, a topic that is made and deleted again and again; a seed decides who of them is there (Cast). They write down what they do and
// see, and package history judges it; a run that fails leaves the history in a file. God's rules hold whatever the story does:
// one leader for an epoch, in sync; its high watermark does not fall; nodes that applied the same metadata know the same, and leaders act on nothing else; whoever the controller has fenced does not serve, once a controller before it must have noticed; offsets in order; a leader has what was acknowledged, and believes
// of no follower that it has more than it has; logs are equal byte for byte in the end. Of topics that are to lose nothing, as Load's are unless the seed has them synced late: who is in sync, or eligible, has everything
// that is committed on its disk, and cuts nothing of it; the high watermark waits for all of them; what was acknowledged is on as many disks as must be in sync, or one less where a disk was lost; and who is eligible
// follows from who left the ISR. God looks every few milliseconds, when a node tells of a change, and at a partition when a producer is told of a record of it.
//
// Some seeds have the load's topic synced at intervals, or never (Sync). There acknowledged records may be lost with the power of all who were in sync, if a node tells of it, with an offset that nothing before was lost from; of
// a topic that is synced at intervals only those of the last one.
//
// TestFault_Fxx run seeds with the faults of one row of docs/guarantees.md alone. TestMutants asks whether all this would notice: it builds the module with one known mistake after the other, by an overlay, and
// hunts each; TestMutantsFit keeps the catalogue in step with the code. Of those about replication, by rule, with the seconds that finding them took on a processor (w: by the clock, on one that was busy with ten other things):
//
//	confirm-before-sync              S2   simulation        9 w
//	fetch-of-any-epoch               R1   replica's model   0
//	old-proposal-applied             R1   controller's model 2
//	old-state-applied                R1   simulation      144 w
//	answer-of-any-epoch              R1   not: an answer that is taken once only keeps the old one out as well
//	answer-to-any-question           R1   replica's model   0
//	truncate-to-high-watermark       R2   simulation      116 w
//	no-truncation                    R2   simulation        2 w
//	truncate-by-offset-only          R2   simulation      104 w
//	epoch-led-in-vain                R2   not within      150 w
//	epoch-starts-at-high-watermark   R3   simulation       20 w
//	epoch-start-not-noted            R3   not within      150 w
//	high-watermark-of-committed-isr  R4   simulation        4
//	high-watermark-below-minimum     R4   simulation        1
//	high-watermark-of-those-heard    R4   simulation       51 w
//	progress-of-an-earlier-epoch     R4   not within        9
//	refusal-believed                 R4   replica's model   1
//	shrunk-before-committed          R4   simulation        1
//	follower-commits-by-itself       R4   simulation        4
//	join-without-high-watermark      R5   simulation       35 w
//	join-before-epoch-start          R5   simulation        1
//	join-of-an-earlier-life          R5   not by the controller's model, 3
//	fetch-of-an-earlier-life         R5   not within        8
//	fenced-joins                     R5   controller's model 0
//	end-listed-too-early             R6   simulation        4
//	lossy-stays-eligible             R7   not within        9
//	lossy-not-told                   R7   not within        8
//	earlier-life-leads-on            R7   simulation        2
//	unclean-election                 R8   simulation        2
//	nobody-becomes-eligible          R8   simulation        1
//	eligible-for-ever                R8   simulation        2
//	eligible-above-minimum           R8   simulation        1
//	answered-before-committed        R9   simulation        2
//	controller-answers-alone         R12  simulation        2
//	minimum-not-waited-for           R9   not hunted yet
//	wiped-voter-votes                R10  not hunted yet
//	message-of-another-disk          R10  not hunted yet
//	follower-stamps-its-epoch        R11  simulation        1
//	follower-judges-again            R11  simulation        1
//	no-self-fencing                  R12  simulation        9
//	fenced-is-served                 R12  simulation        1
package sim
