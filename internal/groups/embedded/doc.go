// Package embedded is the protocol that consumers of classic groups speak with their leader through the coordinator: bytes inside JoinGroup and SyncGroup that a coordinator passes on, and looks into only
// to tell which topics a group consumes, and where classic members and those of KIP-848 meet in one group.
//
//	JoinGroup, protocol metadata   version int16 | topics | user data | owned partitions v1+ | generation v2+ | rack v3+
//	SyncGroup, assignment          version int16 | partitions | user data
//
// Topics go by name. Fields are only ever appended: versions above 3 are read as 3, and what follows is ignored.
//
// Invariants: what is appended is read back equal as far as the version has room; reading takes time and memory in proportion to the input, whatever the input is.
//
// The package knows bytes, not groups.
//
// Differs from Kafka: arrays may be null, and a subscription may end before the owned partitions whatever its version says. There are clients that send such.
//
// Sources: Kafka's ConsumerProtocolSubscription and ConsumerProtocolAssignment; KIP-429, KIP-792, KIP-881.
package embedded
