// Package sasl holds both sides of the SASL mechanisms of Kafka, PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER, as state machines of tokens in and tokens out.
//
//	client                            server
//
//	PLAIN         authzid 0 user 0 password ──▶
//	                          ◀── (empty)       done
//	SCRAM         n,,n=user,r=nonce ──▶                     (RFC 5802)
//	                          ◀── r=noncenonce,s=salt,i=iterations
//	              c=biws,r=noncenonce,p=proof ──▶           (the server's nonce, or one that ends with it)
//	                          ◀── v=signature   done
//	OAUTHBEARER   n,, 1 auth=Bearer token 1 key=value 1 1 ──▶      (RFC 7628)
//	                          ◀── (empty)       done
//	                          ◀── {"status":"invalid_token"}
//	              1 ──▶                         failed
//
// A Mechanism or Client is made once; each login is an Exchange or ClientExchange of its own, which ends with the first error or when done.
//
// Invariants: an authorization id is that of the user or empty; a user that does not exist, and one whose credentials cannot be used, is answered like a wrong password, by the same path; secrets are
// compared in constant time; a token is parsed strictly, and not at all beyond a fixed length; a SCRAM client computes no more iterations than MaxIterations; no error, String or log attribute of this
// package holds a password, key, token or text of the other side.
//
// Concurrency: mechanisms, clients and credentials are immutable, for any number of goroutines; an exchange belongs to one.
//
// It does not know connections: that authentication is over in time and attempts are few, what an unauthenticated client may do, and that a session ends when Identity.Session says so is its caller's
// business. Passwords and names are taken as they are, without SASLprep, as Kafka does. There is no channel binding, no delegation token (KIP-48), no GSSAPI.
//
// Differs from Kafka: names may be any text without control characters, where its SCRAM takes only ASCII; up to 1,000,000 iterations rather than 16,384; keys of OAUTHBEARER that are repeated are
// refused, and after a refused token no second one is taken on the same exchange.
//
// Sources: RFC 4616 (PLAIN), RFC 5802 and 7677 (SCRAM), RFC 7628 (OAUTHBEARER); KIP-12, KIP-84, KIP-255, KIP-342 (extensions), KIP-368 (session lifetimes), KIP-554 (SCRAM credentials by request).
package sasl
