// Package history records what clients of a log did and saw, and tells what cannot be true of one: a checker in the manner of Jepsen's for Kafka. It knows no broker and no protocol.
//
// A History is a list of operations, each of a process, with a beginning, an end and an outcome: ok, fail (it certainly did not happen) or info (nobody knows). A Recorder collects it, Write and
// Read keep it in a file with one line per operation, Check judges it. A value names its producer, sequence, topic, topic id and partition, and Encode protects it by a checksum, so that a record
// in a wrong place is seen at once. The verdict is ok, anomaly, or unknown: no anomaly, but the final readers did not come to the highest offset that anybody saw.
//
// The rules:
//
//	C1   an acknowledged value was read by nobody, though a higher offset was
//	C2   a value that was acknowledged or read is not there at the end; or a loss was reported that was not to happen
//	C3   an offset has two values, at whatever replica and time
//	C4   a value has two offsets; a producer without idempotence may do that if the send was retried or its outcome is not known
//	C5   a value that nobody has sent (yet), or sent elsewhere, or that is damaged
//	C6   a value that was certainly refused is read
//	C7   between two polls a consumer skips a value                       C8   ... or goes back
//	C9   within one poll a consumer skips a value                         C10  ... or goes back
//	C11  a later send of a producer has a lower offset                    C12  ... of the same operation
//	C13  a value was sent after another was acknowledged, and has no higher offset
//	C14  an end of the log that one client lists falls, or is not above an offset that was acknowledged before it was asked for
//	C15  a commit is below an acknowledged one of the same generation; a fetch does not return the last acknowledged commit, or a later one
//	C16  two members own a partition; a commit of an old generation is acknowledged
//	C17  a position was lost, and its consumer goes on without having been told (a Seek)
//	C18  C7 or C8 while the consumer moves between replicas
//	H1   the history is none: sent or completed twice
//
// Excused are offsets that a Lost or a Deleted operation covers, and C7 to C10 for a partition that is rebalanced meanwhile. Losses excuse an offset for all of the history, before and after.
// Ownership (C16) is as the recorder tells it: a member that was fenced has to be revoked in the history before its successor claims. Records that lie above an acknowledged offset are not required
// of a poll that ends below; C14 for polls is C7 and C9. There are no transactions yet, and none of their rules.
package history
