// Package transport carries Kafka's protocol: networks, a server, and a client that finds the right node.
package transport
