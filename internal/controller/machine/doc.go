// Package machine is the judgement of the metadata quorum: what the cluster's metadata is, and what the active controller decides.
//
//	             evaluate                  raft                    apply
//	request ──> Batch.Handle ──> []Record ──────> committed entry ──────> Image + Delta
//	              ^   (on a draft of the image)                            │
//	              └──────────────── the next Batch starts here <───────────┘
//
// The metadata log holds records, that is events that have been decided, not requests: whoever applies them needs no clock, no randomness and no judgement.
// An Image is immutable and copied on write; a Batch judges requests against a draft of it, in which earlier requests of the same batch have
// already happened, and collects the records. One batch becomes one entry of the metadata log, which is applied as a whole or not at all.
//
// Invariants of every image: a partition's leader is in its ISR; ISR, ELR and LastKnownELR are subsets of the replicas; ELR and ISR are disjoint; with as many
// in-sync replicas as min.insync.replicas the ELR is empty; a leader hands over to one in-sync replica at most, not to itself; a fenced broker is in no ISR; leader epoch and partition epoch never fall.
//
// Nodes of several versions follow one log: what may be written is bounded by the level of the metadata, see levels.go.
//
// Nothing here starts a goroutine, takes a lock, reads a clock or does I/O. A Machine and its Batches belong to one goroutine at a time; an Image may be read by any number.
//
// Sources of truth: Kafka's protocol definitions and metadata records (the record ids are Kafka's, their encoding is not), KIP-497 (AlterPartition), KIP-631 (the quorum
// controller), KIP-903 (broker epochs in ISR changes), KIP-966 (eligible leader replicas), KIP-730 (producer ids).
package machine
