// Package transport carries Kafka's protocol: networks, a server, and a client that finds the right node.
//
//	Client ──────────────────────────────────────────── Server
//	  │  one connection per node and lane:                 │ per connection: a reader that runs
//	  │  produce · fetch · private · control · other       │ the Handler, a writer of replies
//	  │                                                    │
//	  ├── lane: queue ▶ write ▶ inflight ◀ read ═══════════╡ frame ▶ guard ▶ decode ▶ Handler
//	  │                          net.Conn of a Network     │         replies in request order ▶ write
//	  │                                                    │
//	  └── direct: Handler.Serve of a node in this process, no socket, no encoding, no copy
//
// A [Network] has the shape of package net, so TCP, TLS, the in-memory network [Mem] and a user's overlay fit behind it, and foreign Kafka clients, too. Messages are the structs of kmsg. A frame
// on the wire is
//
//	request   size int32 | key int16 | version int16 | correlation int32 | client id | [tags] | body
//	response  size int32 | correlation int32 | [tags] | body
//
// with tags in flexible versions; a response to ApiVersions never has them.
//
// # What holds
//
//   - Responses leave a connection in the order of its requests, whatever the order of the replies. A handler serves one request of a connection at a time.
//   - A reply is released once, wherever its connection ends. A request is done once.
//   - When a connection breaks, all requests on it fail, in order, before any later one is sent: what was lost is never overtaken. [ConnError].Sent is false only if the node cannot have
//     understood the request.
//   - What waits for an answer ends at its context, at its timeout, or at Close. A write ends at a timeout as well.
//   - A connection gets memory for a frame as its bytes arrive, out of a budget of the server; [Limits] bound it and everything else. Nothing is decoded before it was walked against its schema. Before its
//     login a connection may say little, not for long. Garbage closes the connection that it came on and touches nothing else; so does a panic in a handler or in a decoder.
//   - Records are not copied: a produce request refers to the batch, a fetch response refers to memory or to ranges of files, which go out with sendfile on plain TCP on Linux.
//   - In the metadata cache a partition's leader epoch never falls, unless the topic was made anew.
//   - A request whose leader is silent ends when metadata names another one: see ErrMoved.
//
// # A node that does not answer, or does not know
//
// A node that is cut off, hangs or hears no news looks like one that is slow, so nothing is concluded from its silence: others are asked.
//
//	answer late ──▶ in doubt ──▶ metadata of another node ──┬─▶ leads as before: wait on, ask again later
//	(2·BackoffMin)                                          └─▶ another leads: the request ends, ErrMoved
//
// Metadata and coordinators are asked of one node; of the next one as well when that fails or is silent for 2·BackoffMin; the first good answer counts (anyof.go). Who kept somebody waiting comes last
// until it answers, and so does who has just given an answer that did not help: whoever asks again hears somebody else. What only one node can answer is waited for as long as ever.
// ErrMoved says nothing about the effect of a request: an idempotent producer sends the batch to the new leader under its old sequence number, and a consumer fetches from its position.
//
// # Concurrency
//
// [Server], [Client] and [Mem] are safe for concurrent use. No lock is held while waiting, so all of it works in virtual time (testing/synctest). Locks are taken in the order Mem, memPipe; lane,
// Client; metadata alone. Callbacks run without locks. Goroutines exist only while there is a connection, a direct request that may wait, or a question for metadata; Close waits for all of them.
//
// # What it does not do
//
// It does not retry (but for AnyNode, before anything was sent). It carries logins out, but who may log in is behind [Login], and what one may do is the handler's business. It knows nothing of logs or of what
// requests mean.
//
// # Sources
//
// Kafka's protocol guide; KIP-482 (flexible versions), KIP-43, KIP-152 and KIP-368 (SASL), KIP-511 (client name in ApiVersions), KIP-896 (oldest versions), KIP-951 (leader in error responses), KIP-899 and KIP-1102 (finding a cluster again).
package transport
