// Package acl decides who may do what: Kafka's access control lists as data, their validation, filters over them, and an immutable index that answers without allocating.
//
//	Binding  = pattern (type, name, literal or prefixed) + principal + host + operation + allow or deny
//
//	Authorize(principal, host, op, topic "orders.eu")
//
//	  super user? ────────────────────────────────────────▶ allowed
//	  bindings on   "*"          literal      │ deny for the principal or User:*, the host or *, and op ──▶ denied
//	                "orders.eu"  literal      │ allow for the same, or for what implies op ───────────────▶ allowed
//	                "orders."    prefixed     │ some binding, but none of these ──────────────────────────▶ denied
//	                "o"          prefixed     │ no binding at all ─────▶ denied, or as AllowEveryoneIfNoACLFound says
//
// An operation implies others only where it is allowed: READ, WRITE, DELETE and ALTER imply DESCRIBE, ALTER_CONFIGS implies DESCRIBE_CONFIGS. To deny READ denies no DESCRIBE.
//
// Invariants: deny wins over allow, wherever either comes from; a super user is denied nothing; Rules never change, so that a set of them is swapped whole; nil and zero Rules deny everything; what is
// neither a known operation nor a known type of resource is denied to everyone.
//
// Concurrency: everything here is a pure function of immutable data, for any number of goroutines.
//
// It does not know who is at the other end of a connection, stores nothing and logs nothing. Principals and hosts are compared as strings; Host gives an address the form that is compared.
//
// Differs from Kafka: addresses of bindings are compared by value, so that "::1" and "0:0:0:0:0:0:0:1" are one host; a binding whose operation does not exist for its type of resource, or whose topic
// name no topic can have, is refused by Validate, where Kafka's broker stores it though it can have no effect (its command line tool refuses the former); AuthorizeAny asks about a name that no binding
// mentions where Kafka asks about a topic named "hardcode", and counts implied operations.
//
// Sources: KIP-11 (ACLs), KIP-290 (prefixed patterns, MATCH), KIP-430 (authorized operations), KIP-679 (AuthorizeAny); Kafka's operator documentation on authorization.
package acl
