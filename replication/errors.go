package replication

import "errors"

// Sentinels. Requests are answered with the first group, proposals with the second too; internal/broker translates them to Kafka's codes.
var (
	// ErrClosed: the replica was closed; its node is stopping.
	ErrClosed = errors.New("replication: closed")
	// ErrNotLeader (NOT_LEADER_OR_FOLLOWER): this replica does not lead, or leads no longer: after an append the outcome is unknown. Refresh metadata.
	ErrNotLeader = errors.New("replication: not the leader")
	// ErrFencedEpoch (FENCED_LEADER_EPOCH): the request was made under an older leader epoch than this replica knows.
	ErrFencedEpoch = errors.New("replication: older leader epoch")
	// ErrUnknownEpoch (UNKNOWN_LEADER_EPOCH): the request was made under a newer leader epoch than this replica knows. Try again soon.
	ErrUnknownEpoch = errors.New("replication: newer leader epoch than known")
	// ErrUnknownTopic (UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID): the node asked does not know the partition.
	ErrUnknownTopic = errors.New("replication: unknown topic or partition")
	// ErrInconsistentTopicID (INCONSISTENT_TOPIC_ID): the node asked has another incarnation of the topic.
	ErrInconsistentTopicID = errors.New("replication: another incarnation of the topic")
	// ErrNotEnoughReplicas (NOT_ENOUGH_REPLICAS): acks=all with fewer in-sync replicas than required. Nothing was appended.
	ErrNotEnoughReplicas = errors.New("replication: fewer in-sync replicas than required")
	// ErrHandsOver (NOT_ENOUGH_REPLICAS): the leadership is about to move, and more appends wait for that than are held back. Nothing was appended. Try again soon.
	ErrHandsOver = errors.New("replication: the leadership is about to move")
	// ErrHandedOver (NOT_LEADER_OR_FOLLOWER): another replica may lead already, and have more than this one; or this one goes on soon.
	ErrHandedOver = errors.New("replication: another may lead already")
	// ErrNotEnoughReplicasAfterAppend (NOT_ENOUGH_REPLICAS_AFTER_APPEND): the in-sync replicas fell below the minimum after the append. The batch is in the log. A Replica does not return it:
	// its high watermark stands still then (KIP-966), and the append waits until the ISR has grown again or its owner gives it up with ErrTimedOut.
	ErrNotEnoughReplicasAfterAppend = errors.New("replication: in-sync replicas fell below the minimum")
	// ErrTimedOut (REQUEST_TIMED_OUT): not replicated in time. The batch is in the log.
	ErrTimedOut = errors.New("replication: not replicated in time")
	// ErrOffsetNotAvailable (OFFSET_NOT_AVAILABLE): a new leader's high watermark is below the start of its epoch. Try again soon.
	ErrOffsetNotAvailable = errors.New("replication: high watermark below the epoch's start")

	// ErrIneligibleReplica (INELIGIBLE_REPLICA): a proposed member is fenced, shutting down, or known by another epoch. Not applied.
	ErrIneligibleReplica = errors.New("replication: replica may not join the ISR")
	// ErrNotAttempted (OPERATION_NOT_ATTEMPTED): the controller did not look at the proposal. Not applied.
	ErrNotAttempted = errors.New("replication: not attempted")
	// ErrInvalidUpdateVersion (INVALID_UPDATE_VERSION): the proposal was made under an older partition epoch. Metadata will come.
	ErrInvalidUpdateVersion = errors.New("replication: stale partition epoch")
	// ErrInvalidRequest (INVALID_REQUEST): the proposal makes no sense to the controller.
	ErrInvalidRequest = errors.New("replication: invalid request")
	// ErrNewLeaderElected (NEW_LEADER_ELECTED): applied, and the leader moved with it. Metadata will come.
	ErrNewLeaderElected = errors.New("replication: new leader elected")
)
