// Package interop runs other people's Kafka clients against embedded nodes.
//
//	go test -tags synctests ./...
//
// The tag is franz-go's: it makes the client fit for virtual time. Without it only what needs real time runs.
//
// With -update a run of all tests writes down in proof.tsv which APIs its clients used, in which versions; foreign/run.sh does the same for clients that are not here, and then adds what it has seen of
// those that are: it runs them against nodes in processes of their own, in foreign/goclients. The table of docs/kafka-compat.md is made of it.
//
// Groups of franz-go, sarama and kafka-go, and groups of all of them, are run through joins, leaves, deaths of members and crashes of the coordinator; with -v each has a line that says what came of it; outages are
// crashes of the coordinator's node over TCP, and of any node, or its being cut off, in bubbles.
// A crew is such a group, its ledger says what is right.
package interop
