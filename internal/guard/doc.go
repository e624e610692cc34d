// Package guard checks frames before kmsg decodes them, so that nothing from a connection is decoded unguarded.
//
// kmsg's decoders trust the sender, as a client may trust its broker. A server may not: what a frame says of its own size is a claim, and decoding
// must cost no more than the bytes that came. So each body is walked first, against the schema of its message and version:
//
//   - arrays have no more elements than the rest of the frame can hold at their least size, and tagged fields no more than half the rest;
//   - strings and bytes lie inside the frame; null stands only where the decoder takes it; no length is below -1;
//   - varints have at most 32 bits in at most five bytes;
//   - known tagged fields are walked by their own schema and fill their length exactly;
//   - nothing is left over at the end of a response;
//   - what the decoder will allocate (structs, strings, pointers, the maps of unknown tagged fields) is within a budget.
//
// Contents are not judged: names, offsets, enumerations and batches of records are somebody else's business.
//
// # How it works
//
// tools/genguard reads the source of kmsg's decoders and writes schema_gen.go: one small program for each version of each message. A program is a
// row of steps, one for each field; fixed fields side by side are one step, as is an array of them. [Request] and [Response] run the program over the
// body. The tables are derived from the code that they guard and not from a specification: what is walked is what will be decoded. A new version of
// kmsg needs go generate; tests fail until then.
//
// Invariants: every step takes a byte of the frame at least and every element too, so a walk takes at most 2n+1 steps for n bytes; programs contain
// only earlier ones, so depth is a property of the tables; the walk allocates nothing unless it fails; what passes is decoded without an error, and
// allocates no more than the walk has counted.
//
// # Budget
//
// [Budget] grants 16 bytes for each byte of the frame, and 16 KiB. Frames of a thousand topics or other elements, with names of ten letters, take 2
// to 6 bytes for each of theirs in all versions of the hot messages (produce 5, fetch 5 to 7, metadata 6, commits 4 to 6), those with names of four
// letters 4 to 12. Only bodies of a few bytes take more than 16 each, for the struct itself: at most 64 bytes in all beyond that. So the 16 KiB are
// for what is rare: thousands of names of one letter, or tagged fields of a later time. An unknown tagged field takes a map, 352 bytes, in each element
// that has one; a frame with one in each of its elements passes if its elements have 24 bytes or more.
//
// # Where a body begins
//
// The header is not the guard's. A request's body follows the client id and, in flexible versions, the header's tagged fields. A response's follows
// the correlation id and, in flexible versions of all but ApiVersions, the header's tagged fields.
//
// What is left over after a request is ignored, as by Kafka's broker: librdkafka writes the null array of all topics as the first byte of four
// (Metadata), and the tagged fields of a request twice (AlterUserScramCredentials). The frame says where the next request begins, so nobody can hide
// one in there; the bytes are not looked at, and have been paid for as the others of the frame. Of a response it is an error: brokers write none.
//
// Differs from Kafka: any array may be null and any bytes may be null, as kmsg reads them; brokers are known to send such. Kafka's clients ignore what
// is left over after a response, too.
//
// Sources: KIP-482 (tagged fields, varints); the source of kmsg.
package guard
