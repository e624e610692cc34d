// Package assignor spreads the partitions of topics over the members of a group: Kafka's server-side assignors.
//
//	            members   a  b  c        uniform                        range
//	topic t, 4 partitions ●  ●  ●        a t0 t1   b t2 t3   c u0 u1    a t0 t1 u0   b t2 u1   c t3
//	topic u, 2 partitions ●  ●  ●        counts differ by one at most   the same numbers of every topic to the same member
//
// Invariants: every partition of a topic with subscribers goes to exactly one of them, whatever the members' earlier targets hold. The result depends on nothing but the arguments, and with the result
// as the earlier targets it is the same again. A member whose target does not change gets the very set it had.
//
// Uniform puts balance first and keeps what the members had as far as balance allows. If all subscribe alike, no assignment that is balanced keeps more. If not, the loads are as even as
// the subscriptions allow at all; among the assignments that are, it takes one that is near to the earlier one, not always the nearest.
//
// Range gives each topic's partitions in contiguous ranges to the subscribers in order: those with an instance id first, by it, then the others by member id. It does not look at the earlier targets.
//
// The functions are pure and safe for concurrent use. They take time in proportion to partitions and subscriptions, but for moves along chains of members whose subscriptions overlap in part. Racks
// are not looked at, as in Kafka since 4.0.
//
// Differs from Kafka: where subscriptions differ, Kafka evens out the subscribers of one topic after the other, at most 16 times over, and can leave loads of 9, 10 and 11 along a chain. Uniform goes on
// to 10, 10 and 10.
//
// Sources: KIP-848; Kafka's UniformAssignor and RangeAssignor.
package assignor
