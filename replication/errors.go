package replication

import "errors"

// Sentinels; internal/broker translates them to Kafka's codes.
var (
	ErrClosed                       = errors.New("replication: closed")
	ErrNotLeader                    = errors.New("replication: not the leader")                          // NOT_LEADER_OR_FOLLOWER
	ErrFencedEpoch                  = errors.New("replication: older leader epoch")                      // FENCED_LEADER_EPOCH
	ErrUnknownEpoch                 = errors.New("replication: newer leader epoch than known")           // UNKNOWN_LEADER_EPOCH
	ErrUnknownTopic                 = errors.New("replication: unknown topic or partition")              // UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID
	ErrInconsistentTopicID          = errors.New("replication: another incarnation of the topic")        // INCONSISTENT_TOPIC_ID
	ErrNotEnoughReplicas            = errors.New("replication: fewer in-sync replicas than required")    // NOT_ENOUGH_REPLICAS: nothing appended
	ErrNotEnoughReplicasAfterAppend = errors.New("replication: in-sync replicas fell below the minimum") // NOT_ENOUGH_REPLICAS_AFTER_APPEND: in the log
	ErrTimedOut                     = errors.New("replication: not replicated in time")                  // REQUEST_TIMED_OUT: in the log
	ErrOffsetNotAvailable           = errors.New("replication: high watermark below the epoch's start")  // OFFSET_NOT_AVAILABLE
	ErrIneligibleReplica            = errors.New("replication: replica may not join the ISR")            // INELIGIBLE_REPLICA
	ErrNotAttempted                 = errors.New("replication: not attempted")                           // OPERATION_NOT_ATTEMPTED
	ErrInvalidUpdateVersion         = errors.New("replication: stale partition epoch")                   // INVALID_UPDATE_VERSION
	ErrInvalidRequest               = errors.New("replication: invalid request")                         // INVALID_REQUEST
	ErrNewLeaderElected             = errors.New("replication: new leader elected")                      // NEW_LEADER_ELECTED
)
