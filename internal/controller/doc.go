// Package controller is the metadata quorum: cluster membership, topics, partitions, configs and producer ids, agreed on by Raft.
//
//	Handle ──> queue ──> machine.Batch ──> one raft entry ──> metadata log ──┐
//	                     (active controller)                   one sync       │ committed
//	Step <── peers' raft messages ── Send                                     v
//	                                          Image (atomic) <── machine.Image.Apply ──> Subscribe, answers to Handle
//
// Every member keeps the metadata log (a log.Log in __cluster_metadata-0: raft index = offset + 1, term = leader epoch, one entry = one batch with one record),
// the file quorum-state with its vote, and checkpoints (%020d-%010d.checkpoint) from which the log's beginning can be left out. What metadata is and how
// requests are judged is in the package machine; this package drives it.
//
// Invariants: an entry is on stable storage here before this node counts for it, and vote and term are before they are sent (always, whatever the topics
// say). Requests are judged only by the raft leader, and only on an image that holds every committed entry. There is at most one entry of ours in
// flight: requests that arrive meanwhile share the next one, so a burst costs two syncs, not one each. An answer is given after the effect is applied here.
//
// Concurrency: one goroutine (Controller.run, started by Start, stopped by Close or by a failure) owns raft, log, machine and sessions, and calls subscribers. All exported
// methods are safe for concurrent use; none of them may be called from a subscriber except Image, Leader, Status and Step.
//
// Elections: see campaign. The only voter elects itself in Start; a node that is alone needs no ticks. In a larger one only the leader ticks, a follower waits for its leader's silence. While no
// leader was ever known here, voters ask for votes at once (lowest id first), so that a new cluster forms as soon as its members reach each other.
//
// Members: voters and observers (learners) come and go by requests, one change at a time; see membership, and inquiry. Config.Voters only founds a quorum.
//
// What it does not do: forward requests to the active controller,
// answer quorum requests of Kafka's own Raft.
//
// Sources of truth: KIP-500, KIP-595, KIP-631 for the roles; go.etcd.io/raft for the protocol between voters, which is not Kafka's.
package controller
