// Package entry is what the records of __consumer_offsets say, in Kafka's formats.
//
//	key    int16 type, then the fields of that type's key
//	value  int16 version, then the fields; no value (null) says that what the key names is gone
//
//	 0, 1  Offset            a committed offset             3  Group             group epoch, hash of the topics subscribed to
//	 2     Classic           a classic group                5  Member            what a member told of itself
//	                                                        6  Target            epoch of the target assignment
//	16     Regex             topics that a pattern matched  7  TargetMember      one member's target
//	                                                        8  Current           where a member is on its way there
//
// The types on the left are older than KIP-848, those on the right came with it. Type 4 is read and ignored: it held what a hash says now. Types 9 to 15 and from 17 on belong to share and streams groups, which
// insync does not have; they are kept as they are and mean nothing here.
//
// Written are the versions that every broker since Kafka 2.3 reads, and for offsets with a topic id version 4; read are all that there are. Fields that later versions tag on are skipped.
//
// Invariants: what is appended is read back equal; reading takes time and memory in proportion to the input, whatever the input is.
//
// The package knows bytes, not groups: what the entries mean is package machine's.
//
// Sources: Kafka's group-coordinator message definitions; KIP-211, KIP-320, KIP-345, KIP-482, KIP-848, KIP-915.
package entry
